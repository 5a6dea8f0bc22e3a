//! Many connections on one thread.

use super::Outcome;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// Files that a process may open here: as many as the system allows.
pub fn allow_many_files() -> Outcome<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

/// What a member of a crowd does with its connection. All sockets are non-blocking.
pub trait Member {
    /// The connection is open and may be written to. False: give it up and open another.
    fn write(&mut self, socket: &mut TcpStream) -> bool;
    /// Bytes came.
    fn read(&mut self, bytes: &[u8]);
    /// Does it read at all?
    fn reads(&self) -> bool {
        true
    }
    /// The connection ended and another one is being opened.
    fn again(&mut self);
}

/// Members and their connections.
pub struct Crowd<M> {
    poll: Poll,
    events: Events,
    address: SocketAddr,
    members: Vec<(Option<TcpStream>, M)>,
    buffer: Vec<u8>,
    /// Connections that ended or were given up.
    pub ended: u64,
}

impl<M: Member> Crowd<M> {
    pub fn new(address: SocketAddr, members: Vec<M>) -> Outcome<Crowd<M>> {
        let members = members.into_iter().map(|member| (None, member)).collect();
        let (poll, events, buffer) = (Poll::new()?, Events::with_capacity(1024), vec![0; 64 * 1024]);
        let mut crowd = Crowd { poll, events, address, members, buffer, ended: 0 };
        for at in 0..crowd.members.len() {
            crowd.open(at)?;
        }
        Ok(crowd)
    }

    pub fn members(&self) -> impl Iterator<Item = &M> {
        self.members.iter().map(|(_, member)| member)
    }

    fn open(&mut self, at: usize) -> Outcome<()> {
        let mut socket = TcpStream::connect(self.address)?;
        self.poll.registry().register(&mut socket, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        self.members[at].0 = Some(socket);
        Ok(())
    }

    /// Closes every connection and opens it again.
    pub fn drop_all(&mut self) -> Outcome<()> {
        for at in 0..self.members.len() {
            self.members[at].0 = None;
            self.members[at].1.again();
        }
        (0..self.members.len()).try_for_each(|at| self.open(at))
    }

    /// Waits once, at most so long, and lets everybody act who can.
    pub fn turn(&mut self, wait: Duration) -> Outcome<()> {
        self.poll.poll(&mut self.events, Some(wait))?;
        let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        for at in ready {
            self.act(at)?;
        }
        Ok(())
    }

    /// Lets everybody act, also those whose sockets have no news.
    pub fn prompt(&mut self) -> Outcome<()> {
        (0..self.members.len()).try_for_each(|at| self.act(at))
    }

    fn act(&mut self, at: usize) -> Outcome<()> {
        let (socket, member) = &mut self.members[at];
        let Some(socket) = socket else { return Ok(()) };
        let mut open = true;
        while open && member.reads() {
            match socket.read(&mut self.buffer) {
                Ok(0) => open = false,
                Ok(count) => member.read(&self.buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => open = false,
            }
        }
        if open && member.write(socket) {
            return Ok(());
        }
        member.again();
        self.ended += 1;
        self.open(at)
    }
}

/// What the write of a member came to.
pub enum Sent {
    All,
    /// So many bytes were taken, then the socket was full.
    Part(usize),
    Closed,
}

/// Writes what the socket takes.
pub fn send(socket: &mut TcpStream, bytes: &[u8]) -> Sent {
    let mut done = 0;
    while done < bytes.len() {
        match socket.write(&bytes[done..]) {
            Ok(count) => done += count,
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::NotConnected].contains(&error.kind()) => {
                return Sent::Part(done);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Sent::Closed,
        }
    }
    Sent::All
}
