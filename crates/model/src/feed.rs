//! The event stream: everything that happens to jobs, executions and nodes, as one numbered sequence.
//!
//! An event says what changed and to what, never the whole record: whoever wants a job's spec or an execution's output
//! asks for it. Lines of histories are events too, so that a reader of the stream needs no second source.

use crate::event::{Event, HistoryType, JobHistory};
use crate::node::{Connection, Drain, Membership, NodeState};
use crate::{Execution, Job, Time};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Longest text of an event, bytes; longer ones are cut. Compute nodes choose some of these texts.
pub const MOST_TEXT: usize = 16 * 1024;
/// State of a job after its deletion.
pub const JOB_DELETED: &str = "Deleted";
/// State of a node after its deletion.
pub const NODE_DELETED: &str = "DELETED";

/// What an event is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A job is new, changed its state or was deleted.
    #[default]
    Job,
    /// An execution is new or changed its state.
    Execution,
    /// A node joined, left, was approved, changed what it offers, and so on.
    Node,
    /// A line was added to a job's history.
    History,
}

impl EventKind {
    /// All there are.
    pub const ALL: [EventKind; 4] =
        [EventKind::Job, EventKind::Execution, EventKind::Node, EventKind::History];

    /// The word in JSON, in subjects and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Job => "job",
            EventKind::Execution => "execution",
            EventKind::Node => "node",
            EventKind::History => "history",
        }
    }
}

impl std::str::FromStr for EventKind {
    type Err = String;

    fn from_str(text: &str) -> Result<EventKind, String> {
        let found = EventKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| {
            format!("{text:?} is no type of event; there are job, execution, node and history")
        })
    }
}

/// One event. What does not apply to its type is empty and left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ClusterEvent {
    /// Its place in the stream: from 1, one more each time, also across restarts.
    pub seq_num: u64,
    /// When the orchestrator recorded it, UTC. Never goes back while it runs.
    pub time: Time,
    /// What it is about.
    pub r#type: EventKind,
    /// Namespace of the job.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The job.
    #[serde(rename = "JobID", skip_serializing_if = "String::is_empty")]
    pub job_id: String,
    /// Its name; on events of type job.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job_name: String,
    /// Its version.
    #[serde(skip_serializing_if = "is_zero")]
    pub job_version: u64,
    /// The execution.
    #[serde(rename = "ExecutionID", skip_serializing_if = "String::is_empty")]
    pub execution_id: String,
    /// Partition of the execution; left out when 0.
    #[serde(skip_serializing_if = "is_no_partition")]
    pub partition_index: i64,
    /// Attempt of the execution.
    #[serde(skip_serializing_if = "is_zero")]
    pub attempt: u64,
    /// The node: the one concerned, or the execution's.
    #[serde(rename = "NodeID", skip_serializing_if = "String::is_empty")]
    pub node_id: String,
    /// State of the job, the execution (what its node says) or the node's connection, in words.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub state: Cow<'static, str>,
    /// What the orchestrator wants of the execution, in words.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub desired_state: Cow<'static, str>,
    /// Whether the node may work.
    #[serde(skip_serializing_if = "is_unknown")]
    pub membership: Membership,
    /// The node gets no new work, by an operator's wish.
    #[serde(skip_serializing_if = "is_false")]
    pub cordoned: bool,
    /// The node's work is being moved away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Why, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Number of the line in the job's history, from 1.
    #[serde(skip_serializing_if = "is_zero")]
    pub history_seq_num: u64,
    /// The line itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_no_partition(value: &i64) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_unknown(membership: &Membership) -> bool {
    *membership == Membership::Unknown
}

impl ClusterEvent {
    /// A job as it is now.
    pub fn of_job(job: &Job) -> ClusterEvent {
        ClusterEvent {
            r#type: EventKind::Job,
            namespace: job.namespace.clone(),
            job_id: job.id.clone(),
            job_name: job.name.clone(),
            job_version: job.version,
            state: Cow::Borrowed(job.state.state_type.as_str()),
            message: short(&job.state.message),
            ..ClusterEvent::default()
        }
    }

