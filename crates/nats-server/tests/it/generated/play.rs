//! Plays a script on both servers, step by step, and writes down what the clients see.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::pair::{Pair, fill_in};
use super::script::Action;
use super::transcript::Transcript;
use crate::support::PATIENCE;

/// How long a client listens that may have left an operation open: then nobody answers.
const MOMENT: Duration = Duration::from_millis(300);

/// What happened on one server.
#[derive(PartialEq, Eq)]
pub(super) struct Story {
    /// By client: what it saw, and the step after which it was cut off.
    clients: Vec<(Vec<String>, Option<usize>)>,
    /// Subscriptions at the end.
    subscriptions: u64,
}

/// Plays it; what this server does, and what the reference does.
pub(super) fn play(actions: &[Action], pair: &mut Pair) -> (Story, Story) {
    let clients = actions.iter().map(|action| action.client).max().map_or(0, |last| last + 1);
    pair.begin();
    let from = next_address();
    let mut ours: Vec<Client> = (0..clients).map(|_| Client::open(pair.ours.addr(), from)).collect();
    let mut theirs: Vec<Client> = (0..clients).map(|_| Client::open(pair.reference.addr, from)).collect();
    for (step, action) in actions.iter().enumerate() {
        let sides = [&mut ours, &mut theirs];
        for side in sides {
            side[action.client].act(action, pair);
        }
        let mut cut = 0;
        for side in [&mut ours, &mut theirs] {
            side[action.client].settle(step, action.is_odd);
            cut += usize::from(side[action.client].cut_at == Some(step));
            for other in (0..clients).filter(|other| *other != action.client) {
                side[other].ask();
            }
            for other in (0..clients).filter(|other| *other != action.client) {
                side[other].settle(step, false);
            }
        }
        if cut == 1 {
            break;
        }
        if cut > 0 {
            // The reference cuts off first and removes the subscriptions then.
            pair.agree_on_subscriptions();
        }
    }
    let is_cut = |clients: &[Client]| clients.iter().map(|client| client.cut_at).collect::<Vec<_>>();
    let counts = if is_cut(&ours) == is_cut(&theirs) { pair.agree_on_subscriptions() } else { (0, 0) };
    let story = |clients: Vec<Client>, subscriptions| Story {
        clients: clients.into_iter().map(Client::end).collect(),
        subscriptions,
    };
    let stories = (story(ours, counts.0), story(theirs, counts.1));
    pair.wait_for_silence();
    stories
}

/// Another one for each script: whoever fails to log in again and again is made to wait.
fn next_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let [.., high, low] = (NEXT.fetch_add(1, Relaxed) % 500).to_be_bytes();
    Ipv4Addr::new(127, 1, high, low + u8::from(low < 255))
}

/// A connection to one of the servers.
struct Client {
    stream: TcpStream,
    seen: Transcript,
    /// PONGs that will have come when everything is answered.
    expected: usize,
    /// The server has closed.
    is_over: bool,
    /// It has acted. Before that it is not asked either: its first word may matter.
    has_begun: bool,
    cut_at: Option<usize>,
}

impl Client {
    fn open(addr: SocketAddr, from: Ipv4Addr) -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddrV4::new(from, 0)).unwrap();
        connect(&socket, &addr).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).unwrap();
        let mut client = Self {
            stream,
            seen: Transcript::default(),
            expected: 0,
            is_over: false,
            has_begun: false,
            cut_at: None,
        };
        let start = Instant::now();
        while !client.seen.has_greeting() && start.elapsed() < PATIENCE && client.hear(PATIENCE) {}
        client
    }

    /// Sends an action, and a PING in one go with the end of it, so that a server that cuts off leaves nothing unread.
    fn act(&mut self, action: &Action, pair: &Pair) {
        if self.cut_at.is_some() {
            return;
        }
        self.has_begun = true;
        let mut pieces: Vec<Vec<u8>> = action.pieces.iter().map(|piece| self.fill_in(piece, pair)).collect();
        if let Some(last) = pieces.last_mut() {
            last.extend_from_slice(b"PING\r\n");
        }
        for piece in pieces {
            // It may be cut off already; what it was told is read below.
            let _ = self.stream.write_all(&piece);
        }
        self.expected += 1;
    }

    fn fill_in(&self, piece: &[u8], pair: &Pair) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(piece) else { return piece.to_vec() };
        if !text.contains('@') {
            return piece.to_vec();
        }
        let signature = URL_SAFE_NO_PAD.encode(pair.key.sign(self.seen.nonce.as_bytes()));
        fill_in(&text.replace("@SIG@", &signature), &pair.placeholders).into_bytes()
    }

    fn ask(&mut self) {
        if self.cut_at.is_none() && self.has_begun {
            let _ = self.stream.write_all(b"PING\r\n");
            self.expected += 1;
        }
    }

    /// Listens until the last PING is answered, or the end.
    fn settle(&mut self, step: usize, is_odd: bool) {
        if self.cut_at.is_some() {
            return;
        }
        let mut tries = 0;
        let start = Instant::now();
        while self.seen.pongs < self.expected {
            if self.hear(if is_odd { MOMENT } else { PATIENCE }) {
                continue;
            }
            if self.is_over {
                self.cut_at = Some(step);
                return;
            }
            tries += 1;
            if !is_odd || tries == 3 || start.elapsed() > PATIENCE {
                break;
            }
            // An operation may be open: ends a line, and a payload that is not much longer than was said.
            let _ = self.stream.write_all(b"\r\nPING\r\n");
        }
        // Whoever sent PINGs of its own has more answers than were counted.
        while self.seen.pongs != self.expected && self.hear(Duration::from_millis(5)) {}
        self.expected = self.seen.pongs;
    }

    /// Reads once. False: nothing came in time, or nothing will come any more.
    fn hear(&mut self, patience: Duration) -> bool {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(count) if count > 0 => {
                self.seen.add(&buffer[..count]);
                true
            }
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                false
            }
            _ => {
                self.is_over = true;
                false
            }
        }
    }

    fn end(mut self) -> (Vec<String>, Option<usize>) {
        let _ = self.stream.shutdown(Shutdown::Write);
        while self.cut_at.is_none() && self.hear(PATIENCE) {}
        (self.seen.normal(), self.cut_at)
    }
}

impl Story {
    /// Where two stories part, for people.
    pub(super) fn difference(&self, other: &Story) -> String {
        let mut text = String::new();
        for (number, (one, two)) in self.clients.iter().zip(&other.clients).enumerate() {
            if one == two {
                continue;
            }
            let same = one.0.iter().zip(&two.0).take_while(|(a, b)| a == b).count();
            let show = |lines: &[String]| {
                lines.iter().skip(same).take(4).map(|line| format!("\n      {line:.600}")).collect::<String>()
            };
            text.push_str(&format!(
                "client {number}:\n    ours (cut off after {:?}):{}\n    theirs (cut off after {:?}):{}\n",
                one.1,
                show(&one.0),
                two.1,
                show(&two.0)
            ));
        }
        if self.subscriptions != other.subscriptions {
            text.push_str(&format!(
                "subscriptions: ours {}, theirs {}\n",
                self.subscriptions, other.subscriptions
            ));
        }
        text
    }
}
