//! When it is stored and told how far executions are.

use super::*;
use crate::core::progress::HOLD;

fn preparing(id: &str, text: &str) -> Input<u32> {
    Input::Preparing {
        execution_id: id.to_owned(),
        topic: topic::PREPARING_ENVIRONMENT,
        text: text.to_owned(),
    }
}

fn started(id: &str) -> Input<u32> {
    Input::Started { execution_id: id.to_owned() }
}

fn publishing(id: &str) -> Input<u32> {
    Input::Publishing { execution_id: id.to_owned() }
}

impl World {
    /// Connected to an orchestrator that understands progress, with an execution that was handed to its engine.
    fn with_begun(id: &str) -> World {
        let mut w = World::new();
        w.step(Input::Connected { progress: true });
        w.begin(id);
        w
    }

    fn begin(&mut self, id: &str) {
        self.ask(execution(id, "1"));
        self.accept(id);
        self.did();
    }

    /// The time comes when what is held is told.
    fn wait(&mut self) {
        self.now += HOLD;
        self.step(Input::Tick);
    }

    /// State, time it ran and lines of the present report.
    fn told(&self, id: &str) -> Option<(ComputeState, i64, Vec<String>)> {
        let message = self.core.message(id, PendingReport::Progress)?;
        let NodeMessage::Progress(p) = message else { panic!("{message:?}") };
        let lines = p.events.unwrap_or_default().into_iter().map(|event| event.message).collect();
        Some((p.state, p.running_for, lines))
    }
}

#[test]
fn an_execution_that_is_over_at_once_costs_nothing_on_its_way() {
    let mut w = World::with_begun("e");
    let stored = w.disk["e"].clone();
    w.step(preparing("e", "Compiling"));
    w.step(started("e"));
    w.step(publishing("e"));
    assert_eq!((w.did().len(), &w.disk["e"]), (0, &stored));
    w.finish("e", Ok(Finished::default()));
    assert_eq!(w.did(), ["RunResult e"]);
    w.wait();
    assert_eq!((w.did().len(), w.core.next_wakeup()), (0, None));
    assert!(w.core.slot("e").unwrap().execution.start_time > 0);
}

#[test]
fn what_takes_longer_is_stored_and_told_in_one_report_at_a_time() {
    let mut w = World::with_begun("e");
    assert_eq!((w.state("e"), w.told("e")), (Some(ComputeState::BidAccepted), None));
    w.step(preparing("e", "Pulling"));
    assert_eq!(w.core.next_wakeup(), Some(w.now + HOLD));
    w.wait();
    // A line alone changes no state.
    assert_eq!(w.did(), ["Progress e"]);
    assert_eq!(w.told("e"), Some((ComputeState::BidAccepted, 0, vec!["Pulling".into()])));
    // More comes while that report is under way: it will be told after it, and all at once.
    w.step(preparing("e", "Pulled"));
    w.step(started("e"));
    let since = w.now;
    w.wait();
    assert_eq!(w.did().len(), 0);
    let record = &w.disk["e"].execution;
    assert_eq!((record.compute_state.state_type, record.start_time), (ComputeState::Running, since));
    w.delivered("e", PendingReport::Progress);
    assert_eq!(w.did(), ["Progress e"]);
    let lines = vec!["Pulled".to_owned(), "Task started".into()];
    assert_eq!(w.told("e"), Some((ComputeState::Running, 0, lines)));
    w.delivered("e", PendingReport::Progress);
    assert_eq!(w.did().len(), 0, "there is nothing new");
    w.now += 5 * SECOND;
    w.step(publishing("e"));
    // It does not go back, and does not begin again.
    w.step(started("e"));
    w.step(preparing("e", "late"));
    w.wait();
    assert_eq!(w.did(), ["Progress e"]);
    let (state, ran, lines) = w.told("e").unwrap();
    assert_eq!((state, lines.len()), (ComputeState::Publishing, 1));
    assert!((5 * SECOND..6 * SECOND).contains(&ran), "{ran}");
    w.finish("e", Ok(Finished::default()));
    assert_eq!(w.told("e"), None, "the report is out of date");
    w.delivered("e", PendingReport::Progress);
    assert_eq!(w.did(), ["RunResult e"]);
}

#[test]
fn many_lines_keep_the_first_and_the_last() {
    let mut w = World::with_begun("e");
    for percent in 0..50 {
        w.step(preparing("e", &format!("{percent} %")));
    }
    w.wait();
    let (_, _, lines) = w.told("e").unwrap();
    assert_eq!(
        (lines.len(), lines[0].as_str(), lines[7].as_str()),
        (messages::MOST_PROGRESS_EVENTS, "0 %", "49 %")
    );
}

#[test]
fn an_orchestrator_that_does_not_understand_is_told_nothing() {
    let mut w = World::with_begun("e");
    w.step(Input::Connected { progress: false });
    w.step(started("e"));
    w.wait();
    assert_eq!(w.did().len(), 0);
    assert_eq!(w.disk["e"].execution.compute_state.state_type, ComputeState::Running);
    w.accept("e");
    assert_eq!(w.did(), ["ack 2"]);
    // It was replaced by one that does.
    w.step(Input::Connected { progress: true });
    assert_eq!(w.did(), ["Progress e"]);
}

