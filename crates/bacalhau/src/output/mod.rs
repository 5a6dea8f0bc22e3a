//! The only place that prints: what goes to standard output and standard error, and whether it has colours.
//!
//! Standard output carries what the user asked for; everything else (errors, warnings, progress of downloads) goes to
//! standard error. Colours and animation appear only on a terminal (`NO_COLOR`, `TERM=dumb` and `FORCE_COLOR` are
//! honoured). Nothing here decides what to say.

pub(crate) mod csv;
pub(crate) mod list;
pub(crate) mod structured;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod yaml;

use crate::failure::Failure;
use bacalhau_model::Error;
use std::io::{IsTerminal, Write};

/// Colours used by messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Errors and removed lines.
    Red,
    /// Hints and added lines.
    Green,
    /// Warnings.
    Yellow,
    /// Titles.
    Bold,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Paint::Red => "\u{1b}[31m",
            Paint::Green => "\u{1b}[32m",
            Paint::Yellow => "\u{1b}[33m",
            Paint::Bold => "\u{1b}[1m",
        }
    }

    /// The text in this colour when `on`.
    pub(crate) fn apply(self, on: bool, text: &str) -> String {
        if on { format!("{}{text}\u{1b}[0m", self.code()) } else { text.to_owned() }
    }
}

/// Where and how to print. Plain data; the process has one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Out {
    /// Standard output is a terminal.
    pub(crate) terminal: bool,
    /// Standard error is a terminal.
    pub(crate) error_terminal: bool,
    /// Colours on standard output.
    pub(crate) colour: bool,
    /// Colours on standard error.
    pub(crate) error_colour: bool,
    /// Details of errors are wanted (`DEBUG=true`).
    pub(crate) debug: bool,
}

impl Out {
    /// Looks at the process's streams and environment.
    pub(crate) fn detect() -> Out {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let force = is_set("FORCE_COLOR");
        let allowed = !is_set("NO_COLOR") && !dumb;
        let terminal = std::io::stdout().is_terminal();
        let error_terminal = std::io::stderr().is_terminal();
        Out {
            terminal,
            error_terminal,
            colour: force || (allowed && terminal),
            error_colour: force || (allowed && error_terminal),
            debug: std::env::var("DEBUG").is_ok_and(|v| v.eq_ignore_ascii_case("true")),
        }
    }

    /// Writes to standard output exactly as given.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stream = std::io::stdout().lock();
        stream.write_all(bytes)?;
        Ok(stream.flush()?)
    }

    /// A line on standard output.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// Writes to standard error exactly as given. A closed standard error is nobody's problem.
    pub(crate) fn raw_error(&self, bytes: &[u8]) {
        let mut stream = std::io::stderr().lock();
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    }

    /// A line on standard error.
    pub(crate) fn note(&self, text: &str) {
        self.raw_error(format!("{text}\n").as_bytes());
    }

    /// `Warning: ...` on standard error.
    pub(crate) fn warning(&self, text: &str) {
        self.note(&format!("{}{text}", Paint::Yellow.apply(self.error_colour, "Warning: ")));
    }

    /// One warning on a line, several as a list.
    pub(crate) fn warnings(&self, items: &[String]) {
        match items {
            [] => {}
            [one] => self.warning(one),
            many => {
                self.warning("");
                many.iter().for_each(|item| self.note(&format!("  * {item}")));
            }
        }
    }

    /// The final error of a command: an empty line, `Error: ...`, and the hint if there is one.
    pub(crate) fn error(&self, error: &Error) {
        self.raw_error(render_error(error, self.error_colour, self.debug).as_bytes());
    }
}

fn render_error(error: &Error, colour: bool, debug: bool) -> String {
    let mut text = format!("\n{}{}\n", Paint::Red.apply(colour, "Error: "), error.message);
    if !error.hint.is_empty() {
        text.push_str(&format!("{}{}\n", Paint::Green.apply(colour, "Hint:  "), error.hint));
    }
    if debug {
        text.push_str(&format!("{}\n", Paint::Yellow.apply(colour, "Details:")));
        text.push_str(&format!("code: {}\ncomponent: {}\n", error.code, error.component));
        error.details.iter().for_each(|(key, value)| text.push_str(&format!("{key}: {value}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_hints_and_colours_only_where_wanted() {
        let error = Error::plain("no such thing").hint("make one");
        assert_eq!(render_error(&error, false, false), "\nError: no such thing\nHint:  make one\n");
        let colourful = render_error(&error, true, false);
        assert!(colourful.contains("\u{1b}[31mError: \u{1b}[0mno such thing"));
        assert!(render_error(&error, false, true).contains("component: Bacalhau"));
    }
}
