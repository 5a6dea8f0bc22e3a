//! Expectations of Bacalhau 1.9 that need settings or machines which the real binary does not have in a test; see
//! docs/expectations.md.

use super::*;

/// A node of its own kind.
fn node(w: &mut World, id: &str, change: impl FnOnce(&mut ComputeNodeInfo)) {
    let most = Resources { memory: 1 << 30, disk: 1 << 30, gpu: 2, ..amounts(2.0) };
    let mut info = node_info(id, most);
    let compute = &mut info.compute_node_info;
    (compute.publishers, compute.storage_sources) = (vec!["local".into()], vec!["inline".into()]);
    change(compute);
    w.step(handshake(info));
}

fn with(change: impl FnOnce(&mut Settings)) -> World {
    let mut w = World::new();
    let mut settings = Settings { node_id: "o".into(), ..Settings::default() };
    change(&mut settings);
    w.core = Core::new(settings, 7);
    w
}

#[test]
fn oversubscription_decides_how_many_jobs_one_node_takes() {
    for (factor, taken) in [(1.0, 1), (2.0, 2), (3.0, 3)] {
        let mut w = with(|settings| settings.oversubscription = factor);
        node(&mut w, "n1", |_| {});
        for name in ["a", "b", "c"] {
            let mut whole = job(name, "batch", 1);
            whole.tasks[0].resources.cpu = "2".into();
            w.submit(whole).unwrap();
        }
        for execution in w.executions() {
            w.accept(&execution.id);
            w.complete(&execution.id);
        }
        let ended =
            |w: &World, state| ["a", "b", "c"].iter().filter(|j| w.job(j).state.state_type == state).count();
        assert_eq!((ended(&w, JobState::Completed), ended(&w, JobState::Failed)), (taken, 3 - taken));
    }
}

#[test]
fn a_small_step_still_places_everything() {
    for kind in ["batch", "ops"] {
        let mut w = with(|settings| settings.placements_per_step = 1);
        (0..6).for_each(|n| node(&mut w, &format!("n{n}"), |_| {}));
        w.submit(job("j", kind, if kind == "batch" { 6 } else { 0 })).unwrap();
        w.pass(1);
        let used: BTreeSet<String> = w.executions().into_iter().map(|e| e.node_id).collect();
        assert_eq!((w.executions().len(), used.len()), (6, 6), "{kind}");
    }
}

#[test]
fn gpu_jobs_spread_over_the_nodes_that_have_them() {
    let mut w = with(|settings| settings.oversubscription = 2.0);
    node(&mut w, "none", |info| (info.max_capacity.gpu, info.max_job_requirements.gpu) = (0, 0));
    node(&mut w, "n1", |_| {});
    node(&mut w, "n2", |_| {});
    for n in 0..4 {
        let mut one = job(&format!("j{n}"), "batch", 1);
        one.tasks[0].resources.cpu = "100m".into();
        one.tasks[0].resources.gpu = "1".into();
        w.submit(one).unwrap();
    }
    let on = |id: &str| w.executions().iter().filter(|e| e.node_id == id).count();
    assert_eq!((on("n1"), on("n2"), on("none")), (2, 2, 0));
}

#[test]
fn what_a_node_switched_off_keeps_jobs_away() {
    let mut w = World::new();
    node(&mut w, "no-engine", |info| info.execution_engines.clear());
    node(&mut w, "no-source", |info| info.storage_sources.clear());
    node(&mut w, "no-publisher", |info| info.publishers.clear());
    let mut all = job("j", "batch", 1);
    all.tasks[0].publisher = SpecConfig::new("local");
    all.tasks[0].input_sources.push(bacalhau_model::InputSource {
        source: SpecConfig::new("inline"),
        ..bacalhau_model::InputSource::default()
    });
    w.submit(all).unwrap();
    let job = w.job("j");
    assert_eq!((job.state.state_type, w.executions().len()), (JobState::Failed, 0));
    for what in ["wasm", "inline", "local"] {
        assert!(job.state.message.contains(&format!("does not support {what}")), "{}", job.state.message);
    }
}