#[test]
fn reports_that_a_connection_lost_are_told_on_the_next() {
    let mut w = World::with_begun("e");
    w.step(started("e"));
    w.wait();
    assert_eq!(w.did(), ["Progress e"]);
    w.step(Input::Connected { progress: true });
    assert_eq!(w.did(), ["Progress e"]);
    w.delivered("e", PendingReport::Progress);
    w.step(Input::Connected { progress: true });
    assert_eq!(w.did().len(), 0);
    // An orchestrator that gave it up and took it back says that it is to run.
    w.accept("e");
    assert_eq!(w.did(), ["Progress e", "ack 2"]);
    w.delivered("e", PendingReport::Progress);
    w.ask(execution("e", "1"));
    assert_eq!(w.did(), ["Progress e", "ack 1"]);
}

#[test]
fn nothing_is_told_of_what_was_cancelled() {
    let mut w = World::with_begun("e");
    w.step(started("e"));
    w.cancel("e");
    w.did();
    w.step(publishing("e"));
    w.wait();
    assert_eq!((w.did().len(), w.told("e"), w.core.next_wakeup()), (0, None, None));
}

#[test]
fn engines_come_and_go() {
    let mut w = World::new();
    w.step(Input::Engines(Vec::new()));
    w.ask(execution("e", "1"));
    assert_eq!(w.state("e"), Some(ComputeState::AskForBidRejected));
    w.step(Input::Engines(vec!["wasm".into()]));
    w.ask(execution("f", "1"));
    assert_eq!(w.state("f"), Some(ComputeState::AskForBidAccepted));
    assert_eq!(w.core.tally(), Tally { bids_made: 1, bids_refused: 1, bids_failed: 0 });
}

/// A restart of a node whose engine's tasks outlive it, with some of its results complete.
fn restart(w: &mut World, outlives: bool, complete: &[&str]) {
    let outliving = if outlives { vec!["wasm".to_owned()] } else { Vec::new() };
    w.core = Core::new(BidPolicy { outliving, ..policy() });
    w.effects.clear();
    let mut out = Output::default();
    let complete = complete.iter().map(|id| (*id).to_owned()).collect();
    w.core.restore(w.now, w.disk.values().cloned().collect(), &complete, &mut out);
    w.take(out);
}

#[test]
fn what_outlived_the_node_is_adopted_and_keeps_its_capacity() {
    for kind in ["batch", "service"] {
        let mut w = World::with_begun("e");
        w.ask(execution("queued", "2"));
        w.accept("queued");
        w.step(started("e"));
        w.wait();
        let mut record = w.disk["e"].clone();
        Arc::make_mut(record.execution.job.as_mut().unwrap()).r#type = kind.into();
        let since = record.execution.start_time;
        w.disk.insert("e".into(), record);
        restart(&mut w, true, &[]);
        assert_eq!(w.did(), ["Adopt e"], "the queue waits for it");
        assert_eq!((w.core.load().0.cpu, w.state("e")), (1.0, Some(ComputeState::Running)));
        w.step(Input::Connected { progress: true });
        assert_eq!(w.told("e").unwrap().0, ComputeState::Running);
        w.step(started("e"));
        assert_eq!(w.core.slot("e").unwrap().execution.start_time, since, "it began when it began");
        w.did();
        w.finish("e", Ok(Finished::default()));
        assert_eq!(w.did(), ["RunResult e", "run queued"]);
    }
}

#[test]
fn what_did_not_outlive_it_fails_or_starts_anew() {
    let mut w = World::with_begun("e");
    restart(&mut w, true, &[]);
    assert_eq!(w.did(), ["Adopt e"], "its task may have been started");
    w.step(Input::Gone { execution_id: "e".into() });
    assert_eq!(w.core.slot("e").unwrap().execution.compute_state.message, "Failed due to node restart");
    assert_eq!((w.did(), w.core.load().2), (vec!["ComputeError e".to_owned()], 0));

    let mut w = World::new();
    let mut service = execution("s", "1");
    Arc::make_mut(service.job.as_mut().unwrap()).r#type = "service".into();
    w.ask(service);
    w.accept("s");
    w.step(started("s"));
    w.wait();
    restart(&mut w, true, &[]);
    w.step(Input::Gone { execution_id: "s".into() });
    assert_eq!(w.did(), ["Adopt s", "run s"]);
    assert_eq!((w.state("s"), w.disk["s"].execution.start_time), (Some(ComputeState::BidAccepted), 0));
    // Cancelled before its engine knew that it is gone.
    let mut w = World::with_begun("c");
    restart(&mut w, true, &[]);
    w.cancel("c");
    w.step(Input::Gone { execution_id: "c".into() });
    assert_eq!((w.state("c"), w.disk.len(), w.core.load().2), (None, 0, 0));
}

#[test]
fn complete_results_are_published_whatever_the_engine() {
    for outlives in [false, true] {
        let mut w = World::with_begun("e");
        w.begin("other");
        restart(&mut w, outlives, &["e"]);
        let other = if outlives { "Adopt other" } else { "ComputeError other" };
        assert_eq!(w.did(), ["Publish e", other]);
        w.step(publishing("e"));
        w.finish("e", Ok(Finished::default()));
        assert_eq!(w.state("e"), Some(ComputeState::Completed));
    }
}
