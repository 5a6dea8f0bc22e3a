//! What the server sends, as the client's caller sees it.

use crate::client::errors;
use bacalhau_model::error::code;
use bacalhau_model::{Error, SpecConfig, Time, lenient};
use serde::Deserialize;

/// One thing of a log stream.
#[derive(Clone, Debug, PartialEq)]
pub enum LogEvent {
    /// The job, before anything else.
    Job {
        /// Full ID.
        id: String,
        /// There may be output of several executions.
        many: bool,
    },
    /// An execution whose output follows.
    Execution(LogExecution),
    /// Output.
    Line(LogLine),
    /// A remark for people.
    Note(LogNote),
}

/// A piece of output: usually a line with its newline, but it may be less or more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLine {
    /// True for standard error.
    pub is_stderr: bool,
    /// The text.
    pub text: String,
    /// When it was printed; of several pieces at once the newest. Only with details, and where it is known.
    pub time: Option<Time>,
    /// Full ID; empty without details.
    pub execution_id: String,
}

/// An execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogExecution {
    /// Full ID.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its node.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Version of the job.
    pub job_version: u64,
    /// Its partition.
    pub partition_index: i64,
    /// From 1; 0 where it is not known.
    pub attempt: u64,
}

/// A remark.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogNote {
    /// What it is about, for programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// Full ID; empty when it is about the job.
    #[serde(rename = "ExecutionID")]
    pub execution_id: String,
    /// The log is gone, but these results have the output.
    pub published_result: Option<SpecConfig>,
}

impl LogNote {
    /// An execution or the job has not started, or its node is awaited.
    pub fn is_waiting(&self) -> bool {
        self.code == "Waiting"
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Frame {
    error: String,
    hint: String,
    retryable: bool,
    value: Option<Value>,
    #[serde(rename = "Time")]
    time: Option<Time>,
    #[serde(rename = "ExecutionID")]
    execution_id: String,
    note: Option<LogNote>,
    execution: Option<LogExecution>,
    job: Option<JobFrame>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Value {
    r#type: u8,
    line: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct JobFrame {
    #[serde(rename = "ID")]
    id: String,
    many: bool,
}

/// Reads a message: one frame as Go writes it, or with details any number of them.
pub(super) fn decode(message: &[u8], has_details: bool) -> Vec<Result<LogEvent, Error>> {
    let unreadable = |why: &dyn std::fmt::Display| errors::undecodable("the log request", why);
    if !has_details {
        let frame = lenient::from_slice(message).map_err(|e| unreadable(&e));
        return vec![frame.and_then(event)];
    }
    let frames = serde_json::Deserializer::from_slice(message).into_iter::<Frame>();
    let mut events: Vec<Result<LogEvent, Error>> = Vec::new();
    for frame in frames {
        let event = frame.map_err(|e| unreadable(&e)).and_then(event);
        let is_last = event.is_err();
        events.push(event);
        if is_last {
            break;
        }
    }
    events
}

fn event(frame: Frame) -> Result<LogEvent, Error> {
    if !frame.error.is_empty() {
        let error = Error::new(code::BAD_REQUEST, frame.error).hint(frame.hint);
        return Err(if frame.retryable { error.retryable() } else { error });
    }
    if let Some(note) = frame.note {
        return Ok(LogEvent::Note(note));
    }
    if let Some(execution) = frame.execution {
        return Ok(LogEvent::Execution(execution));
    }
    if let Some(job) = frame.job {
        return Ok(LogEvent::Job { id: job.id, many: job.many });
    }
    let value = frame.value.unwrap_or_default();
    Ok(LogEvent::Line(LogLine {
        is_stderr: value.r#type == 2,
        text: value.line,
        time: frame.time,
        execution_id: frame.execution_id,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_bacalhau() {
        let line = decode(b"{\"value\":{\"Type\":2,\"Line\":\"a \\u003cb\\u003e\\n\"}}\n", false);
        let expected = LogLine { is_stderr: true, text: "a <b>\n".to_owned(), ..LogLine::default() };
        assert_eq!(line, [Ok(LogEvent::Line(expected))]);
        let error = decode(br#"{"error":"job not found: x","value":{"Type":0,"Line":""}}"#, false);
        assert_eq!(error[0].clone().unwrap_err().message, "job not found: x");
        assert!(decode(b"nonsense", false)[0].is_err());
    }

    #[test]
    fn frames_with_details() {
        let message = concat!(
            r#"{"value":{"Type":0,"Line":""},"job":{"ID":"j-1","Many":true}}"#,
            "\n",
            r#"{"value":{"Type":1,"Line":"x"},"Time":"2026-01-02T03:04:05.000000006Z","ExecutionID":"e-1"}"#,
            "\n",
            r#"{"value":{"Type":0,"Line":""},"note":{"Code":"Waiting","Message":"it waits"}}"#,
            "\n",
            r#"{"error":"boom","value":{"Type":0,"Line":""},"hint":"help","retryable":true}"#,
            "\nnot reached"
        );
        let events = decode(message.as_bytes(), true);
        assert_eq!(events[0], Ok(LogEvent::Job { id: "j-1".into(), many: true }));
        let Ok(LogEvent::Line(line)) = &events[1] else { panic!() };
        assert_eq!(line.time.unwrap().to_string(), "2026-01-02T03:04:05.000000006Z");
        let Ok(LogEvent::Note(note)) = &events[2] else { panic!() };
        assert!(note.is_waiting() && note.message == "it waits");
        let error = events[3].clone().unwrap_err();
        assert!(error.retryable && error.hint == "help");
        assert_eq!(events.len(), 4);
    }
}
