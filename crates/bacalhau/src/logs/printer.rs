//! Prints output: as it is, or line by line with time and execution, or as JSON.
//!
//! What a job writes to its standard error goes to ours. Remarks go to standard error too.

use super::assemble::{Assembler, Line};
use crate::failure::Failure;
use crate::output::{Out, structured};
use bacalhau_api::client::{LogExecution, LogLine, LogNote};
use bacalhau_model::{Time, ids};
use serde::Serialize;
use std::collections::HashMap;

/// Colours of executions, in turn: those of terminals that are readable on light and dark ground.
const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];

/// How output is shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Format {
    /// A time before each line.
    pub(crate) timestamps: bool,
    /// Nothing that tells executions apart.
    pub(crate) no_prefix: bool,
    /// An object per line, all on standard output.
    pub(crate) json: bool,
    /// Of results, which have no times, only so many of the last lines.
    pub(crate) last_lines: Option<u64>,
}

/// See the module.
pub(crate) struct Printer {
    out: Out,
    format: Format,
    /// There may be several executions.
    many: bool,
    executions: HashMap<String, Known>,
    printed: bool,
}

/// An execution of which something was heard.
#[derive(Default)]
struct Known {
    execution: LogExecution,
    number: usize,
    streams: [Assembler; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct JsonLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Time>,
    stream: &'static str,
    #[serde(rename = "ExecutionID", skip_serializing_if = "str::is_empty")]
    execution_id: &'a str,
    #[serde(rename = "NodeID", skip_serializing_if = "str::is_empty")]
    node_id: &'a str,
    partition_index: i64,
    line: &'a str,
}

impl Printer {
    pub(crate) fn new(out: Out, format: Format) -> Printer {
        Printer { out, format, many: false, executions: HashMap::new(), printed: false }
    }

    /// Output was printed.
    pub(crate) fn has_printed(&self) -> bool {
        self.printed
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// There may be output of several executions.
    pub(super) fn expect_many(&mut self, many: bool) {
        self.many |= many;
    }

    /// An execution joins. Where nothing else tells, a remark does.
    pub(super) fn joins(&mut self, execution: LogExecution) {
        let others = self.executions.len();
        if self.executions.contains_key(&execution.id) {
            return;
        }
        if others > 0 && !self.many && !self.format.json {
            let attempt = match execution.attempt {
                0 => String::new(),
                attempt => format!(" (attempt {attempt})"),
            };
            self.out.note(&format!("--- execution {}{attempt}", ids::short(&execution.id)));
        }
        let id = execution.id.clone();
        self.executions.insert(id, Known { execution, number: others, ..Known::default() });
    }

    /// A remark.
    pub(super) fn remark(&mut self, note: &LogNote) {
        match note.is_waiting() {
            true => self.out.note(&note.message),
            false => self.out.warning(&note.message),
        }
    }

    /// Output of an execution.
    pub(super) fn print(&mut self, line: &LogLine) -> Result<(), Failure> {
        self.printed = true;
        let by_line = self.format.json || self.format.timestamps || (self.many && !self.format.no_prefix);
        if !by_line {
            return self.raw(line.is_stderr, line.text.as_bytes());
        }
        let known = self.executions.entry(line.execution_id.clone()).or_default();
        let [stdout, stderr] = &mut known.streams;
        let lines = if line.is_stderr { stderr } else { stdout }.push(&line.text, line.time);
        self.lines(&line.execution_id, line.is_stderr, &lines)
    }

    /// Prints the last lines that have no end, of one execution or of all.
    pub(super) fn finish(&mut self, of: Option<&str>) -> Result<(), Failure> {
        let mut open = Vec::new();
        for (id, known) in self.executions.iter_mut().filter(|(id, _)| of.is_none_or(|of| of == *id)) {
            for (is_stderr, stream) in [false, true].into_iter().zip(&mut known.streams) {
                open.extend(stream.finish().map(|line| (id.clone(), is_stderr, line)));
            }
        }
        open.into_iter().try_for_each(|(id, is_stderr, line)| self.lines(&id, is_stderr, &[line]))
    }

    fn lines(&self, id: &str, is_stderr: bool, lines: &[Line]) -> Result<(), Failure> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        if self.format.json {
            for line in lines {
                text.push_str(&self.json(id, is_stderr, line)?);
            }
            return self.out.raw(text.as_bytes());
        }
        let colour = if is_stderr { self.out.error_colour } else { self.out.colour };
        let prefix = self.prefix(id, colour);
        for line in lines {
            text.push_str(&prefix);
            if self.format.timestamps {
                text.push_str(&line.time.map_or_else(|| "-".to_owned(), timestamp));
                text.push(' ');
            }
            text.push_str(&line.text);
            text.push('\n');
        }
        self.raw(is_stderr, text.as_bytes())
    }

