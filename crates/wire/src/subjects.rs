//! Subjects of the protocol `ncl/v1`: how they are built and how a node's ID is read from one.
//!
//! A node's ID is one token of its subjects. That token, granted and checked by the NATS server, is who a message is
//! from; what a payload says about its sender never counts for more.

/// Control requests of all nodes, for the orchestrator's subscription.
pub const ALL_CONTROL: &str = "bacalhau.global.compute.*.out.ctrl";
/// Reports of all nodes, for the orchestrator's subscription.
pub const ALL_REPORTS: &str = "bacalhau.global.compute.*.out.msgs";

/// All events of the orchestrator. Below it: the type of event and the ID of the job, or of the node.
pub const ALL_EVENTS: &str = "bacalhau.global.events.>";

const COMPUTE: &str = "bacalhau.global.compute.";
const EVENTS: &str = "bacalhau.global.events.";
const NODE: &str = "node.compute.";
const LOGS: &str = ".ExecutionLogs/v1";

/// Control requests of a node.
pub fn control(node_id: &str) -> String {
    format!("{COMPUTE}{node_id}.out.ctrl")
}

/// Messages to a node.
pub fn messages(node_id: &str) -> String {
    format!("{COMPUTE}{node_id}.in.msgs")
}

/// Reports of a node.
pub fn reports(node_id: &str) -> String {
    format!("{COMPUTE}{node_id}.out.msgs")
}

/// Everything that a node may say.
pub fn out(node_id: &str) -> String {
    format!("{COMPUTE}{node_id}.out.>")
}

/// Where a node acknowledges what an orchestrator sent in one of its lives; a number follows after a dot. Like all that
/// a node says it is below the node's own `out`: a node that may publish only there can speak for nobody else.
pub fn acks(node_id: &str, life: &str) -> String {
    format!("{COMPUTE}{node_id}.out.acks.{life}")
}

/// Acknowledgements of all nodes in one life of the orchestrator.
pub fn all_acks(life: &str) -> String {
    format!("{COMPUTE}*.out.acks.{life}.*")
}

/// Where a node sends the frames of a log stream.
pub fn stream(node_id: &str, life: &str, stream_id: &str) -> String {
    format!("{COMPUTE}{node_id}.out.logs.{life}.{stream_id}")
}

/// Frames of all nodes in one life of the orchestrator.
pub fn all_streams(life: &str) -> String {
    format!("{COMPUTE}*.out.logs.{life}.*")
}

/// Where a node asks whether its log streams are still wanted.
pub fn keep_alive(node_id: &str, life: &str) -> String {
    format!("{COMPUTE}{node_id}.out.alive.{life}")
}

/// Such questions of all nodes in one life of the orchestrator.
pub fn all_keep_alives(life: &str) -> String {
    format!("{COMPUTE}*.out.alive.{life}")
}

/// The node that a subject below its own `out` belongs to.
pub fn sender(subject: &str) -> Option<&str> {
    let (node_id, tail) = subject.strip_prefix(COMPUTE)?.split_once('.')?;
    (tail.starts_with("out.") && check_node_id(node_id).is_ok()).then_some(node_id)
}

/// Log stream requests to a node.
pub fn logs(node_id: &str) -> String {
    format!("{NODE}{node_id}{LOGS}")
}

/// What a node subscribes to for log streams.
pub fn node_requests(node_id: &str) -> String {
    format!("{NODE}{node_id}.>")
}

/// Whether a node may be answered there. Only inboxes are answered, or a node could make the orchestrator speak on the
/// subjects of others: its own below its ID (see [`inbox`]), or one of a client that knows no such, `_INBOX.<unique>` with at
/// most one more token, which no node with credentials subscribes to.
pub fn is_inbox_of(node_id: &str, reply: &str) -> bool {
    let Some(rest) = reply.strip_prefix("_INBOX.") else { return false };
    let is_plain = |token: &str| !token.is_empty() && !token.contains(['*', '>', ' ', '\t', '\r', '\n']);
    let mut tokens = rest.split('.');
    tokens.clone().all(is_plain) && (tokens.clone().count() <= 2 || tokens.next() == Some(node_id))
}

/// A new inbox of a node: a prefix of subjects for answers, without the dot at its end.
pub(crate) fn inbox(node_id: &str) -> String {
    format!("_INBOX.{node_id}.{}", crate::inbox::nuid())
}

