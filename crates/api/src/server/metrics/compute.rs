//! Figures of a compute node: what it has, what it does with it, and how executions and bids ended.

use super::{Exposition, Kind};
use bacalhau_compute::ComputeNode;
use bacalhau_compute::metrics::{BUCKETS, Stage};
use bacalhau_model::Resources;

/// An amount of a capacity.
type Amount = fn(&Resources) -> f64;

pub(in crate::server) async fn write(node: &ComputeNode, text: &mut Exposition) {
    let info = node.info().await.compute_node_info;
    let (max, free, queued) = (&info.max_capacity, &info.available_capacity, &info.queue_capacity);
    #[allow(clippy::cast_precision_loss)] // Prometheus has no other numbers
    let amounts: [(&'static str, &str, Amount); 4] = [
        ("bacalhau_compute_cpu_cores", "Cores for executions.", |r| r.cpu),
        ("bacalhau_compute_memory_bytes", "Memory for executions.", |r| r.memory as f64),
        ("bacalhau_compute_disk_bytes", "Disk for executions.", |r| r.disk as f64),
        ("bacalhau_compute_gpus", "GPUs for executions.", |r| r.gpu as f64),
    ];
    for (name, help, amount) in amounts {
        text.family(name, Kind::Gauge, &format!("{help} capacity is all there is, free what nobody runs on, queued what waiting executions ask for."));
        for (state, resources) in [("capacity", max), ("free", free), ("queued", queued)] {
            text.sample(&[("state", state)], amount(resources));
        }
    }
    text.family("bacalhau_compute_executions", Kind::Gauge, "Executions that run or wait.");
    text.whole(&[("state", "running")], info.running_executions);
    text.whole(&[("state", "queued")], info.enqueued_executions);
    text.family(
        "bacalhau_compute_orchestrator_connected",
        Kind::Gauge,
        "1 while the node is connected to an orchestrator.",
    );
    text.whole(&[], u64::from(node.connection().connected_to.is_some()));
    counted(node, &info.execution_engines, text);
}

/// What was counted since the process started.
fn counted(node: &ComputeNode, available: &[String], text: &mut Exposition) {
    let metrics = node.metrics();
    let tally = metrics.tally();
    text.family(
        "bacalhau_compute_bids_total",
        Kind::Counter,
        "Executions the node was asked for, by its answer.",
    );
    for (answer, count) in
        [("made", tally.bids_made), ("refused", tally.bids_refused), ("failed", tally.bids_failed)]
    {
        text.whole(&[("answer", answer)], count);
    }
    let engines: Vec<_> = metrics.engines().map(|(name, engine)| (name, engine.figures())).collect();
    text.family("bacalhau_compute_engine_available", Kind::Gauge, "1 while the engine can run something.");
    for (name, _) in &engines {
        text.whole(&[("engine", name)], u64::from(available.iter().any(|engine| engine == name)));
    }
    text.family("bacalhau_compute_engine_executions", Kind::Gauge, "Executions under way.");
    for (name, figures) in &engines {
        text.whole(&[("engine", name)], figures.active);
    }
    text.family(
        "bacalhau_compute_engine_executions_started_total",
        Kind::Counter,
        "Executions begun or adopted.",
    );
    for (name, figures) in &engines {
        text.whole(&[("engine", name)], figures.started);
    }
    text.family(
        "bacalhau_compute_engine_executions_ended_total",
        Kind::Counter,
        "Executions by how they ended; a task that exits with a code other than 0 has completed.",
    );
    for (name, figures) in &engines {
        for (outcome, count) in
            [("completed", figures.completed), ("failed", figures.failed), ("cancelled", figures.cancelled)]
        {
            text.whole(&[("engine", name), ("outcome", outcome)], count);
        }
    }
    text.family(
        "bacalhau_compute_stage_duration_seconds",
        Kind::Histogram,
        "How long executions took for each stage.",
    );
    for stage in Stage::ALL {
        let figures = metrics.stage(stage);
        let labels = [("stage", stage.as_str())];
        text.histogram(&labels, &BUCKETS, &figures.cumulative(), figures.count(), figures.seconds());
    }
}
