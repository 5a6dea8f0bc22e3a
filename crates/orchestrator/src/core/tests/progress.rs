//! What nodes tell of executions on their way, and what follows from it.

use super::*;
use bacalhau_model::Time;
use bacalhau_model::event::topic;
use bacalhau_model::node::protocol;
use bacalhau_wire::messages::MOST_PROGRESS_EVENTS;

impl World {
    /// A node that reports how far its executions are.
    fn telling_node(&mut self, id: &str) {
        self.node(id, 4.0);
        let known = self.core.nodes().find(|n| n.info.node_id == id).unwrap();
        let mut info = known.info.clone();
        info.supported_protocols = vec![protocol::NCL_V1.into(), protocol::EXECUTION_PROGRESS.into()];
        self.step(Input::Handshake { info: Box::new(info), token: () });
    }

    fn progress(&mut self, id: &str, state: ComputeState, running_for: i64, lines: &[(&str, i64)]) {
        let lines: Vec<Event> = lines
            .iter()
            .map(|(text, at)| Event::new(topic::RUNNING_EXECUTION, *text, Time::from_unix_nanos(*at)))
            .collect();
        self.report(id, |e| messages::execution_progress(e, state, running_for, lines.clone()));
    }

    fn execution(&self, id: &str) -> Execution {
        self.executions().into_iter().find(|e| e.id == id).unwrap()
    }

    fn state_of(&self, id: &str) -> ComputeState {
        self.execution(id).compute_state.state_type
    }

    fn lines(&self, text: &str) -> usize {
        self.history().iter().filter(|(_, line)| line == text).count()
    }
}

#[test]
fn the_handshake_says_what_both_sides_speak() {
    let mut w = World::new();
    let protocols = |reply: Option<Reply>| match reply {
        Some(Reply::Handshake(answer)) => answer.protocols,
        other => panic!("{other:?}"),
    };
    w.node("old", 4.0);
    assert_eq!(protocols(w.replies.pop()), [""; 0]);
    w.telling_node("new");
    assert_eq!(protocols(w.replies.pop()), [protocol::EXECUTION_PROGRESS]);
}

#[test]
fn states_are_stored_and_told_and_never_go_back() {
    let mut w = World::new();
    w.telling_node("n1");
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.last();
    w.progress(&e, ComputeState::Running, 0, &[("too early", 1)]);
    assert_eq!((w.state_of(&e), w.lines("too early")), (ComputeState::New, 0));
    w.accept(&e);
    w.progress(&e, ComputeState::BidAccepted, 0, &[("Pulling image", 5)]);
    assert_eq!((w.state_of(&e), w.lines("Pulling image")), (ComputeState::BidAccepted, 1));
    w.progress(&e, ComputeState::Running, 0, &[("Pulling image", 5), ("Task started", 6)]);
    assert_eq!(
        (w.state_of(&e), w.lines("Pulling image"), w.lines("Task started")),
        (ComputeState::Running, 1, 1)
    );
    let since = w.execution(&e).start_time;
    assert_eq!(since, w.now);
    let revision = w.execution(&e).revision;
    w.progress(&e, ComputeState::Running, 0, &[("Task started", 6)]);
    w.progress(&e, ComputeState::Publishing, 5 * SECOND, &[("Publishing results", 9)]);
    // Late, and from a life of the orchestrator that forgot which lines it knew.
    w.restart();
    w.progress(&e, ComputeState::Running, 0, &[]);
    let execution = w.execution(&e);
    assert_eq!(
        (w.state_of(&e), execution.start_time, execution.revision),
        (ComputeState::Publishing, since, revision + 1)
    );
    w.complete(&e);
    let done = w.execution(&e);
    assert_eq!((w.state_of(&e), done.start_time), (ComputeState::Completed, since));
    let message = messages::execution_progress(&done, ComputeState::Running, 0, Vec::new());
    w.step(Input::Report { node_id: "n1".into(), message, seq: 9, token: () });
    assert_eq!((w.state_of(&e), w.job("j").state.state_type), (ComputeState::Completed, JobState::Completed));
}

