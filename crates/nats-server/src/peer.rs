//! One participant: a client on a socket, or a client in this process. State only; what happens to it is decided in
//! `fabric` (delivery) and `reactor` (input, output, time). Links to other servers would be further kinds here.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::auth::Identity;
use crate::auth::operator::{ConnectionType, Pass};
use crate::auth::slow::Asker;
use crate::events::{CloseReason, ConnInfo};
use crate::hash::{ByteMap, Keyed};
use crate::local::queue::{ClientQueue, Command};
use crate::outbound::{ChunkPool, Outbound};
use crate::permissions::Guard;
use crate::proto::connect::{Behaviour, Connect};
use crate::proto::inbound::Inbound;
use crate::proto::write::Put;
use crate::reactor::{FIRST_READ, Opening};
use crate::router::SubId;
use crate::transport::Transport;

/// A participant.
pub(crate) enum Peer {
    Socket(Box<Conn>),
    Local(Box<LocalPeer>),
    /// A connection that is gone, but not yet all of its subscriptions: until then nobody may have its number. How many
    /// lots of them there are.
    Leaving(u32),
}

impl Peer {
    pub(crate) fn socket(&mut self) -> Option<&mut Conn> {
        match self {
            Self::Socket(conn) => Some(conn),
            Self::Local(_) | Self::Leaving(_) => None,
        }
    }

    pub(crate) fn local(&mut self) -> Option<&mut LocalPeer> {
        match self {
            Self::Local(local) => Some(local),
            Self::Socket(_) | Self::Leaving(_) => None,
        }
    }
}

/// Why a connection is not read although it may have sent something.
pub(crate) enum Hold {
    /// It is read.
    No,
    /// Its password is being checked; the log-in goes on when the result is there.
    Checking(Box<Login>, Arc<Asker>),
    /// It is told that it is refused, and closed, at this time.
    RefusedUntil(Instant),
}

/// A log-in in the middle: what was asked for, and who it will be.
pub(crate) struct Login {
    pub(crate) connect: Connect,
    pub(crate) behaviour: Behaviour,
    pub(crate) identity: Identity,
}

/// What one connection has sent and got; "in" and "out" are seen from the server. Plain numbers beside each other: they
/// are counted with every message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) in_msgs: u64,
    pub(crate) in_bytes: u64,
    pub(crate) out_msgs: u64,
    pub(crate) out_bytes: u64,
    /// The last message in or out, or change of subscriptions. PING and PONG do not count.
    pub(crate) last: Instant,
    /// How often it was held back as a publisher.
    pub(crate) stalls: u64,
}

impl Traffic {
    pub(crate) fn new(now: Instant) -> Self {
        Self { in_msgs: 0, in_bytes: 0, out_msgs: 0, out_bytes: 0, last: now, stalls: 0 }
    }

    /// It published a message.
    #[inline]
    pub(crate) fn received(&mut self, bytes: usize, now: Instant) {
        self.in_msgs += 1;
        self.in_bytes += bytes as u64;
        self.last = now;
    }

    /// A message was queued for it.
    #[inline]
    pub(crate) fn sent(&mut self, bytes: usize, now: Instant) {
        self.out_msgs += 1;
        self.out_bytes += bytes as u64;
        self.last = now;
    }
}

/// A client on a socket.
pub(crate) struct Conn {
    pub(crate) transport: Transport,
    /// Number of the listener that it came through.
    pub(crate) door: usize,
    /// How far its handshakes have come.
    pub(crate) opening: Opening,
    /// Names in its certificate, if these say who it is.
    pub(crate) certificate_names: Vec<crate::certs::Name>,
    pub(crate) addr: SocketAddr,
    pub(crate) cid: u64,
    pub(crate) name: Arc<str>,
    /// What it says about its library, shortened; only monitoring shows it.
    pub(crate) lang: Arc<str>,
    pub(crate) version: Arc<str>,
    pub(crate) start: Instant,
    /// The time between a question and its answer: from INFO to the first CONNECT, later from PING to PONG.
    pub(crate) rtt: Option<Duration>,
    /// When the last PING was sent.
    pub(crate) pinged_at: Option<Instant>,
    pub(crate) traffic: Traffic,
    pub(crate) behaviour: Behaviour,
    pub(crate) inbound: Inbound,
    pub(crate) out: Outbound,
    /// Subscriptions by the client's own ids.
    pub(crate) subs: ByteMap<SubId>,
    /// Counts its log-ins: subscriptions of a former one get nothing any more, and these are so many.
    pub(crate) login: u32,
    pub(crate) stale_subs: usize,