/// Where an event is published. An ID that users chose is made one token: what cannot stand in one becomes `_`.
pub fn event(kind: &str, id: &str) -> String {
    let fits = |c: char| !(c.is_whitespace() || c.is_control() || ".*>".contains(c));
    let mut subject = format!("{EVENTS}{kind}.");
    subject.extend(id.chars().map(|c| if fits(c) { c } else { '_' }));
    if id.is_empty() {
        subject.push('_');
    }
    subject
}

/// The node of a subject like `bacalhau.global.compute.<id>.out.ctrl`; `None` for any other shape.
pub fn node_of(subject: &str) -> Option<&str> {
    let rest = subject.strip_prefix(COMPUTE)?;
    let (node_id, tail) = rest.split_once('.')?;
    let known = ["out.ctrl", "out.msgs", "out.requests", "in.msgs"].contains(&tail);
    (known && check_node_id(node_id).is_ok()).then_some(node_id)
}

/// Longest node ID, bytes. Long enough for a host name; subjects and metadata repeat it.
pub const MAX_NODE_ID: usize = 255;

/// Whether a node ID can stand in subjects, also in those of a Bacalhau 1.9 orchestrator: 1 to 255 of
/// `A-Z a-z 0-9 - _ / =`. The error says what is wrong with it.
pub fn check_node_id(node_id: &str) -> Result<(), String> {
    if node_id.is_empty() {
        return Err("the node ID is empty".to_owned());
    }
    if node_id.len() > MAX_NODE_ID {
        return Err(format!(
            "the node ID has {} characters, at most {MAX_NODE_ID} are allowed",
            node_id.len()
        ));
    }
    match node_id.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_/=".contains(*c))) {
        Some(bad) => Err(format!(
            "node ID {node_id:?} contains {bad:?}; it may have letters, digits and - _ / = (dots separate the \
             words of a subject)"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_name_their_node() {
        for subject in [control("n-1"), messages("n-1"), reports("n-1")] {
            assert_eq!(node_of(&subject), Some("n-1"), "{subject}");
        }
        assert_eq!(logs("n-1"), "node.compute.n-1.ExecutionLogs/v1");
        for own in [control("n-1"), acks("n-1", "x"), stream("n-1", "x", "s"), keep_alive("n-1", "x")] {
            assert_eq!(sender(&own), Some("n-1"), "{own}");
        }
        assert_eq!((sender(&messages("n-1")), sender("_INBOX.x")), (None, None));
        for other in [
            "",
            "bacalhau.global.compute.n-1",
            "bacalhau.global.compute..out.ctrl",
            "bacalhau.global.compute.*.out.ctrl",
            "bacalhau.global.compute.n-1.x.out.ctrl",
            "bacalhau.global.compute.n-1.out.ctrl.x",
            "node.compute.n-1.out.ctrl",
        ] {
            assert_eq!(node_of(other), None, "{other}");
        }
    }

    #[test]
    fn nodes_are_answered_in_their_inboxes_only() {
        for own in [&inbox("n-1"), "_INBOX.n-1.x.7", "_INBOX.6KONsRMiCTUUNZ5zwSiHWK.f2050bb5", "_INBOX.x"] {
            assert!(is_inbox_of("n-1", own), "{own}");
        }
        for other in [
            "",
            "_INBOX",
            "_INBOX.",
            "_INBOX.n-2.x.7",
            "_INBOX.n-1..7",
            "_INBOX.n-1.*.7",
            "_INBOX.n-1.>",
            "_INBOX.n-1.x y.7",
            "_INBOXES.n-1.x",
            &messages("n-2"),
            &control("n-2"),
            &acks("n-2", "x"),
            &event("job", "j"),
            "$SYS.REQ.SERVER.PING",
        ] {
            assert!(!is_inbox_of("n-1", other), "{other}");
        }
    }

    #[test]
    fn events_have_one_token_for_their_id() {
        assert_eq!(event("job", "j-1"), "bacalhau.global.events.job.j-1");
        assert_eq!(event("history", "my.own *>é"), "bacalhau.global.events.history.my_own___é");
        assert_eq!(event("node", ""), "bacalhau.global.events.node._");
        assert_eq!((node_of(&event("job", "x")), sender(&event("job", "x"))), (None, None));
    }

    #[test]
    fn node_ids_are_one_token() {
        assert!(check_node_id("n-c39b95fc-c714-48b6-810a-98688b6ccdb3").is_ok());
        assert!(check_node_id("i-0abc_d/e=").is_ok());
        for bad in ["", "a.b", "a b", "*", ">", "a\0", "é", &"x".repeat(256)] {
            assert!(check_node_id(bad).is_err(), "{bad}");
        }
    }
}
