//! Amounts, GPUs and fixed ports: who has what.

use super::*;
use bacalhau_model::{Gpu, PortMapping};

fn gpu(index: u64, vendor: &str) -> Gpu {
    Gpu { index, vendor: vendor.into(), name: format!("card {index}"), ..Gpu::default() }
}

fn world(gpus: Vec<Gpu>) -> World {
    let count = gpus.len() as u64;
    let capacity = Resources { cpu: 9.0, memory: 1_000_000, disk: 1_000, gpu: count, gpus };
    World { core: Core::new(BidPolicy { capacity, ..policy() }), ..World::new() }
}

fn with_gpus(id: &str, count: &str) -> Execution {
    with_task(execution(id, "1"), |task| task.resources.gpu = count.into())
}

fn has(w: &World, id: &str) -> Vec<u64> {
    let resources = w.core.slot(id).unwrap().execution.allocated_resources.total();
    resources.gpus.iter().map(|gpu| gpu.index).collect()
}

#[test]
fn what_a_task_does_not_ask_for_is_filled_in_and_all_there_is_fits() {
    let mut w = World::new();
    let with_memory = |id: &str, cpu: &str, memory: &str| {
        with_task(execution(id, cpu), |t| t.resources.memory = memory.into())
    };
    for (id, cpu, memory, expected) in [
        ("nothing", "", "", (0.1, 100)),
        ("some", "", "700", (0.1, 700)),
        ("all", "2", "1000000", (2.0, 1_000_000)),
    ] {
        w.ask(with_memory(id, cpu, memory));
        assert_eq!(w.state(id), Some(ComputeState::AskForBidAccepted), "{id}");
        let usage = &w.core.slot(id).unwrap().usage;
        assert_eq!((usage.cpu, usage.memory), expected, "{id}");
    }
    for (id, cpu, memory) in [("more-memory", "2", "1000001"), ("more-cores", "2001m", "1")] {
        w.ask(with_memory(id, cpu, memory));
        assert_eq!(w.state(id), Some(ComputeState::AskForBidRejected), "{id}");
    }
}

#[test]
fn gpus_are_picked_when_an_execution_starts_and_given_back() {
    let mut w = world(vec![gpu(0, "NVIDIA"), gpu(1, "NVIDIA"), gpu(0, "Intel")]);
    for (id, count) in [("a", "1"), ("b", "2"), ("c", "1"), ("none", "")] {
        w.ask(with_gpus(id, count));
        assert_eq!(has(&w, id), [0u64; 0], "a bid holds none");
        w.accept(id);
    }
    assert_eq!((has(&w, "a"), has(&w, "b"), has(&w, "none")), (vec![0], vec![1, 0], vec![]));
    assert!(!w.runs("c"));
    assert_eq!(w.core.load().0.gpus, []);
    w.finish("a", Ok(Finished::default()));
    assert_eq!(has(&w, "c"), [0], "the first free one");
    w.finish("c", Ok(Finished::default()));
    assert_eq!(w.core.load().0.gpus, [gpu(0, "NVIDIA")]);
    assert_eq!(w.core.load().0.gpu, 1);
}

#[test]
fn the_engine_and_the_disk_know_which() {
    let mut w = world(vec![gpu(0, "NVIDIA"), gpu(1, "NVIDIA")]);
    w.ask(with_gpus("a", "1"));
    w.accept("a");
    let Some(Effect::Run(run, _)) = w.effects.iter().find(|e| matches!(e, Effect::Run(..))) else { panic!() };
    assert_eq!(run.allocated_resources.total().gpus, [gpu(0, "NVIDIA")]);
    assert_eq!(w.disk["a"].execution.allocated_resources.tasks["main"].gpus, [gpu(0, "NVIDIA")]);
}

#[test]
fn what_is_adopted_keeps_its_gpus() {
    let mut w = world(vec![gpu(0, "NVIDIA"), gpu(1, "NVIDIA")]);
    w.ask(with_gpus("other", "1"));
    w.accept("other");
    w.ask(with_gpus("kept", "1"));
    w.accept("kept");
    w.finish("other", Ok(Finished::default()));
    w.delivered("other", PendingReport::RunResult);
    let stored: Vec<_> = w.disk.values().cloned().collect();
    let mut next = world(vec![gpu(0, "NVIDIA"), gpu(1, "NVIDIA")]);
    next.core.policy.outliving = vec!["wasm".into()];
    let mut out = Output::default();
    next.core.restore(next.now, stored, &BTreeSet::new(), &mut out);
    next.take(out);
    assert_eq!(has(&next, "kept"), [1]);
    for (id, index) in [("a", Some(0)), ("b", None)] {
        next.ask(with_gpus(id, "1"));
        next.accept(id);
        assert_eq!(next.runs(id).then(|| has(&next, id)), index.map(|index| vec![index]), "{id}");
    }
    // It turns out to be gone: its card is free again.
    next.step(Input::Gone { execution_id: "kept".into() });
    assert_eq!(has(&next, "b"), [1]);
}

fn with_port(id: &str, r#static: i64, kind: NetworkType) -> Execution {
    with_task(execution(id, "0.1"), |task| {
        let ports = vec![PortMapping { name: "http".into(), r#static, ..PortMapping::default() }];
        task.network = Some(NetworkConfig { r#type: kind, ports, ..NetworkConfig::default() });
    })
}

#[test]
fn a_fixed_port_is_offered_once() {
    let mut w = World::new();
    w.ask(with_port("a", 8080, NetworkType::Host));
    w.ask(with_port("b", 8080, NetworkType::Bridge));
    let refused = w.core.slot("b").unwrap();
    assert_eq!(
        refused.execution.compute_state.message,
        "rejected bid: this node does not have port 8080 free: execution a has it"
    );
    for (id, port) in [("c", 8081), ("d", 0), ("e", 0)] {
        w.ask(with_port(id, port, NetworkType::Host));
        assert_eq!(w.state(id), Some(ComputeState::AskForBidAccepted), "{id}");
    }
    w.accept("a");
    w.cancel("a");
    // Its engine is still at it; the executor waits for the port.
    w.ask(with_port("f", 8080, NetworkType::Host));
    assert_eq!(w.state("f"), Some(ComputeState::AskForBidAccepted));
}