    fn prefix(&self, id: &str, colour: bool) -> String {
        if !self.many || self.format.no_prefix {
            return String::new();
        }
        let (partition, number) =
            self.executions.get(id).map_or((0, 0), |known| (known.execution.partition_index, known.number));
        let name = format!("{}/{partition} |", ids::short(id));
        match COLOURS.get(number % COLOURS.len()).filter(|_| colour) {
            Some(code) => format!("\u{1b}[{code}m{name}\u{1b}[0m "),
            None => format!("{name} "),
        }
    }

    fn json(&self, id: &str, is_stderr: bool, line: &Line) -> Result<String, Failure> {
        let known = self.executions.get(id).map(|known| &known.execution);
        let line = JsonLine {
            time: line.time,
            stream: if is_stderr { "stderr" } else { "stdout" },
            execution_id: id,
            node_id: known.map_or("", |execution| &execution.node_id),
            partition_index: known.map_or(0, |execution| execution.partition_index),
            line: &line.text,
        };
        Ok(structured::json(&line, false)?)
    }

    fn raw(&self, is_stderr: bool, bytes: &[u8]) -> Result<(), Failure> {
        if is_stderr {
            self.out.raw_error(bytes);
            return Ok(());
        }
        self.out.raw(bytes)
    }
}

/// A time with nine digits behind the second, so that lines stand below each other.
fn timestamp(time: Time) -> String {
    let text = time.to_string();
    let Some(body) = text.strip_suffix('Z') else { return text };
    let (seconds, fraction) = body.split_once('.').unwrap_or((body, ""));
    format!("{seconds}.{fraction:0<9}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_equally_long() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (1_500_000_000, "1970-01-01T00:00:01.500000000Z"),
            (1_000_000_007, "1970-01-01T00:00:01.000000007Z"),
        ] {
            assert_eq!(timestamp(Time::from_unix_nanos(nanos)), text);
        }
    }

    #[test]
    fn prefixes_tell_executions_apart() {
        let mut printer = Printer::new(Out::default(), Format::default());
        printer.expect_many(true);
        let id = "e-6e4f2db9-0f2c-4b7c-9a55-7d2f0c1f6b1e";
        printer.joins(LogExecution { id: id.into(), partition_index: 3, ..LogExecution::default() });
        assert_eq!(printer.prefix(id, false), "e-6e4f2db9/3 | ");
        assert_eq!(printer.prefix(id, true), "\u{1b}[36me-6e4f2db9/3 |\u{1b}[0m ");
        printer.format.no_prefix = true;
        assert_eq!(printer.prefix(id, true), "");
    }

    #[test]
    fn json_lines() {
        let printer = Printer::new(Out::default(), Format { json: true, ..Format::default() });
        let line = Line { text: "a \"b\"".into(), time: Some(Time::from_unix_nanos(0)) };
        assert_eq!(
            printer.json("e-1", true, &line).ok().unwrap(),
            "{\"Time\":\"1970-01-01T00:00:00Z\",\"Stream\":\"stderr\",\"ExecutionID\":\"e-1\",\"PartitionIndex\":0,\"Line\":\"a \\\"b\\\"\"}\n"
        );
    }
}
