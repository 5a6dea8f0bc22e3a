//! Flags of `docker run` and `wasm run` that describe the job, and the job they make.

use crate::failure::fail;
use crate::output::Out;
use crate::shorthand::{pairs, parse_input, parse_publisher};
use bacalhau_model::{
    Error, Job, NetworkConfig, NetworkType, ResourcesConfig, SpecConfig, Task, Timeouts, selector,
};

/// Flags that describe a job with one task.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Job")]
pub(crate) struct SpecArgs {
    /// Do not submit; print the job as YAML
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Name of the job; the same name again means a new version of it
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    name: String,
    /// Namespace of the job
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// Jobs with a higher priority run first
    #[arg(long, value_name = "N", default_value_t = 0)]
    priority: i64,
    /// Labels: KEY=VALUE or KEY, separated by commas or repeated
    #[arg(long, short = 'l', value_name = "KEY=VALUE", value_delimiter = ',')]
    labels: Vec<String>,
    /// How many copies to run
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: i64,
    /// Old name of --count
    #[arg(long, value_name = "N", hide = true, conflicts_with = "count")]
    concurrency: Option<i64>,
    /// Run on any matching node, or on all of them
    #[arg(long, value_name = "all|any", default_value = "any", value_parser = target)]
    target: Target,
    /// Only on nodes with these labels, for example 'region in (eu,us),gpu'
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    constraints: String,
    /// Old name of --constraints
    #[arg(long, short = 's', value_name = "SELECTOR", hide = true, conflicts_with = "constraints")]
    selector: Option<String>,
    #[command(flatten)]
    task: TaskArgs,
}

/// Flags that describe the task.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Task")]
struct TaskArgs {
    /// Name of the task
    #[arg(long, value_name = "NAME", default_value = "main")]
    task_name: String,
    /// Environment variable; env:NAME as value takes it from the node
    #[arg(long, short = 'e', value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Input: URI[:TARGET] or src=URI,dst=TARGET,opt=KEY=VALUE, with file://, http(s)://, s3:// or ipfs://
    #[arg(long, short = 'i', value_name = "INPUT")]
    input: Vec<String>,
    /// Folder with results: NAME:PATH; needs a publisher
    #[arg(long, short = 'o', value_name = "NAME:PATH")]
    output: Vec<String>,
    /// Where results go: local, s3://BUCKET/KEY, s3managed or ipfs
    #[arg(long, short = 'p', value_name = "PUBLISHER")]
    publisher: Vec<String>,
    /// CPU cores: 500m or 2
    #[arg(long, value_name = "CORES", default_value = "", hide_default_value = true)]
    cpu: String,
    /// Memory: 512Mb (10^6) or 2Gi (2^30)
    #[arg(long, value_name = "BYTES", default_value = "", hide_default_value = true)]
    memory: String,
    /// Disk, as memory
    #[arg(long, value_name = "BYTES", default_value = "", hide_default_value = true)]
    disk: String,
    /// Number of GPUs
    #[arg(long, value_name = "N", default_value = "", hide_default_value = true)]
    gpu: String,
    /// Network: None, Host, Bridge or HTTP
    #[arg(long, value_name = "TYPE", value_parser = NetworkType::parse)]
    network: Option<NetworkType>,
    /// Allowed domain, with --network HTTP; may be repeated
    #[arg(long, value_name = "DOMAIN")]
    domain: Vec<String>,
    /// Seconds after which the job as a whole is given up; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    timeout: i64,
    /// Seconds to wait for a node with free capacity; 0 for not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    queue_timeout: i64,
}

/// On how many nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Target {
    #[default]
    Any,
    All,
}

fn target(text: &str) -> Result<Target, String> {
    match text {
        "any" => Ok(Target::Any),
        "all" => Ok(Target::All),
        _ => Err(format!("expecting \"any\" or \"all\", not {text:?}")),
    }
}

/// The job that the flags describe, around an engine. Deprecated flags are mentioned on standard error.
pub(crate) fn build(out: &Out, args: &SpecArgs, engine: SpecConfig) -> Result<Job, Error> {
    if args.concurrency.is_some() {
        out.note("Flag --concurrency has been deprecated, use --count");
    }
    if args.selector.is_some() {
        out.note("Flag --selector has been deprecated, use --constraints");
    }
    let count = args.concurrency.unwrap_or(args.count);
    if args.target == Target::All && count > 1 {
        return Err(fail("--target all runs on every matching node and cannot be combined with --count"));
    }
    let constraints = args.selector.as_deref().unwrap_or(&args.constraints);
    let constraints = selector::parse(constraints)
        .map_err(|e| fail(format!("failed to parse job constraints: failed to parse node selector: {e}")))?;
    Ok(Job {
        name: args.name.clone(),
        namespace: args.namespace.clone(),
        r#type: if args.target == Target::All { "ops" } else { "batch" }.to_owned(),
        priority: args.priority,
        count,
        constraints,
        labels: pairs::parse_labels(&args.labels).map_err(fail)?,
        tasks: vec![task(&args.task, engine)?],
        ..Job::default()
    })
}

fn task(args: &TaskArgs, engine: SpecConfig) -> Result<Task, Error> {
    let mut inputs = Vec::new();
    for text in &args.input {
        inputs.push(parse_input(text).map_err(|e| fail(format!("invalid input {text:?}: {e}")))?);
    }
    let mut outputs = Vec::new();
    for text in &args.output {
        outputs.push(pairs::parse_output(text).map_err(fail)?);
    }
    let publisher = match args.publisher.last() {
        Some(text) => parse_publisher(text).map_err(|e| fail(format!("invalid publisher {text:?}: {e}")))?,
        None => SpecConfig::default(),
    };
    let network = (args.network.is_some() || !args.domain.is_empty()).then(|| NetworkConfig {
        r#type: args.network.unwrap_or_default(),
        domains: args.domain.clone(),
        ports: Vec::new(),
    });
    Ok(Task {
        name: args.task_name.clone(),
        engine,
        publisher,
        env: pairs::parse_map(&args.env).map_err(fail)?,
        input_sources: inputs,
        result_paths: outputs,
        resources: ResourcesConfig {
            cpu: args.cpu.clone(),
            memory: args.memory.clone(),
            disk: args.disk.clone(),
            gpu: args.gpu.clone(),
        },
        network,
        timeouts: Timeouts {
            total_timeout: args.timeout,
            queue_timeout: args.queue_timeout,
            ..Timeouts::default()
        },
        ..Task::default()
    })
}