#[test]
fn a_node_cannot_speak_for_another_nor_flood_the_history() {
    let mut w = World::new();
    w.telling_node("n1");
    w.submit(job("j", "batch", 1)).unwrap();
    let e = w.last();
    w.accept(&e);
    let message = messages::execution_progress(&w.execution(&e), ComputeState::Running, 0, Vec::new());
    w.telling_node("n2");
    w.step(Input::Report { node_id: "n2".into(), message, seq: 1, token: () });
    assert_eq!(w.state_of(&e), ComputeState::BidAccepted);
    let many: Vec<(&str, i64)> = (1..100).map(|at| ("line", at)).collect();
    w.progress(&e, ComputeState::Running, i64::MAX, &many);
    assert_eq!(w.lines("line"), MOST_PROGRESS_EVENTS);
    let execution = w.execution(&e);
    assert_eq!(execution.start_time, execution.create_time, "it cannot have begun before it was made");
    w.progress(&e, ComputeState::Completed, 0, &[]);
    w.progress(&e, ComputeState::Failed, 0, &[]);
    assert_eq!(w.state_of(&e), ComputeState::Running, "an end is told otherwise");
}

#[test]
fn an_execution_timeout_counts_from_the_start_of_the_task() {
    let limited =
        || with_timeouts(job("j", "batch", 1), Timeouts { execution_timeout: 10, ..Timeouts::default() });
    let mut w = World::new();
    w.telling_node("n1");
    w.submit(limited()).unwrap();
    let e = w.last();
    w.accept(&e);
    w.pass_alive(3600);
    assert_eq!(w.state_of(&e), ComputeState::BidAccepted, "a large image is pulled");
    w.progress(&e, ComputeState::Running, 0, &[]);
    // The node itself is given half a minute to say so first.
    w.pass_alive(39);
    assert_eq!(w.state_of(&e), ComputeState::Running);
    w.pass_alive(3);
    assert_eq!(w.state_of(&e), ComputeState::Failed);
    assert_eq!(w.lines("Execution timed out. Execution took longer than 10s"), 1);
    // Where the node does not tell, it counts from the acceptance.
    let mut w = World::new();
    w.node("n1", 4.0);
    w.submit(limited()).unwrap();
    let e = w.last();
    w.accept(&e);
    w.pass_alive(42);
    assert_eq!(w.state_of(&e), ComputeState::Failed);
    // The job's whole time counts from its submission, as ever.
    let mut w = World::new();
    w.telling_node("n1");
    w.submit(with_timeouts(job("j", "batch", 1), Timeouts { total_timeout: 20, ..Timeouts::default() }))
        .unwrap();
    let e = w.last();
    w.accept(&e);
    w.pass_alive(25);
    assert_eq!(w.job("j").state.state_type, JobState::Failed);
}

#[test]
fn time_spent_on_the_preparation_is_no_long_run() {
    let mut w = World::new();
    w.telling_node("n1");
    w.submit(job("s", "service", 1)).unwrap();
    // Each attempt needs minutes for its image and fails at once.
    for n in 0..3 {
        let e = w.last();
        w.accept(&e);
        w.pass_alive(300);
        if n == 1 {
            w.fail(&e);
        } else {
            w.progress(&e, ComputeState::Running, 0, &[]);
            w.complete(&e);
        }
        w.pass_alive(9);
    }
    assert_eq!(w.job("s").state.details.get("CrashLoop").map(String::as_str), Some("true"));
    // The same after a restart.
    w.restart();
    w.telling_node("n1");
    w.pass_alive(1);
    assert_eq!(w.job("s").state.details.get("CrashLoop").map(String::as_str), Some("true"));
    // One that runs for a while is fine again.
    let e = w.last();
    w.accept(&e);
    w.pass_alive(300);
    assert_eq!(w.lines("Crash loop is over"), 0);
    w.progress(&e, ComputeState::Running, 0, &[]);
    w.pass_alive(70);
    assert_eq!(w.lines("Crash loop is over"), 1);
}

