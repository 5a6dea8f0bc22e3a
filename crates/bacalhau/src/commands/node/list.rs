//! `node list`.

use crate::context::Context;
use crate::failure::{Outcome, fail};
use crate::output::list::{self, Field, ListArgs, PageArgs};
use crate::output::table::{Column, Wrap};
use bacalhau_api::client::NodesQuery;
use bacalhau_model::quantity::format_bytes as bytes;
use bacalhau_model::{ComputeNodeInfo, NodeState, NodeType, Resources, ids};

/// Flags of `node list`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau node list --filter-status connected --show labels,version\n  \
    bacalhau node list --labels 'region in (eu,us)' --output json\n\n\
    Fields to sort by: id, type, available_cpu, available_memory, available_disk, available_gpu, status")]
pub(crate) struct NodeListArgs {
    /// Groups of columns: labels, version, features, capacity
    #[arg(long, value_name = "GROUPS", value_delimiter = ',', default_value = "labels,capacity")]
    show: Vec<String>,
    /// Only nodes with these labels
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    labels: String,
    /// Only approved, pending or rejected nodes
    #[arg(long, value_name = "WORD", default_value = "", hide_default_value = true)]
    filter_approval: String,
    /// Only connected or disconnected nodes
    #[arg(long, value_name = "WORD", default_value = "", hide_default_value = true)]
    filter_status: String,
    /// At most so many nodes; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: u32,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    list: ListArgs,
}

/// Lists nodes.
pub(super) async fn run(context: &Context, args: NodeListArgs) -> Outcome {
    one_of("filter-approval", &args.filter_approval, &["approved", "pending", "rejected"])?;
    one_of("filter-status", &args.filter_status, &["connected", "disconnected"])?;
    let query = NodesQuery {
        labels: Vec::from_iter((!args.labels.trim().is_empty()).then(|| args.labels.clone())),
        approval: args.filter_approval.clone(),
        status: args.filter_status.clone(),
        order_by: args.page.order_by.clone(),
        reverse: args.page.order_reversed,
        limit: args.limit,
        next_token: args.page.next_token.clone(),
    };
    let nodes = context.client()?.nodes(&query).await?;
    list::print(&context.out, &args.list, &nodes, &fields(&args.show))
}

fn one_of(flag: &str, value: &str, words: &[&str]) -> Result<(), bacalhau_model::Error> {
    if value.is_empty() || words.contains(&value) {
        return Ok(());
    }
    Err(fail(format!("cannot use '{value}' as {flag} value, should be one of: {words:?}")))
}

fn fields(show: &[String]) -> Vec<Field<NodeState>> {
    let shown = |group: &str| show.iter().any(|s| s.trim() == group);
    let mut fields: Vec<Field<NodeState>> = vec![
        Field::with_full(Column::new("id"), |n: &NodeState, full| match full {
            true => n.info.node_id.clone(),
            false => ids::short(&n.info.node_id).to_owned(),
        }),
        Field::new(Column::new("type"), |n: &NodeState| format!("{:?}", n.info.node_type)),
        Field::new(Column::new("approval"), |n: &NodeState| n.membership.as_str().to_owned()),
        Field::new(Column::new("status"), status),
    ];
    if shown("labels") {
        fields.push(Field::new(Column::new("labels").at_most(50, Wrap::Soft), |n: &NodeState| {
            let pairs: Vec<String> = n.info.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            pairs.join(" ")
        }));
    }
    if shown("version") {
        fields.push(Field::new(Column::new("version"), |n: &NodeState| {
            n.info.bacalhau_version.git_version.clone()
        }));
        fields.push(Field::new(Column::new("architecture"), |n: &NodeState| {
            n.info.bacalhau_version.goarch.clone()
        }));
        fields.push(Field::new(Column::new("os"), |n: &NodeState| n.info.bacalhau_version.goos.clone()));
    }
    if shown("features") {
        let words = |title: &'static str, list: fn(&ComputeNodeInfo) -> &Vec<String>| {
            Field::new(Column::new(title).at_most(20, Wrap::Soft), move |n: &NodeState| {
                list(&n.info.compute_node_info).join(" ")
            })
        };
        fields.push(words("engines", |c| &c.execution_engines));
        fields.push(words("inputs from", |c| &c.storage_sources));
        fields.push(words("outputs", |c| &c.publishers));
    }
    if shown("capacity") {
        fields.push(capacity("cpu", |r| cores(r.cpu)));
        fields.push(capacity("memory", |r| bytes(r.memory)));
        fields.push(capacity("disk", |r| bytes(r.disk)));
        fields.push(capacity("gpu", |r| r.gpu.to_string()));
    }
    fields
}