    /// Number of its account.
    pub(crate) account: u32,
    pub(crate) user: Arc<str>,
    /// Its permissions, if it has not all of them.
    pub(crate) guard: Option<Box<Guard>>,
    /// In operator mode: what it was let in with.
    pub(crate) pass: Option<Arc<Pass>>,
    /// The credentials that it has shown: another CONNECT changes only those that it names.
    pub(crate) shown: Option<Box<Connect>>,
    /// What it was given to sign.
    pub(crate) nonce: Option<Box<str>>,
    /// Credentials have not been shown yet, and are needed.
    pub(crate) must_authenticate: bool,
    /// It was let in because of what it had shown.
    pub(crate) has_proved: bool,
    /// Input has to wait because of a log-in.
    pub(crate) hold: Hold,
    /// A CONNECT was accepted.
    pub(crate) connected: bool,
    /// The first PING after CONNECT was answered: from here INFO may be sent at any time.
    pub(crate) settled: bool,

    /// The socket may have bytes to read.
    pub(crate) readable: bool,
    /// The peer has closed its side; read to the end.
    pub(crate) read_closed: bool,
    /// In the reactor's list of connections to read.
    pub(crate) in_ready: bool,
    /// Held back because a receiver is near its limit.
    pub(crate) parked: bool,
    /// Reading stopped in the middle of a batch.
    pub(crate) stopped: bool,
    /// Bytes to read at a time.
    pub(crate) read_size: usize,
    /// It had more than could be done in its turn; until then it waits behind those that have little.
    pub(crate) busy_until: Option<Instant>,
    /// Has been parked in this batch already.
    pub(crate) held_back: bool,

    /// The socket may accept bytes.
    pub(crate) writable: bool,
    /// Has bytes to be written at the end of the round.
    pub(crate) touched: bool,
    /// The socket accepts nothing; since when (moves on with each byte accepted).
    pub(crate) blocked_since: Option<Instant>,
    /// Above the high mark; publishers to it are held back.
    pub(crate) congested: bool,
    /// To be dropped at the end of the batch.
    pub(crate) doomed: bool,
    /// Lots of its subscriptions that are being removed.
    pub(crate) leaving: u32,

    /// Spoke without being asked since the last look of the ping timer.
    pub(crate) active: bool,
    pub(crate) pings_out: u32,
    /// When the last PING was sent.
    pub(crate) last_ping: Option<Instant>,
    pub(crate) auth_deadline: Option<Instant>,
    pub(crate) ping_at: Option<Instant>,
    /// Its credentials are good until then.
    pub(crate) expires_at: Option<Instant>,
    /// Closing: what is queued is flushed and input thrown away until then.
    pub(crate) linger_until: Option<Instant>,
    /// The earliest time in the reactor's timer heap.
    pub(crate) timer_at: Option<Instant>,
}

