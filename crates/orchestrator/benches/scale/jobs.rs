//! Nodes and jobs as large clusters have them.

use bacalhau_model::{ComputeNodeInfo, Job, NodeInfo, NodeType, Requirement, Resources, SpecConfig, Task};

const REGIONS: [&str; 5] = ["eu-west", "eu-north", "us-east", "us-west", "ap-south"];

/// Node number `n`: one of five regions, ten tiers and three sizes, every tenth one with GPUs, and a name of its own.
pub fn node(n: usize) -> NodeInfo {
    let cores = [32.0, 64.0, 128.0][n % 3];
    let gpu = if n.is_multiple_of(10) { 8 } else { 0 };
    let capacity =
        Resources { cpu: cores, memory: (cores as u64) << 32, disk: 1 << 42, gpu, ..Resources::default() };
    let labels = [
        ("name".to_owned(), format!("host-{n}")),
        ("os_type".to_owned(), "linux".to_owned()),
        ("os_arch".to_owned(), if n.is_multiple_of(4) { "arm64" } else { "amd64" }.to_owned()),
        ("region".to_owned(), REGIONS[n % 5].to_owned()),
        ("tier".to_owned(), (n % 7).to_string()),
    ];
    NodeInfo {
        node_id: format!("n-{n:08x}-807e-4c1c-b3ab-5e2b0d9c9a11"),
        node_type: NodeType::Compute,
        labels: labels.into(),
        compute_node_info: ComputeNodeInfo {
            execution_engines: vec!["docker".into(), "wasm".into()],
            publishers: vec!["local".into(), "s3".into()],
            storage_sources: vec![
                "inline".into(),
                "localdirectory".into(),
                "s3".into(),
                "urldownload".into(),
            ],
            max_capacity: capacity.clone(),
            available_capacity: capacity.clone(),
            max_job_requirements: capacity,
            ..ComputeNodeInfo::default()
        },
        ..NodeInfo::default()
    }
}

/// A job of `count` partitions with the resources and without constraints.
pub fn plain(id: String, count: i64, cpu: &str, memory: &str) -> Job {
    let mut task = Task { name: "main".into(), engine: SpecConfig::new("docker"), ..Task::default() };
    task.engine = task.engine.with("Image", "ubuntu:24.04").with("Parameters", vec!["echo", "hello"]);
    task.resources.cpu = cpu.into();
    task.resources.memory = memory.into();
    task.timeouts.queue_timeout = 86_400;
    Job {
        name: id.clone(),
        id,
        namespace: "default".into(),
        r#type: "batch".into(),
        count,
        tasks: vec![task],
        ..Job::default()
    }
}

fn requirement(key: &str, operator: &str, values: &[&str]) -> Requirement {
    Requirement {
        key: key.into(),
        operator: operator.into(),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    }
}

/// Job number `n`: one of 60 combinations of constraints and preferences, one of eight sizes.
pub fn varied(n: usize) -> Job {
    let cpu = ["0.1", "0.2", "0.25", "0.5", "0.5", "1", "1", "2"][n % 8];
    let memory = ["100mb", "200mb", "256mb", "512mb", "1gb", "1gb", "2gb", "2gb"][n % 8];
    let mut job = plain(format!("j-{n:08x}-807e-4c1c-b3ab-5e2b0d9c9a11"), 1, cpu, memory);
    match n % 5 {
        0 => {}
        1 => job.constraints.push(requirement("region", "=", &[REGIONS[n / 5 % 5]])),
        2 => job.constraints.push(requirement("os_arch", "in", &["amd64"])),
        3 => job.constraints.push(requirement("favour_tier", "=", &[["0", "3", "5"][n / 5 % 3]])),
        _ => job.constraints.push(requirement("tier", "notin", &["1", "2"])),
    }
    if n / 25 % 2 == 1 {
        job.constraints.push(requirement("os_type", "=", &["linux"]));
    }
    if n / 50 % 2 == 1 {
        job.tasks[0].publisher = SpecConfig::new("s3");
    }
    job
}
