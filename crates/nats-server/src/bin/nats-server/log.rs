//! Log lines in the form of the NATS server, which suites wait for and read ports from:
//! `[PID] 2026/01/02 15:04:05.000000 [INF] Server is ready`. Times are UTC.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

pub(crate) use tracing::Level;

/// Where lines go.
pub(crate) struct Log {
    sink: Mutex<Sink>,
    /// How much is logged: a place in `LEVELS`.
    level: AtomicU8,
    has_time: AtomicBool,
    pid: u32,
}

/// From little to much.
const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// A place to write to.
pub(crate) enum Sink {
    Stderr,
    File { path: PathBuf, file: File },
}

impl Log {
    /// A log to a file, to which is added, or to standard error.
    pub(crate) fn open(path: Option<&Path>, level: Level, has_time: bool) -> Result<Log, String> {
        let log = Log {
            sink: Mutex::new(Log::sink_for(path)?),
            level: AtomicU8::default(),
            has_time: AtomicBool::default(),
            pid: std::process::id(),
        };
        log.set_form(level, has_time);
        Ok(log)
    }

    /// The place for lines that a path names.
    pub(crate) fn sink_for(path: Option<&Path>) -> Result<Sink, String> {
        Ok(match path {
            Some(path) => Sink::File { path: path.to_owned(), file: append(path)? },
            None => Sink::Stderr,
        })
    }

    /// Writes there from now on.
    pub(crate) fn set_sink(&self, sink: Sink) {
        *self.sink() = sink;
    }

    /// How much is written from now on, and whether with the time.
    pub(crate) fn set_form(&self, level: Level, has_time: bool) {
        let place = (0..).zip(LEVELS).find(|(_, known)| *known == level).map_or(0, |(place, _)| place);
        self.level.store(place, Ordering::Relaxed);
        self.has_time.store(has_time, Ordering::Relaxed);
        // What was found uninteresting before is not asked for again otherwise.
        tracing::callsite::rebuild_interest_cache();
    }

    fn level(&self) -> Level {
        let place = usize::from(self.level.load(Ordering::Relaxed));
        LEVELS.get(place).copied().unwrap_or(Level::INFO)
    }

    /// Opens the file again, after something has moved it away.
    pub(crate) fn reopen(&self) -> Result<(), String> {
        if let Sink::File { path, file } = &mut *self.sink() {
            *file = append(path)?;
        }
        Ok(())
    }

    /// Writes a line.
    pub(crate) fn line(&self, level: &str, text: &str) {
        let mut line = format!("[{}] ", self.pid);
        if self.has_time.load(Ordering::Relaxed) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            push_time(&mut line, now.as_secs(), now.subsec_micros());
        }
        let _ = write!(line, "[{level}] ");
        // What comes from the network must not begin lines of its own.
        for c in text.chars() {
            if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
        }
        line.push('\n');
        // A log that cannot be written has nowhere to say so.
        let _ = match &mut *self.sink() {
            Sink::Stderr => std::io::stderr().write_all(line.as_bytes()),
            Sink::File { file, .. } => file.write_all(line.as_bytes()),
        };
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(path: &Path) -> Result<File, String> {
    // As the reference: names of clients and addresses are not for everybody on the machine.
    OpenOptions::new().append(true).create(true).mode(0o640).open(path).map_err(|error| {
        format!("cannot open the log file {}: {error}; check the folder and its permissions", path.display())
    })
}

/// Adds `2026/01/02 15:04:05.000000 `.
fn push_time(line: &mut String, seconds: u64, micros: u32) {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let _ = write!(line, "{year}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06} ");
}

/// Year, month and day of a number of days since 1970. Counts in years that begin in March, so that leap days come
/// last, and in eras of 400 years, which all have the same length.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// Writes what the library reports.
pub(crate) struct Events {
    log: Arc<Log>,
}

impl Events {
    pub(crate) fn new(log: Arc<Log>) -> Events {
        Events { log }
    }
}

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.log.level()
    }

    // There are no spans.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => "ERR",
            Level::WARN => "WRN",
            Level::INFO => "INF",
            Level::DEBUG => "DBG",
            Level::TRACE => "TRC",
        };
        self.log.line(level, &(text.message + &text.fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The text of an event: its message, and its fields behind it.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_calendar_times() {
        for (seconds, expected) in [
            (0, "1970/01/01 00:00:00.000007 "),
            (951_827_696, "2000/02/29 12:34:56.000007 "),
            (1_767_366_245, "2026/01/02 15:04:05.000007 "),
            (4_107_542_399, "2100/02/28 23:59:59.000007 "),
            (4_107_542_400, "2100/03/01 00:00:00.000007 "),
        ] {
            let mut line = String::new();
            push_time(&mut line, seconds, 7);
            assert_eq!(line, expected);
        }
    }
}