#[test]
fn a_node_that_returns_is_told_what_to_run() {
    let mut w = World::new();
    w.telling_node("n1");
    w.submit(job("b", "service", 1)).unwrap();
    let b = w.last();
    w.accept(&b);
    w.submit(job("o", "ops", 0)).unwrap();
    let o = w.last();
    for id in [&b, &o] {
        w.progress(id, ComputeState::Running, 0, &[]);
    }
    assert_eq!(w.state_of(&o), ComputeState::Running);
    w.restart();
    w.sent.clear();
    w.telling_node("n1");
    let wishes = [(b.clone(), PendingMessage::BidAccepted), (o.clone(), PendingMessage::AskForBid)];
    for (id, kind) in wishes {
        assert!(w.sent.contains(&("n1".into(), id.clone(), kind)), "{:?}", w.sent);
        assert!(w.core.message(&id, kind).is_some());
    }
    // Given up and not replaced, they go on where they were.
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    w.pass(30);
    assert_eq!(w.state_of(&b), ComputeState::Failed);
    w.telling_node("n1");
    assert_eq!(w.state_of(&b), ComputeState::Running);
}

#[test]
fn a_node_whose_tasks_go_on_is_waited_for() {
    let mut w = World::new();
    w.telling_node("n1");
    let [stays, ends] = ["stays", "ends"].map(|id| {
        w.submit(job(id, "service", 1)).unwrap();
        let e = w.last();
        w.accept(&e);
        w.progress(&e, ComputeState::Running, 0, &[]);
        e
    });
    w.node("n2", 4.0);
    let tasks_go_on = vec![stays.clone(), "unknown".into()];
    w.step(Input::ShutdownNotice { node_id: "n1".into(), tasks_go_on, token: () });
    w.step(Input::ConnectionLost { node_id: "n1".into() });
    assert_eq!((w.state_of(&stays), w.state_of(&ends)), (ComputeState::Running, ComputeState::Failed));
    assert_eq!(w.executions().iter().filter(|e| e.node_id == "n2").count(), 1, "replaced at once");
    w.pass(50);
    assert_eq!(w.state_of(&stays), ComputeState::Running);
    w.pass(20);
    assert_eq!(w.state_of(&stays), ComputeState::Failed, "but not for ever");
}

#[test]
fn a_service_need_not_leave_room_for_what_runs_already() {
    let mut w = World::new();
    w.telling_node("n1");
    w.submit(sized("large", "batch", "3")).unwrap();
    let large = w.last();
    w.submit(sized("web", "service", "2")).unwrap();
    assert_eq!(w.job("web").state.state_type, JobState::Queued, "the other may still wait on the node");
    w.accept(&large);
    w.progress(&large, ComputeState::Running, 0, &[]);
    assert_eq!(w.executions().last().unwrap().job_id, "web");
    // It is known after a restart too, and the room that is given back is the room that was taken.
    w.restart();
    w.telling_node("n1");
    w.submit(sized("small", "service", "1")).unwrap();
    assert_eq!(w.executions().last().unwrap().job_id, "small");
    w.complete(&large);
    w.submit(sized("next", "service", "1")).unwrap();
    assert_eq!(w.executions().last().unwrap().job_id, "next");
}

#[test]
fn late_news_of_a_former_life_leaves_nothing_running() {
    for returns in [false, true] {
        let mut w = World::new();
        w.telling_node("n1");
        w.submit(job("o", "ops", 0)).unwrap();
        let e = w.last();
        w.progress(&e, ComputeState::Running, 0, &[]);
        if returns {
            // It lost its disk: it is asked again for the same, and runs it anew.
            w.telling_node("n1");
            assert_eq!(w.sent.last(), Some(&("n1".into(), e.clone(), PendingMessage::AskForBid)));
        }
        w.sent.clear();
        // The end of the first run was still on its way.
        w.complete(&e);
        assert_eq!(w.job("o").state.state_type, JobState::Completed);
        let cancel = ("n1".to_owned(), e.clone(), PendingMessage::CancelExecution);
        assert_eq!(w.sent, if returns { vec![cancel] } else { vec![] });
        // Until the node has it; also when its end was the last that was stored.
        w.restart();
        assert_eq!(w.core.census().cancelling, usize::from(returns));
        w.step(Input::Delivered { execution_id: e.clone(), kind: PendingMessage::CancelExecution });
        assert_eq!(w.core.census().cancelling, 0);
        assert_eq!(w.state_of(&e), ComputeState::Completed);
    }
}