impl Conn {
    pub(crate) fn new(
        socket: TcpStream,
        door: usize,
        addr: SocketAddr,
        cid: u64,
        keyed: Keyed,
        now: Instant,
    ) -> Self {
        Self {
            transport: Transport::Tcp(socket),
            door,
            opening: Opening::Done,
            certificate_names: Vec::new(),
            addr,
            cid,
            name: Arc::default(),
            lang: Arc::default(),
            version: Arc::default(),
            start: now,
            rtt: None,
            pinged_at: None,
            traffic: Traffic::new(now),
            behaviour: Behaviour::default(),
            inbound: Inbound::default(),
            out: Outbound::default(),
            subs: HashMap::with_hasher(keyed),
            login: 0,
            stale_subs: 0,
            account: 0,
            user: Arc::default(),
            guard: None,
            pass: None,
            shown: None,
            nonce: None,
            must_authenticate: false,
            has_proved: false,
            hold: Hold::No,
            connected: false,
            settled: false,
            readable: false,
            read_closed: false,
            in_ready: false,
            parked: false,
            stopped: false,
            read_size: FIRST_READ,
            busy_until: None,
            held_back: false,
            writable: true,
            touched: false,
            blocked_since: None,
            congested: false,
            doomed: false,
            leaving: 0,
            active: false,
            pings_out: 0,
            last_ping: None,
            auth_deadline: None,
            ping_at: None,
            expires_at: None,
            linger_until: None,
            timer_at: None,
        }
    }

    /// Whom it speaks for.
    pub(crate) fn become_user(&mut self, identity: Identity, keyed: Keyed) {
        self.account = identity.account;
        self.user = identity.user;
        self.guard = identity.permissions.map(|rules| Box::new(Guard::new(rules, keyed)));
        self.pass = identity.pass;
        self.must_authenticate = false;
        self.auth_deadline = None;
    }

    /// How it has come.
    pub(crate) fn connection_type(&self) -> ConnectionType {
        match self.transport {
            Transport::Web(_) => ConnectionType::WebSocket,
            _ => ConnectionType::Standard,
        }
    }

    /// Must its input wait?
    pub(crate) fn is_held(&self) -> bool {
        !matches!(self.hold, Hold::No)
    }

    /// When it will be told that it is refused.
    pub(crate) fn refused_until(&self) -> Option<Instant> {
        match self.hold {
            Hold::RefusedUntil(at) => Some(at),
            _ => None,
        }
    }

    /// Takes no part in routing any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.doomed || self.linger_until.is_some()
    }

    pub(crate) fn info(&self) -> ConnInfo {
        ConnInfo { cid: self.cid, name: self.name.clone(), addr: self.addr, user: self.user.clone() }
    }

    /// Has it something for the socket when that accepts more?
    pub(crate) fn wants_to_write(&self) -> bool {
        self.out.len() > 0 || self.transport.is_draining()
    }

    /// Queues bytes that are no message.
    pub(crate) fn send(&mut self, bytes: &[u8], pool: &mut ChunkPool) {
        self.out.writer(pool).put(bytes);
    }

    /// Writes what the socket accepts. True if everything is written.
    ///
    /// # Errors
    /// The reason for which the connection must be dropped.
    pub(crate) fn flush(&mut self, pool: &mut ChunkPool, now: Instant) -> Result<bool, CloseReason> {
        if !self.writable {
            return Ok(false);
        }
        let before = self.out.len();
        let failed = |_: io::Error| CloseReason::WriteError;
        let done = self.out.flush(&mut self.transport, pool).map_err(failed)?
            && self.transport.drain().map_err(failed)?;
        self.writable = done;
        if done {
            self.blocked_since = None;
        } else if self.blocked_since.is_none() || self.out.len() < before {
            self.blocked_since = Some(now);
        }
        Ok(done)
    }
}

/// A client in this process.
pub(crate) struct LocalPeer {
    pub(crate) queue: Arc<ClientQueue>,
    /// Taken from the queue and not yet done.
    pub(crate) backlog: VecDeque<Command>,
    pub(crate) subs: HashMap<u64, SubId>,
    /// In the reactor's list of local clients with work.
    pub(crate) in_ready: bool,
    /// Held back because a receiver is near its limit.
    pub(crate) parked: bool,
    /// Was held back before this turn.
    pub(crate) paused_before: bool,
}

impl LocalPeer {
    pub(crate) fn new(queue: Arc<ClientQueue>) -> Self {
        Self {
            queue,
            backlog: VecDeque::new(),
            subs: HashMap::new(),
            in_ready: false,
            parked: false,
            paused_before: false,
        }
    }
}

impl Drop for LocalPeer {
    /// However the loop ends, its clients are told instead of queueing into nowhere.
    fn drop(&mut self) {
        self.queue.close();
    }
}
