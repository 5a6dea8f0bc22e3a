//! A process between the node and a program, which outlives the node: it keeps what the program prints and how it ended
//! until a node, this one or its next life, has taken note of it.
//!
//! `bacalhau __supervisor` is started by the node and by nobody else. Its folder is all that a next life needs: in it
//! are a socket ([`client`]), the output ([`spool`], read by [`output`]) and the end. A supervisor knows nothing of jobs,
//! and a node of a newer version adopts those of an older one: files and messages must stay as they are.

mod child;
pub(crate) mod client;
mod node;
pub(crate) mod output;
mod process;
mod spool;

pub use process::supervise;

use crate::cgroup::Cgroup;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Hidden first argument of the program that makes it a supervisor.
pub const ARGUMENT: &str = "__supervisor";

/// Name of the socket in the folder.
const SOCKET: &str = "socket";

/// Name of a link to the program's network namespace, good as long as the supervisor lives.
pub(crate) const NAMESPACE: &str = "netns";

/// Name of the file that says how the program ended.
const END: &str = "end";

/// Size that [`END`] has from the beginning, bytes: an end can be noted when the disk is full.
const END_SIZE: usize = 2_048;

/// Bytes of a plan at most.
const LARGEST_PLAN: u32 = 1 << 20;

/// What a supervisor is to do: start a program with another one, a container's runtime, that ends when it has done so.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The supervisor's own folder, which is there.
    pub(crate) folder: PathBuf,
    /// What starts the program: a file and its arguments. What it gets as standard output and error, the program gets.
    pub(crate) starter: (PathBuf, Vec<String>),
    /// Where the starter writes the number of the program's process.
    pub(crate) pid_file: PathBuf,
    /// The program's group: all that is to be killed with it.
    pub(crate) cgroup: Cgroup,
    /// A group for the supervisor itself, a path below the roots of cgroups, in case it has to leave a service's.
    pub(crate) own_cgroup: String,
    /// A network namespace to hold open.
    pub(crate) namespace: Option<PathBuf>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// The program was never started; words about it, if the supervisor has any.
    NotStarted(Option<String>),
    /// It ended.
    Ended {
        /// Its exit code, if it had the time.
        code: Option<i32>,
        /// The signal that ended it otherwise.
        signal: Option<i32>,
    },
}

impl End {
    /// Makes room for it. The file is locked as long as it is open here or in a supervisor: whoever finds it locked knows
    /// that there is one, or is about to be. Blocks.
    pub(crate) fn reserve(folder: &Path) -> io::Result<File> {
        let file = File::create_new(folder.join(END))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all_at(&[b' '; END_SIZE], 0)?;
        Ok(file)
    }

    /// Whether there is a supervisor, or is about to be.
    fn is_awaited(folder: &Path) -> bool {
        let Ok(file) = File::open(folder.join(END)) else { return false };
        flock(&file, FlockOperation::NonBlockingLockExclusive).is_err_and(|error| error == Errno::WOULDBLOCK)
    }

    /// Notes it, where room was made. Blocks.
    fn note(&self, folder: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        if text.len() > END_SIZE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        OpenOptions::new().write(true).open(folder.join(END))?.write_all_at(&text, 0)
    }

    /// What was noted; `None` when it has not ended, or ended without a word. Blocks.
    pub(crate) fn read(folder: &Path) -> Option<End> {
        serde_json::from_str(fs::read_to_string(folder.join(END)).ok()?.trim()).ok()
    }
}

/// What the node wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The program gets SIGTERM, as soon as it runs.
    Terminate,
    /// Everything gets SIGKILL.
    Kill,
    /// Output up to here is logged.
    Logged(u64),
}

/// Bytes of an order: a letter and a number.
const ORDER: usize = 9;

impl Order {
    fn encode(self) -> [u8; ORDER] {
        let (letter, number) = match self {
            Order::Terminate => (b't', 0),
            Order::Kill => (b'k', 0),
            Order::Logged(position) => (b'l', position),
        };
        let [a, b, c, d, e, f, g, h] = u64::to_le_bytes(number);
        [letter, a, b, c, d, e, f, g, h]
    }

    /// `None` for what a newer node may say.
    fn decode([letter, number @ ..]: [u8; ORDER]) -> Option<Order> {
        match letter {
            b't' => Some(Order::Terminate),
            b'k' => Some(Order::Kill),
            b'l' => Some(Order::Logged(u64::from_le_bytes(number))),
            _ => None,
        }
    }
}

/// What a supervisor tells, a letter each: the program runs.
const STARTED: u8 = b's';

/// There is output that was not logged. Told once until the node says how far it is.
const OUTPUT: u8 = b'o';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(End::read(dir.path()), None);
        for end in [End::NotStarted(Some("why".into())), End::Ended { code: Some(3), signal: None }] {
            let dir = tempfile::tempdir().unwrap();
            assert!(!End::is_awaited(dir.path()));
            let lock = End::reserve(dir.path()).unwrap();
            assert_eq!(End::read(dir.path()), None);
            assert!(End::is_awaited(dir.path()));
            drop(lock);
            assert!(!End::is_awaited(dir.path()));
            end.note(dir.path()).unwrap();
            assert_eq!(End::read(dir.path()), Some(end));
        }
    }

    #[test]
    fn orders_come_back() {
        for order in [Order::Terminate, Order::Kill, Order::Logged(u64::MAX - 7)] {
            assert_eq!(Order::decode(order.encode()), Some(order));
        }
        assert_eq!(Order::decode([b'?'; ORDER]), None);
    }
}
