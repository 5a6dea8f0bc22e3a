//! Lines from pieces of output. Pure.

use bacalhau_model::Time;

/// Longest line, bytes; a longer one becomes several.
const LONGEST: usize = 64 * 1024;

/// A line without its line break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// When it began to be printed.
    pub(super) time: Option<Time>,
}

/// One stream of one execution: a line that was printed in several pieces is one line.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    open: String,
    time: Option<Time>,
}

impl Assembler {
    /// Takes a piece and gives the lines that it completes.
    pub(super) fn push(&mut self, text: &str, time: Option<Time>) -> Vec<Line> {
        let mut lines = Vec::new();
        for part in text.split_inclusive('\n') {
            if self.open.is_empty() {
                self.time = time;
            }
            let (part, ends) = match part.strip_suffix('\n') {
                Some(part) => (part, true),
                None => (part, false),
            };
            let mut rest = part;
            while self.open.len() + rest.len() > LONGEST {
                let room = rest.floor_char_boundary(LONGEST.saturating_sub(self.open.len()));
                let (fits, more) = rest.split_at(room);
                self.open.push_str(fits);
                lines.extend(self.finish());
                self.time = time;
                rest = more;
            }
            self.open.push_str(rest);
            if ends {
                lines.push(Line { text: std::mem::take(&mut self.open), time: self.time });
            }
        }
        lines
    }

    /// What has no line break yet, if there is something.
    pub(super) fn finish(&mut self) -> Option<Line> {
        (!self.open.is_empty()).then(|| Line { text: std::mem::take(&mut self.open), time: self.time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn pieces_make_lines() {
        let mut assembler = Assembler::default();
        let at = |n| Some(Time::from_unix_nanos(n));
        assert!(assembler.push("on", at(1)).is_empty());
        let lines = assembler.push("e\n\ntwo\nthr", at(2));
        assert_eq!(texts(&lines), ["one", "", "two"]);
        assert_eq!((lines[0].time, lines[1].time), (at(1), at(2)));
        let last = assembler.finish().unwrap();
        assert_eq!((last.text.as_str(), last.time), ("thr", at(2)));
        assert_eq!(assembler.finish(), None);
    }

    #[test]
    fn very_long_lines_are_cut_between_characters() {
        let mut assembler = Assembler::default();
        let long = "é".repeat(LONGEST);
        let mut lines = assembler.push("x", None);
        lines.extend(assembler.push(&long, None));
        lines.extend(assembler.push("\n", None));
        assert!(lines.iter().all(|line| line.text.len() <= LONGEST));
        assert_eq!(texts(&lines).concat(), format!("x{long}"));
        assert!(lines.len() >= 3);
    }
}