    /// A job that is gone.
    pub fn job_deleted(job_id: &str) -> ClusterEvent {
        ClusterEvent {
            r#type: EventKind::Job,
            job_id: job_id.to_owned(),
            state: Cow::Borrowed(JOB_DELETED),
            ..ClusterEvent::default()
        }
    }

    /// An execution as it is now.
    pub fn of_execution(execution: &Execution) -> ClusterEvent {
        ClusterEvent {
            r#type: EventKind::Execution,
            namespace: execution.namespace.clone(),
            job_id: execution.job_id.clone(),
            job_version: execution.job_version,
            execution_id: execution.id.clone(),
            partition_index: execution.partition_index,
            attempt: execution.attempt,
            node_id: execution.node_id.clone(),
            state: Cow::Borrowed(execution.compute_state.state_type.as_str()),
            desired_state: Cow::Borrowed(execution.desired_state.state_type.as_str()),
            message: short(&execution.compute_state.message),
            ..ClusterEvent::default()
        }
    }

    /// A node as it is now.
    pub fn of_node(node: &NodeState) -> ClusterEvent {
        let link = &node.connection_state;
        let why = if link.status == Connection::Connected { "" } else { &link.last_error };
        ClusterEvent {
            r#type: EventKind::Node,
            node_id: node.info.node_id.clone(),
            state: Cow::Borrowed(link.status.as_str()),
            membership: node.membership,
            cordoned: node.cordoned,
            drain: node.drain.clone(),
            message: short(why),
            ..ClusterEvent::default()
        }
    }

    /// A node that is gone.
    pub fn node_deleted(node_id: &str) -> ClusterEvent {
        ClusterEvent {
            r#type: EventKind::Node,
            node_id: node_id.to_owned(),
            state: Cow::Borrowed(NODE_DELETED),
            ..ClusterEvent::default()
        }
    }

    /// A line of a history.
    pub fn of_history(line: &JobHistory) -> ClusterEvent {
        ClusterEvent {
            r#type: EventKind::History,
            job_id: line.job_id.clone(),
            job_version: line.job_version,
            execution_id: line.execution_id.clone(),
            history_seq_num: line.seq_num,
            event: Some(bounded(&line.event)),
            ..ClusterEvent::default()
        }
    }

