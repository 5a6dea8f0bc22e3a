//! From the core's changes to events: pure, and the only place that says what is worth an event.
//!
//! A job's final event comes after everything else of its batch, so whoever reads up to it has read how it came to it.

use bacalhau_model::{ClusterEvent, Connection, Drain, Membership, NodeInfo, NodeState, Time};
use bacalhau_store::orchestrator::{Change, Snapshot};
use std::collections::{HashMap, HashSet};

/// What was told last, as far as it is needed to leave out what says nothing new.
#[derive(Debug, Default)]
pub(super) struct Teller {
    nodes: HashMap<String, Seen>,
    /// Executions whose end was told while their node had yet to acknowledge it: it is stored once more then.
    ended: HashSet<String>,
}

/// What can be seen of a node: all but how busy it is, its heartbeats and message numbers.
#[derive(Debug)]
struct Seen {
    info: NodeInfo,
    membership: Membership,
    status: Connection,
    since: Time,
    last_error: String,
    cordoned: bool,
    drain: Option<Drain>,
}

impl Seen {
    fn of(node: &NodeState) -> Seen {
        let link = &node.connection_state;
        Seen {
            info: node.info.clone(),
            membership: node.membership,
            status: link.status,
            since: link.connected_since,
            last_error: link.last_error.clone(),
            cordoned: node.cordoned,
            drain: node.drain.clone(),
        }
    }

    /// Its standing and its link are as they were.
    fn same_link(&self, node: &NodeState) -> bool {
        let link = &node.connection_state;
        self.membership == node.membership
            && self.status == link.status
            && self.since == link.connected_since
            && self.last_error == link.last_error
            && self.cordoned == node.cordoned
            && self.drain == node.drain
    }

    /// What it offers is as it was.
    fn same_offer(&self, node: &NodeState) -> bool {
        let (was, is) = (&self.info.compute_node_info, &node.info.compute_node_info);
        self.info.labels == node.info.labels
            && self.info.node_type == node.info.node_type
            && self.info.bacalhau_version == node.info.bacalhau_version
            && was.execution_engines == is.execution_engines
            && was.publishers == is.publishers
            && was.storage_sources == is.storage_sources
            && was.max_capacity == is.max_capacity
            && was.max_job_requirements == is.max_job_requirements
            && was.address == is.address
    }
}

/// The message of a node whose labels, capacity or the like changed.
const NEW_OFFER: &str = "what the node offers changed";

impl Teller {
    /// Everything in `snapshot` was told in a former life.
    pub(super) fn new(snapshot: &Snapshot) -> Teller {
        let nodes = snapshot.nodes.iter().map(|node| (node.info.node_id.clone(), Seen::of(node)));
        let ended = snapshot.executions.iter().filter(|(e, pending)| e.is_terminal() && pending.is_some());
        Teller { nodes: nodes.collect(), ended: ended.map(|(e, _)| e.id.clone()).collect() }
    }

    /// The events of a batch of changes, in order, without numbers and times.
    pub(super) fn tell(&mut self, changes: &[Change]) -> Vec<ClusterEvent> {
        let (mut events, mut ends) = (Vec::new(), Vec::<ClusterEvent>::new());
        for change in changes {
            match change {
                Change::PutJob(job) => {
                    move_up(&job.id, &mut ends, &mut events);
                    let event = ClusterEvent::of_job(job);
                    if job.is_terminal() { ends.push(event) } else { events.push(event) }
                }
                Change::DeleteJob(id) => {
                    move_up(id, &mut ends, &mut events);
                    events.push(ClusterEvent::job_deleted(id));
                }
                Change::PutExecution { execution, pending } => {
                    let told = self.ended.remove(&execution.id) && execution.is_terminal();
                    if execution.is_terminal() && pending.is_some() {
                        self.ended.insert(execution.id.clone());
                    }
                    if !told {
                        events.push(ClusterEvent::of_execution(execution));
                    }
                }
                Change::AppendHistory(line) => events.push(ClusterEvent::of_history(line)),
                Change::PutNode(node) => events.extend(self.node(node)),
                Change::DeleteNode(id) => {
                    self.nodes.remove(id);
                    events.push(ClusterEvent::node_deleted(id));
                }
                // What is tidied away was told when it happened.
                Change::AppendEvents { .. } | Change::DeleteExecutions(_) | Change::DeleteHistory { .. } => {}
            }
        }
        events.append(&mut ends);
        events
    }

    /// The event of a node, unless it looks as it did.
    pub(super) fn node(&mut self, node: &NodeState) -> Option<ClusterEvent> {
        let mut event = ClusterEvent::of_node(node);
        if let Some(seen) = self.nodes.get(&node.info.node_id) {
            match (seen.same_link(node), seen.same_offer(node)) {
                (true, true) => return None,
                (true, false) => NEW_OFFER.clone_into(&mut event.message),
                (false, _) => {}
            }
        }
        self.nodes.insert(node.info.node_id.clone(), Seen::of(node));
        Some(event)
    }
}

