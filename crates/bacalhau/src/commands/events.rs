//! `events`.

use crate::context::Context;
use crate::failure::{Outcome, fail};
use crate::output::list::{Field, Growing, ListArgs};
use crate::output::table::{Column, Wrap};
use crate::output::text::date_time;
use bacalhau_api::client::{EventsQuery, Signal};
use bacalhau_model::{ClusterEvent, EventKind, ids};

/// Flags of `events`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau events\n  \
    bacalhau events --follow\n  \
    bacalhau events --follow --since 4711 --output json\n  \
    bacalhau events --job my-job --type execution,history\n\n\
    Events are numbered from 1 without gaps. --since goes on after a number that was seen before.")]
pub(crate) struct EventsArgs {
    /// Go on with what happens
    #[arg(long, short = 'f')]
    follow: bool,
    /// Only events after this number; 0 for all that are kept [default: 0, with --follow what happens from now on]
    #[arg(long, value_name = "N")]
    since: Option<u64>,
    /// Only events of this job: name, ID or unique beginning of an ID
    #[arg(long, value_name = "JOB", default_value = "", hide_default_value = true)]
    job: String,
    /// Namespace in which a job's name is looked up
    #[arg(long, value_name = "NAMESPACE", default_value = "", hide_default_value = true)]
    namespace: String,
    /// Only events of these types: job, execution, node, history
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', value_parser = str::parse::<EventKind>)]
    kinds: Vec<EventKind>,
    #[command(flatten)]
    list: ListArgs,
}

/// Prints events, one row each; as JSON one object per line.
pub(crate) async fn run(context: &Context, args: EventsArgs) -> Outcome {
    let since = if args.follow { args.since } else { args.since.or(Some(0)) };
    let query = EventsQuery {
        namespace: args.namespace.clone(),
        job: args.job.clone(),
        kinds: args.kinds.clone(),
        since,
        stored_only: !args.follow,
    };
    let mut feed = context.client()?.event_feed(query).await?.ok_or_else(|| {
        fail("the server has no event stream")
            .hint("it may be a Bacalhau 1.9; see `bacalhau job history` for what happened to one job")
    })?;
    let mut rows = Growing::new(&args.list);
    while let Some(signal) = feed.next().await? {
        match signal {
            Signal::Event(event) => rows.print(&context.out, &[*event], &fields())?,
            Signal::Reset(why) => context.out.warning(&why),
            Signal::Reconnected => context.out.note("The connection was lost and is there again."),
        }
    }
    Ok(())
}

fn fields() -> Vec<Field<ClusterEvent>> {
    let short = |id: &str, full: bool| if full { id.to_owned() } else { ids::short(id).to_owned() };
    vec![
        Field::new(Column::new("number").at_least(8), |e: &ClusterEvent| e.seq_num.to_string()),
        Field::new(Column::new("time").at_least(19), |e: &ClusterEvent| date_time(e.time.unix_nanos())),
        Field::new(Column::new("type").at_least(9), |e: &ClusterEvent| e.r#type.as_str().to_owned()),
        Field::with_full(Column::new("job").at_least(10), move |e: &ClusterEvent, full| {
            short(&e.job_id, full)
        }),
        Field::with_full(Column::new("exec. id").at_least(10), move |e: &ClusterEvent, full| {
            short(&e.execution_id, full)
        }),
        Field::with_full(Column::new("node").at_least(10), move |e: &ClusterEvent, full| {
            short(&e.node_id, full)
        }),
        Field::new(Column::new("state").at_least(12), |e: &ClusterEvent| e.state.to_string()),
        Field::new(Column::new("event").at_most(90, Wrap::Soft), text),
    ]
}

/// What there is to say in words.
fn text(event: &ClusterEvent) -> String {
    if let Some(line) = &event.event {
        return format!("{}: {}", line.topic, line.message);
    }
    let mut words = vec![event.job_name.clone(), event.membership.as_str().to_owned()];
    words.push(if event.cordoned { "cordoned" } else { "" }.to_owned());
    words.push(match &event.drain {
        Some(drain) if drain.finished.is_some() => "drained".to_owned(),
        Some(_) => "draining".to_owned(),
        None => String::new(),
    });
    words.push(event.message.clone());
    words.retain(|word| !word.is_empty());
    words.join(", ")
}
