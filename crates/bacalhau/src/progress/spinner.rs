//! A line that shows that something is still going on. On anything but a terminal it draws nothing.

use crate::output::Out;

/// Twenty-one places for the fish to swim through.
const PLACES: usize = 21;
const FISH: [&str; 3] = ["🐟", "🐠", "🐡"];

/// An animated line on standard output. Dropping it erases the line and brings the cursor back.
pub(crate) struct Spinner {
    out: Out,
    text: String,
    step: usize,
    drawn: bool,
}

impl Spinner {
    /// A spinner with its text; nothing is drawn yet.
    pub(crate) fn new(out: Out, text: impl Into<String>) -> Spinner {
        Spinner { out, text: text.into(), step: 0, drawn: false }
    }

    /// Draws the next picture.
    pub(crate) fn tick(&mut self) {
        if !self.out.terminal {
            return;
        }
        let at = self.step % PLACES;
        let fish = FISH.get(self.step / PLACES % FISH.len()).copied().unwrap_or_default();
        let line = format!(
            "\r\u{1b}[?25l\u{1b}[3m {}   \u{1b}[0m{}{fish}{}",
            self.text,
            ".".repeat(at),
            ".".repeat(PLACES - 1 - at)
        );
        self.step += 1;
        self.drawn = true;
        let _ = self.out.raw(line.as_bytes());
    }

    /// Erases the line, so that something else can be printed.
    pub(crate) fn erase(&mut self) {
        if self.drawn {
            self.drawn = false;
            let _ = self.out.raw("\r\u{1b}[K\u{1b}[?25h".as_bytes());
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.erase();
    }
}
