//! What becomes of executions when the node starts again, and what holds whatever happens.

use super::*;
use proptest::prelude::*;

#[test]
fn a_restart_keeps_every_promise() {
    let mut w = World::new();
    for id in ["bid", "queued", "running", "done"] {
        w.ask(execution(id, "2"));
    }
    w.accept("done");
    w.finish("done", Ok(Finished::default()));
    w.accept("running");
    w.accept("queued");
    w.restart();
    // The bid stands and is told again, what waited runs, what ran has failed, the result is told again.
    assert_eq!(w.state("bid"), Some(ComputeState::AskForBidAccepted));
    assert!(w.runs("queued"));
    assert_eq!(w.state("running"), Some(ComputeState::Failed));
    assert_eq!(w.core.slot("running").unwrap().execution.compute_state.message, "Failed due to node restart");
    w.did();
    w.step(Input::Connected { progress: true });
    let mut told = w.did();
    told.sort();
    assert_eq!(told, ["BidResult bid", "ComputeError running", "RunResult done"]);
    let event = w.core.slot("running").unwrap().event.clone().unwrap();
    assert_eq!(
        (event.message.as_str(), event.details.get("FailsExecution").map(String::as_str)),
        ("Failing due to node restart", Some("true"))
    );
}

#[test]
fn a_restart_finds_executions_in_every_other_state() {
    let mut w = World::new();
    w.ask(remote("probing"));
    w.ask(execution("refused", "9"));
    for id in ["publishing", "cancelled"] {
        w.ask(execution(id, "1"));
        w.accept(id);
    }
    w.step(Input::Publishing { execution_id: "publishing".into() });
    w.cancel("cancelled");
    assert!(w.disk.contains_key("cancelled"));
    w.restart();
    // The question is asked again, what published has failed, and what was cancelled is over with its engine.
    assert_eq!(w.did(), ["probe probing", "ComputeError publishing"]);
    assert_eq!((w.state("cancelled"), w.disk.contains_key("cancelled")), (None, false));
    w.step(Input::Probed { execution_id: "probing".into(), result: Ok(1) });
    w.did();
    w.step(Input::Connected { progress: true });
    assert_eq!(
        w.did(),
        ["BidResult refused", "ComputeError publishing", "BidResult probing"],
        "oldest first"
    );
    w.delivered("refused", PendingReport::BidResult);
    assert_eq!(w.state("refused"), None);
}

#[test]
fn the_queue_keeps_its_order_over_a_restart() {
    let mut w = World::new();
    for id in ["d", "c", "a", "b"] {
        w.ask(execution(id, "2"));
        w.accept(id);
    }
    w.restart();
    for id in ["c", "a", "b"] {
        assert!(w.runs(id));
        w.finish(id, Ok(Finished::default()));
    }
}

#[test]
fn what_fits_no_longer_after_a_restart_fails_instead_of_waiting_for_ever() {
    let mut w = World::new();
    for id in ["bid", "running", "queued"] {
        w.ask(execution(id, "2"));
    }
    w.accept("running");
    w.accept("queued");
    let capacity = Resources { cpu: 1.0, ..policy().capacity };
    w.core = Core::new(BidPolicy { capacity, ..policy() });
    let mut out = Output::default();
    w.core.restore(w.now, w.disk.values().cloned().collect(), &BTreeSet::new(), &mut out);
    w.take(out);
    assert_eq!(w.state("queued"), Some(ComputeState::Failed));
    w.accept("bid");
    let state = &w.core.slot("bid").unwrap().execution.compute_state;
    assert!(state.message.starts_with("insufficient resources - requested: {CPU: 2,"), "{}", state.message);
    assert_eq!(w.disk["bid"].pending, Some(PendingReport::ComputeError));
    assert_eq!(w.core.load().2 + w.core.load().3, 0);
}

#[test]
fn services_start_again_after_a_restart() {
    let mut w = World::new();
    let mut e = execution("e", "1");
    Arc::make_mut(e.job.as_mut().unwrap()).r#type = "service".into();
    w.ask(e);
    w.accept("e");
    w.restart();
    assert_eq!(w.did(), ["run e"]);
}

proptest! {
    /// Whatever happens in whatever order: capacity is kept, nothing runs twice at once, and the disk knows it all.
    #[test]
    fn any_story_keeps_capacity_and_disk(
        steps in proptest::collection::vec((0u8..16, 0usize..6, 1u32..30), 0..80)
    ) {
        let mut w = World::new();
        let (mut engine, mut under_way) = (BTreeSet::new(), BTreeSet::new());
        for (what, n, tenths) in steps {
            let id = format!("e{n}");
            match what {
                0 | 1 => w.ask(execution(&id, &format!("{}", f64::from(tenths) / 10.0))),
                2 => w.ask(remote(&id)),
                3 => w.step(Input::Probed { execution_id: id, result: Ok(u64::from(tenths) * 50) }),
                4..=6 => w.accept(&id),
                7 => w.cancel(&id),
                8 | 9 if engine.remove(&id) => {
                    let result = if tenths % 2 == 0 { Ok(Finished::default()) } else { Err(boom()) };
                    w.finish(&id, result);
                }
                10 if under_way.remove(&id) => w.delivered(&id, PendingReport::Progress),
                10 => {
                    if let Some(kind) = w.core.slot(&id).and_then(|s| s.pending) {
                        w.delivered(&id, kind);
                    }
                }
                11 if tenths < 10 => {
                    w.restart();
                    engine.clear();
                    under_way.clear();
                }
                12 => w.step(Input::Started { execution_id: id }),
                13 => w.step(Input::Publishing { execution_id: id }),
                14 => {
                    let (topic, text) = ("Preparing Environment", format!("{tenths} %"));
                    w.step(Input::Preparing { execution_id: id, topic, text });
                }
                15 => {
                    w.now += i64::from(tenths) * SECOND / 100;
                    w.step(Input::Tick);
                }
                _ => {
                    w.step(Input::Connected { progress: tenths % 5 > 0 });
                    under_way.clear();
                }
            }
            for effect in std::mem::take(&mut w.effects) {
                match effect {
                    Effect::Run(execution, _) => {
                        prop_assert!(engine.insert(execution.id.clone()), "{} runs twice", execution.id);
                    }
                    Effect::Report { execution_id, kind: PendingReport::Progress } => {
                        prop_assert!(under_way.insert(execution_id), "one report at a time");
                    }
                    _ => {}
                }
            }
            prop_assert!(w.core.in_use().fits_in(&policy().capacity));
            prop_assert_eq!(w.core.load().2, engine.len());
            let known: Vec<_> = w.core.slots().map(|s| (s.execution.id.clone(), s.state())).collect();
            let stored: Vec<_> =
                w.disk.iter().map(|(id, r)| (id.clone(), r.execution.compute_state.state_type)).collect();
            prop_assert_eq!(known, stored);
        }
    }
}
