//! Other settings for a server that runs. What may change and what has changed is found out here, without touching the
//! server: `difference` compares two sets of options, [`Change`] is what the loop is then asked to take over, all of it
//! between two rounds. How it does that is in `reactor/reload.rs`.

mod difference;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::auth::Authenticator;
use crate::auth::replaced::Replaced;
use crate::options::Options;
use crate::reactor::DoorTls;

pub(crate) use difference::compare;

/// What a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// In a fixed order. `tls = enabled` is always there if there is TLS, for its certificates are read again.
    pub changes: Vec<Changed>,
}

/// A setting that a reload has changed. `Display` gives the words of the NATS server's log: `max_payload = 1024`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// What it is about.
    pub name: &'static str,
    /// The value from now on, where it is short and no secret.
    pub value: Option<String>,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// What the loop takes over at once.
pub(crate) struct Change {
    pub(crate) options: Arc<Options>,
    /// Encryption of doors, by their number; doors that are not here keep theirs.
    pub(crate) doors: Vec<(usize, DoorTls)>,
    /// Who may connect, if that may be different.
    pub(crate) users: Option<Users>,
}

/// Who may connect from now on.
pub(crate) struct Users {
    pub(crate) auth: Authenticator,
    /// Passwords that are not what they were.
    pub(crate) replaced: Replaced,
    /// Those who may not stay are told that they were revoked.
    pub(crate) revoked: bool,
}

impl Change {
    /// This one, and then another, before the loop has seen either.
    pub(crate) fn then(self, later: Change) -> Change {
        let mut doors = later.doors;
        for door in self.doors {
            if doors.iter().all(|(number, _)| *number != door.0) {
                doors.push(door);
            }
        }
        let users = match (self.users, later.users) {
            (Some(earlier), Some(mut users)) => {
                users.replaced.add(earlier.replaced);
                Some(users)
            }
            (earlier, later) => later.or(earlier),
        };
        Change { options: later.options, doors, users }
    }
}
