//! Which events of a running job are shown, and how.

use crate::output::Paint;
use crate::output::table::{Column, Style, Wrap, render};
use crate::output::text::clock_millis;
use bacalhau_model::event::{detail, topic};
use bacalhau_model::{HistoryType, JobHistory, ids};
use std::collections::BTreeMap;

/// Turns history into rows, as it comes.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Colours are wanted.
    colour: bool,
    /// All details of events are wanted.
    debug: bool,
    any: bool,
    execution_error: bool,
}

impl Rows {
    /// No rows yet.
    pub(crate) fn new(colour: bool, debug: bool) -> Rows {
        Rows { colour, debug, ..Rows::default() }
    }

    /// The text for a record; empty when it is not for people who wait. The first one brings the header.
    pub(crate) fn add(&mut self, record: &JobHistory) -> String {
        let is_execution = record.r#type == HistoryType::ExecutionLevel;
        let is_error = record.event.is_error();
        let wanted = !self.any
            || is_execution
            || (is_error && !self.execution_error)
            || record.event.topic == topic::QUEUEING
            || record.event.details.contains_key(detail::ROLLOUT);
        if !wanted {
            return String::new();
        }
        self.execution_error |= is_execution && is_error;
        let hide_header = std::mem::replace(&mut self.any, true);
        let row = vec![
            clock_millis(record.event.timestamp.unix_nanos()),
            ids::short(&record.execution_id).to_owned(),
            record.event.topic.clone(),
            message(record, self.colour, self.debug),
        ];
        render(&columns(), &[row], Style { hide_header, ..Style::default() })
    }
}

fn columns() -> [Column; 4] {
    [
        Column::new("Time").at_least(12),
        Column::new("Exec. ID").at_least(10),
        Column::new("Topic").at_least(15).at_most(15, Wrap::Soft),
        Column::new("Event").at_most(90, Wrap::Soft),
    ]
}

fn message(record: &JobHistory, colour: bool, debug: bool) -> String {
    let event = &record.event;
    let mut text = event.message.clone();
    if event.is_error() {
        text = format!("{}{text}", Paint::Red.apply(colour, "Error: "));
    }
    if let Some(hint) = event.details.get(detail::HINT).filter(|h| !h.is_empty()) {
        text = format!("{text}\n{}{hint}", Paint::Green.apply(colour, "Hint: "));
    }
    if debug {
        for (key, value) in &event.details {
            if key != detail::HINT && key != detail::IS_ERROR {
                text = format!("{text}\n* {key}: {value}");
            }
        }
    }
    text
}

/// One row for each execution with its latest event, redrawn in place on a terminal (`--group-events`).
#[derive(Debug, Default)]
pub(crate) struct Groups {
    latest: BTreeMap<String, (u64, Vec<String>)>,
    drawn_lines: usize,
}

impl Groups {
    /// Takes a record in.
    pub(crate) fn add(&mut self, record: &JobHistory, colour: bool) {
        if record.r#type != HistoryType::ExecutionLevel {
            return;
        }
        let row = vec![
            clock_millis(record.event.timestamp.unix_nanos()),
            ids::short(&record.execution_id).to_owned(),
            record.event.topic.clone(),
            message(record, colour, false),
        ];
        let order = self.latest.len() as u64;
        let slot = self.latest.entry(record.execution_id.clone()).or_insert((order, Vec::new()));
        slot.1 = row;
    }

    /// The whole table; on a terminal it replaces the one drawn before.
    pub(crate) fn draw(&mut self, in_place: bool) -> String {
        let mut rows: Vec<&(u64, Vec<String>)> = self.latest.values().collect();
        rows.sort_by_key(|(order, _)| *order);
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row.clone()).collect();
        let table = render(&columns(), &rows, Style::default());
        let up = match in_place && self.drawn_lines > 0 {
            true => format!("\u{1b}[{}A\u{1b}[J", self.drawn_lines),
            false => String::new(),
        };
        self.drawn_lines = table.lines().count();
        format!("{up}{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_model::{Event, Time};

    fn record(seq: u64, execution: &str, topic: &str, message: &str, error: bool) -> JobHistory {
        let at = Time::parse(&format!("2026-08-01T15:32:50.{seq:03}Z")).unwrap();
        let mut event = Event::new(topic, message, at);
        if error {
            event = event.with("IsError", "true").with("Hint", "do better");
        }
        let r#type = if execution.is_empty() { HistoryType::JobLevel } else { HistoryType::ExecutionLevel };
        JobHistory {
            seq_num: seq,
            r#type,
            execution_id: execution.to_owned(),
            event,
            ..JobHistory::default()
        }
    }

    const EXECUTION: &str = "e-6e4f2db9-0000-4000-8000-000000000000";

    #[test]
    fn a_run_looks_like_this() {
        let mut rows = Rows::default();
        let mut text = String::new();
        for record in [
            record(323, "", "Submission", "Job submitted", false),
            record(324, "", "State Update", "Running", false),
            record(332, EXECUTION, "Scheduling", "Requested execution on n-f1c579e2", false),
            record(410, EXECUTION, "Execution", "Running", false),
            record(986, EXECUTION, "Execution", "Completed successfully", false),
            record(987, "", "State Update", "Completed", false),
        ] {
            text.push_str(&rows.add(&record));
        }
        let expected = [
            " TIME          EXEC. ID    TOPIC            EVENT",
            " 15:32:50.323              Submission       Job submitted",
            " 15:32:50.332  e-6e4f2db9  Scheduling       Requested execution on n-f1c579e2",
            " 15:32:50.410  e-6e4f2db9  Execution        Running",
            " 15:32:50.986  e-6e4f2db9  Execution        Completed successfully",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn errors_are_said_once() {
        let mut rows = Rows::default();
        rows.add(&record(1, "", "Submission", "Job submitted", false));
        let text = rows.add(&record(2, EXECUTION, "Execution", "out of memory", true));
        assert_eq!(
            text,
            " 15:32:50.002  e-6e4f2db9  Execution        Error: out of memory\n                                            Hint: do better\n"
        );
        assert_eq!(rows.add(&record(3, "", "State Update", "job failed", true)), "");
    }

    #[test]
    fn grouped_rows_keep_their_place() {
        let mut groups = Groups::default();
        groups.add(&record(1, EXECUTION, "Scheduling", "Requested", false), false);
        groups.add(&record(2, "e-0", "Scheduling", "Requested", false), false);
        groups.add(&record(3, EXECUTION, "Execution", "Running", false), false);
        let first = groups.draw(true);
        assert_eq!(first.lines().count(), 3);
        assert!(first.lines().nth(1).unwrap().ends_with("Running"), "{first}");
        assert!(groups.draw(true).starts_with("\u{1b}[3A"));
        assert!(!groups.draw(false).starts_with('\u{1b}'));
    }
}