/// The end of a job that goes on in the same batch belongs before what follows.
fn move_up(job_id: &str, ends: &mut Vec<ClusterEvent>, events: &mut Vec<ClusterEvent>) {
    if let Some(at) = ends.iter().position(|end| end.job_id == job_id) {
        events.push(ends.remove(at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_model::execution::{ComputeState, DesiredState, Execution};
    use bacalhau_model::{Event, EventKind, Job, JobHistory, JobState, State};
    use bacalhau_store::orchestrator::PendingMessage;
    use std::sync::Arc;

    fn job(id: &str, version: u64, state: JobState) -> Change {
        Change::PutJob(Arc::new(Job { id: id.into(), version, state: State::new(state), ..Job::default() }))
    }

    fn line(seq_num: u64) -> Change {
        let event = Event::new("Topic", format!("line {seq_num}"), Time::ZERO);
        Change::AppendHistory(JobHistory { seq_num, job_id: "j-1".into(), event, ..JobHistory::default() })
    }

    fn execution(state: ComputeState, pending: Option<PendingMessage>) -> Change {
        let execution = Execution {
            id: "e-1".into(),
            job_id: "j-1".into(),
            node_id: "n-1".into(),
            attempt: 2,
            compute_state: State::with_message(state, "why"),
            desired_state: State::new(DesiredState::Running),
            ..Execution::default()
        };
        Change::PutExecution { execution: Arc::new(execution), pending }
    }

    /// `type state` of each event, or the line of a history.
    fn told(events: &[ClusterEvent]) -> Vec<String> {
        let show = |event: &ClusterEvent| match &event.event {
            Some(line) => line.message.clone(),
            None => format!("{} {}", event.r#type.as_str(), event.state),
        };
        events.iter().map(show).collect()
    }

    #[test]
    fn the_end_of_a_job_is_told_last() {
        let mut teller = Teller::default();
        let events = teller.tell(&[
            job("j-1", 1, JobState::Completed),
            line(1),
            job("j-2", 1, JobState::Running),
            execution(ComputeState::Cancelled, None),
        ]);
        assert_eq!(told(&events), ["line 1", "job Running", "execution Cancelled", "job Completed"]);
        let e = &events[2];
        assert_eq!((e.execution_id.as_str(), e.node_id.as_str(), e.attempt), ("e-1", "n-1", 2));
        assert_eq!((e.message.as_str(), e.desired_state.as_ref()), ("why", "Running"));
    }

    #[test]
    fn a_job_that_goes_on_in_the_same_batch_keeps_its_order() {
        let mut teller = Teller::default();
        let events = teller.tell(&[
            job("j-1", 1, JobState::Failed),
            line(1),
            job("j-1", 2, JobState::Pending),
            job("j-1", 2, JobState::Completed),
            Change::DeleteJob("j-1".into()),
        ]);
        let expected = ["line 1", "job Failed", "job Pending", "job Completed", "job Deleted"];
        assert_eq!(told(&events), expected);
        assert_eq!((events[1].job_version, events[2].job_version), (1, 2));
    }

    #[test]
    fn the_end_of_an_execution_is_told_once() {
        let cancel = Some(PendingMessage::CancelExecution);
        let mut teller = Teller::default();
        assert_eq!(teller.tell(&[execution(ComputeState::Failed, cancel)]).len(), 1);
        // Its node acknowledged: it is stored again, and nothing can be seen.
        assert_eq!(teller.tell(&[execution(ComputeState::Failed, None)]), []);
        assert!(teller.ended.is_empty());
        // In another life too.
        let Change::PutExecution { execution: stored, pending } = execution(ComputeState::Failed, cancel)
        else {
            unreachable!()
        };
        let mut next = Teller::new(&Snapshot {
            executions: vec![(Arc::unwrap_or_clone(stored), pending)],
            ..Snapshot::default()
        });
        assert_eq!(next.tell(&[execution(ComputeState::Failed, None)]), []);
        // One that lives again after all ends again.
        teller.tell(&[execution(ComputeState::Failed, cancel), execution(ComputeState::Running, None)]);
        assert_eq!(teller.tell(&[execution(ComputeState::Completed, None)]).len(), 1);
    }

    #[test]
    fn nodes_are_told_when_something_can_be_seen() {
        let mut node = NodeState::default();
        node.info.node_id = "n-1".into();
        let mut teller = Teller::default();
        let mut tell = |node: &NodeState| teller.tell(&[Change::PutNode(node.clone())]).pop();
        assert_eq!(tell(&node).unwrap().r#type, EventKind::Node);
        node.connection_state.last_compute_seq_num = 9;
        node.connection_state.last_heartbeat = Time::from_unix_nanos(5);
        node.info.compute_node_info.running_executions = 3;
        node.info.compute_node_info.available_capacity.cpu = 1.0;
        assert_eq!(tell(&node), None);
        node.info.labels.insert("zone".into(), "a".into());
        assert_eq!(tell(&node).unwrap().message, NEW_OFFER);
        node.connection_state.status = Connection::Connected;
        assert_eq!(tell(&node).unwrap().state, "CONNECTED");
        node.connection_state.status = Connection::Disconnected;
        node.connection_state.last_error = "connection lost".into();
        let gone = tell(&node).unwrap();
        assert_eq!((gone.state.as_ref(), gone.message.as_str()), ("DISCONNECTED", "connection lost"));
        node.cordoned = true;
        assert!(tell(&node).unwrap().cordoned);
        let deleted = teller.tell(&[Change::DeleteNode("n-1".into())]);
        assert_eq!(told(&deleted), ["node DELETED"]);
        assert!(teller.tell(&[Change::PutNode(node)]).len() == 1, "a new one of that name");
    }
}
