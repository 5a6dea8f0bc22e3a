//! What is sent to a client: output, whose it is, and remarks.

use bacalhau_model::{ComputeState, Execution, SpecConfig};
use bacalhau_wire::logs::LogLine;
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;

/// Bytes at which pieces of output are not joined any more.
const JOINED: usize = 64 * 1024;

/// One thing to send.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// An execution whose output follows.
    Execution(Arc<Shown>),
    /// Output of it.
    Output(Arc<Shown>, Vec<LogLine>),
    /// A remark. Only clients that ask for details get it.
    Note(Note),
}

/// An execution as clients get to know it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Shown {
    #[serde(rename = "ID")]
    pub(super) id: String,
    #[serde(rename = "NodeID")]
    pub(super) node_id: String,
    pub(super) job_version: u64,
    pub(super) partition_index: i64,
    pub(super) attempt: u64,
}

impl Shown {
    pub(super) fn of(execution: &Execution) -> Arc<Shown> {
        Arc::new(Shown {
            id: execution.id.clone(),
            node_id: execution.node_id.clone(),
            job_version: execution.job_version,
            partition_index: execution.partition_index,
            attempt: execution.attempt,
        })
    }
}

/// A remark about an execution, or about the job when there is none.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Note {
    pub(super) code: &'static str,
    pub(super) message: String,
    #[serde(rename = "ExecutionID", skip_serializing_if = "String::is_empty")]
    pub(super) execution_id: String,
    /// Where the results are that hold the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) published_result: Option<SpecConfig>,
}

impl Note {
    /// The execution failed.
    pub(super) const FAILED: &str = "ExecutionFailed";
    /// It has not printed anything, or it waits for something.
    pub(super) const WAITING: &str = "Waiting";
    /// The node has no log of it any more, but its results were published.
    pub(super) const RESULTS: &str = "LogInResults";
    /// Something is missing.
    pub(super) const INCOMPLETE: &str = "Incomplete";

    pub(super) fn new(code: &'static str, execution_id: &str, message: String) -> Note {
        Note { code, message, execution_id: execution_id.to_owned(), published_result: None }
    }

    /// Of an execution that failed, if it said why.
    pub(super) fn failed(id: &str, state: &str, message: &str) -> Option<Note> {
        let message = message.trim();
        let failed = state == ComputeState::Failed.as_str() && !message.is_empty();
        failed.then(|| Note::new(Note::FAILED, id, format!("execution {id} failed: {message}")))
    }
}

/// Joins neighbours of the same stream; the time of what is joined is that of the newest.
pub(super) fn joined(lines: Vec<LogLine>) -> Vec<LogLine> {
    let mut joined: Vec<LogLine> = Vec::new();
    let mut open: Vec<u8> = Vec::new();
    for line in lines {
        match joined.last_mut().filter(|last| last.stream == line.stream) {
            Some(last) if last.text.len().max(open.len()) + line.text.len() <= JOINED => {
                if open.is_empty() {
                    open.extend_from_slice(&last.text);
                }
                open.extend_from_slice(&line.text);
                last.time = last.time.max(line.time);
            }
            _ => {
                close(&mut joined, &mut open);
                joined.push(line);
            }
        }
    }
    close(&mut joined, &mut open);
    joined
}

fn close(joined: &mut [LogLine], open: &mut Vec<u8>) {
    if let Some(last) = joined.last_mut().filter(|_| !open.is_empty()) {
        last.text = Bytes::from(std::mem::take(open));
    }
}

/// The last lines of a text.
pub(super) fn last_lines(text: &str, lines: Option<u64>) -> &str {
    let Some(lines) = lines.and_then(|lines| usize::try_from(lines).ok()) else { return text };
    let body = text.strip_suffix('\n').unwrap_or(text);
    match lines {
        0 => "",
        lines => {
            body.rmatch_indices('\n').nth(lines - 1).and_then(|(at, _)| text.get(at + 1..)).unwrap_or(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

        #[test]
        fn joining_loses_nothing(lines in proptest::collection::vec((1u8..3, "[a-c]{0,30000}"), 0..12)) {
            let lines: Vec<LogLine> = lines
                .into_iter()
                .zip(1..)
                .map(|((stream, text), time)| LogLine { stream, time, text: text.into() })
                .collect();
            let joined = joined(lines.clone());
            let text = |lines: &[LogLine], of| -> Vec<u8> {
                lines.iter().filter(|line| line.stream == of).flat_map(|line| line.text.to_vec()).collect()
            };
            for stream in [1, 2] {
                prop_assert_eq!(text(&lines, stream), text(&joined, stream));
            }
            prop_assert!(joined.iter().all(|line| line.text.len() <= JOINED));
            prop_assert_eq!(joined.last().map(|line| line.time), lines.last().map(|line| line.time));
        }
    }

    #[test]
    fn last_lines_of_a_text() {
        for (lines, expected) in [(0, ""), (1, "c"), (2, "b\nc"), (9, "a\nb\nc")] {
            assert_eq!(last_lines("a\nb\nc", Some(lines)), expected);
        }
        assert_eq!(last_lines("a\nb\n", Some(1)), "b\n");
        assert_eq!(last_lines("a\n", None), "a\n");
    }
}
