//! A host's clock: it differs from the true time, may jump, and is read as the shells read it: never going back while
//! the process lives.

/// The clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    offset: i64,
    last: i64,
}

impl Clock {
    /// A clock that is `offset` nanoseconds fast.
    pub(crate) fn new(offset: i64) -> Clock {
        Clock { offset, last: i64::MIN }
    }

    /// What the process reads at the true time `now`.
    pub(crate) fn read(&mut self, now: i64) -> i64 {
        self.last = self.last.max(now.saturating_add(self.offset));
        self.last
    }

    /// The true time at which the clock will show `local`, as far as one can tell now.
    pub(crate) fn when(&self, local: i64) -> i64 {
        local.saturating_sub(self.offset)
    }

    /// Somebody sets the clock.
    pub(crate) fn jump(&mut self, by: i64) {
        self.offset = self.offset.saturating_add(by);
    }

    /// A new process does not know what the old one read.
    pub(crate) fn restart(&mut self) {
        self.last = i64::MIN;
    }
}
