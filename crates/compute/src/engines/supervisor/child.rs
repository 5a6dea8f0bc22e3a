//! A process below the supervisor, which no other one can be taken for.

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal, waitpid,
};
use std::io;
use std::os::fd::OwnedFd;

/// A process that is waited for.
pub(super) struct Process {
    pid: Pid,
    /// Readable when it has ended.
    pub(super) handle: OwnedFd,
}

impl Process {
    pub(super) fn open(pid: i32) -> io::Result<Process> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Process { pid, handle: pidfd_open(pid, PidfdFlags::empty())? })
    }

    pub(super) fn signal(&self, signal: Signal) {
        // It may have ended meanwhile.
        let _ = pidfd_send_signal(&self.handle, signal);
    }

    pub(super) fn bury(&self) -> io::Result<WaitStatus> {
        loop {
            match waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => return Ok(status),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
