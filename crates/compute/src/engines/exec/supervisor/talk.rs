//! The supervisor's end of the socket.

use super::super::plan::{Order, Report, Request};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

/// Bytes of a line at most: a whole environment and all arguments (the kernel takes 2 MiB of them), in JSON.
const LONGEST_LINE: u64 = 16 << 20;

/// Both directions, each used by one thread at a time.
pub(super) struct Talk {
    reader: Mutex<BufReader<UnixStream>>,
    writer: Mutex<UnixStream>,
}

impl Talk {
    /// Takes standard input.
    pub(super) fn on_stdin() -> io::Result<Talk> {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        // Anything but a socket is somebody trying out a hidden command.
        stream.peer_addr()?;
        let writer = Mutex::new(stream.try_clone()?);
        Ok(Talk { reader: Mutex::new(BufReader::new(stream)), writer })
    }

    pub(super) fn request(&self) -> io::Result<Request> {
        Ok(serde_json::from_str(&self.line()?)?)
    }

    /// The next order. An error means that the node is gone.
    pub(super) fn order(&self) -> io::Result<Order> {
        Ok(serde_json::from_str(&self.line()?)?)
    }

    fn line(&self) -> io::Result<String> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = String::new();
        if reader.by_ref().take(LONGEST_LINE).read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }

    pub(super) fn tell(&self, report: &Report) -> io::Result<()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line(report)?)
    }

    /// Tells the node with a socket in its hand.
    pub(super) fn hand_over(&self, listener: &TcpListener) -> io::Result<()> {
        let line = line(&Report::Listening)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        let handles = [listener.as_fd()];
        if !with.push(SendAncillaryMessage::ScmRights(&handles)) {
            return Err(io::Error::other("no room for a socket"));
        }
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = sendmsg(&*writer, &[IoSlice::new(&line)], &mut with, SendFlags::NOSIGNAL)?;
        // A line this short is sent whole or not at all.
        if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

fn line(report: &Report) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    Ok(line)
}