/// Connected or not, and whether an operator took it out of service.
fn status(node: &NodeState) -> String {
    let link = node.connection_state.status.as_str();
    match (&node.drain, node.cordoned) {
        (Some(drain), _) if drain.finished.is_some() => format!("{link}\nDRAINED"),
        (Some(drain), _) => format!("{link}\nDRAINING ({} left)", drain.remaining),
        (None, true) => format!("{link}\nCORDONED"),
        (None, false) => link.to_owned(),
    }
}

/// `available / max`, in two lines unless there is room; empty for nodes that run nothing.
fn capacity(title: &'static str, amount: fn(&Resources) -> String) -> Field<NodeState> {
    Field::with_full(Column::new(title), move |n: &NodeState, full| {
        if n.info.node_type != NodeType::Compute {
            return String::new();
        }
        let info = &n.info.compute_node_info;
        let separator = if full { " " } else { "\n" };
        format!("{} /{separator}{}", amount(&info.available_capacity), amount(&info.max_capacity))
    })
}

/// At most three digits after the point.
fn cores(cpu: f64) -> String {
    let text = format!("{cpu:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_model::{Connection, ConnectionState, Membership, NodeInfo};
    use std::collections::BTreeMap;

    #[test]
    fn looks_like_this() {
        let node = |id: &str, node_type| NodeState {
            info: NodeInfo {
                node_id: id.to_owned(),
                node_type,
                labels: BTreeMap::from([
                    ("name".to_owned(), id.to_owned()),
                    ("os_arch".to_owned(), "amd64".to_owned()),
                    ("os_type".to_owned(), "linux".to_owned()),
                ]),
                compute_node_info: ComputeNodeInfo {
                    max_capacity: Resources {
                        cpu: 12.8,
                        memory: 27_000_000_000,
                        disk: 196_000_000_000,
                        ..Resources::default()
                    },
                    available_capacity: Resources {
                        cpu: 12.8,
                        memory: 27_000_000_000,
                        disk: 196_000_000_000,
                        ..Resources::default()
                    },
                    ..ComputeNodeInfo::default()
                },
                ..NodeInfo::default()
            },
            membership: Membership::Approved,
            connection_state: ConnectionState { status: Connection::Connected, ..ConnectionState::default() },
            ..NodeState::default()
        };
        let nodes = [
            node("n-f1c579e2-0b4f-4a63-9f5d-0d1d5c0d1a11", NodeType::Compute),
            node("n-0c2a1b7d-0b4f-4a63-9f5d-0d1d5c0d1a11", NodeType::Requester),
        ];
        let show = ["labels".to_owned(), "capacity".to_owned()];
        let text = list::render(&ListArgs::default(), &nodes, &fields(&show), false).unwrap();
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                " ID          TYPE       APPROVAL  STATUS     LABELS                                       CPU     MEMORY   DISK      GPU",
                " n-f1c579e2  Compute    APPROVED  CONNECTED  name=n-f1c579e2-0b4f-4a63-9f5d-0d1d5c0d1a11  12.8 /  27 GB /  196 GB /  0 /",
                "                                             os_arch=amd64 os_type=linux                  12.8    27 GB    196 GB    0",
                " n-0c2a1b7d  Requester  APPROVED  CONNECTED  name=n-0c2a1b7d-0b4f-4a63-9f5d-0d1d5c0d1a11",
                "                                             os_arch=amd64 os_type=linux",
            ]
        );
        assert_eq!(cores(2.0), "2");
    }
}