    /// The line of history that this event is, if it is one.
    pub fn into_history(self) -> Option<JobHistory> {
        let event = self.event.filter(|_| self.r#type == EventKind::History)?;
        let is_job = self.execution_id.is_empty();
        Some(JobHistory {
            seq_num: self.history_seq_num,
            r#type: if is_job { HistoryType::JobLevel } else { HistoryType::ExecutionLevel },
            job_id: self.job_id,
            job_version: self.job_version,
            execution_id: self.execution_id,
            event,
            time: self.time,
        })
    }

    /// ID of what it is about: the node's on events of nodes, the job's on all others.
    pub fn subject_id(&self) -> &str {
        if self.r#type == EventKind::Node { &self.node_id } else { &self.job_id }
    }
}

/// A text that is not too long.
fn short(text: &str) -> String {
    if text.len() <= MOST_TEXT {
        return text.to_owned();
    }
    let end = (0..=MOST_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", text.get(..end).unwrap_or_default())
}

/// An event that is not too long. Details are left out from the first one on that does not fit; the last says so.
fn bounded(event: &Event) -> Event {
    let size = |(key, value): (&String, &String)| key.len() + value.len();
    if event.message.len() + event.details.iter().map(size).sum::<usize>() <= MOST_TEXT {
        return event.clone();
    }
    let mut cut = Event { message: short(&event.message), topic: short(&event.topic), ..Event::default() };
    cut.timestamp = event.timestamp;
    let mut room = MOST_TEXT;
    for (key, value) in &event.details {
        let Some(left) = room.checked_sub(key.len() + value.len()) else {
            cut.details.insert("Truncated".to_owned(), "true".to_owned());
            break;
        };
        room = left;
        cut.details.insert(key.clone(), value.clone());
    }
    cut
}

/// An event as it is stored and sent, with what readers choose by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedEvent {
    /// See [`ClusterEvent::seq_num`].
    pub seq_num: u64,
    /// See [`ClusterEvent::type`].
    pub kind: EventKind,
    /// See [`ClusterEvent::subject_id`].
    pub subject_id: String,
    /// The event as JSON, one line.
    pub text: String,
}

impl EncodedEvent {
    /// Encodes an event.
    ///
    /// # Errors
    /// None in practice: there is nothing in an event that JSON cannot say.
    pub fn of(event: &ClusterEvent) -> Result<EncodedEvent, serde_json::Error> {
        let text = serde_json::to_string(event)?;
        let subject_id = event.subject_id().to_owned();
        Ok(EncodedEvent { seq_num: event.seq_num, kind: event.r#type, subject_id, text })
    }

    /// Reads from the text what readers choose by.
    ///
    /// # Errors
    /// Text that is no event.
    pub fn from_text(seq_num: u64, text: String) -> Result<EncodedEvent, serde_json::Error> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(rename = "Type")]
            kind: EventKind,
            #[serde(rename = "JobID", borrow, default)]
            job_id: Cow<'a, str>,
            #[serde(rename = "NodeID", borrow, default)]
            node_id: Cow<'a, str>,
        }
        let head: Head<'_> = serde_json::from_str(&text)?;
        let subject_id = if head.kind == EventKind::Node { head.node_id } else { head.job_id }.into_owned();
        Ok(EncodedEvent { seq_num, kind: head.kind, subject_id, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::topic;
    use crate::{JobState, State};

    #[test]
    fn events_say_what_applies_and_nothing_else() {
        let mut job = Job { id: "j-1".into(), name: "one".into(), version: 2, ..Job::default() };
        job.state = State::with_message(JobState::Failed, "why");
        let mut event = ClusterEvent::of_job(&job);
        event.seq_num = 7;
        event.time = Time::from_unix_nanos(0);
        let encoded = EncodedEvent::of(&event).unwrap();
        assert_eq!(
            encoded.text,
            r#"{"SeqNum":7,"Time":"1970-01-01T00:00:00Z","Type":"job","JobID":"j-1","JobName":"one","JobVersion":2,"State":"Failed","Message":"why"}"#
        );
        assert_eq!(EncodedEvent::from_text(7, encoded.text.clone()).unwrap(), encoded);
        assert_eq!(serde_json::from_str::<ClusterEvent>(&encoded.text).unwrap(), event);
        let node = EncodedEvent::of(&ClusterEvent::node_deleted("n-1")).unwrap();
        assert_eq!(node.subject_id, "n-1");
        assert!(node.text.ends_with(r#""Type":"node","NodeID":"n-1","State":"DELETED"}"#), "{}", node.text);
    }

    #[test]
    fn lines_of_history_come_back() {
        let line = JobHistory {
            seq_num: 3,
            r#type: HistoryType::ExecutionLevel,
            job_id: "j-1".into(),
            job_version: 1,
            execution_id: "e-1".into(),
            event: Event::new(topic::EXECUTION, "Running", Time::from_unix_nanos(5)).with("k", "v"),
            time: Time::from_unix_nanos(6),
        };
        let mut event = ClusterEvent::of_history(&line);
        event.time = line.time;
        assert_eq!(event.into_history(), Some(line));
        assert_eq!(ClusterEvent::job_deleted("j-1").into_history(), None);
    }

    #[test]
    fn texts_of_others_are_bounded() {
        let long = "ü".repeat(MOST_TEXT);
        let event =
            Event::new("Topic", long.clone(), Time::ZERO).with("a", "1").with("b", long).with("c", "3");
        let cut = bounded(&event);
        assert!(cut.message.len() <= MOST_TEXT + 3 && cut.message.ends_with("..."));
        let keys: Vec<&str> = cut.details.keys().map(String::as_str).collect();
        assert_eq!(keys, ["Truncated", "a"]);
    }
}
