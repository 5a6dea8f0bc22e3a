//! Whole connections: up to three clients do what the input says, beside one that behaves. Whatever they do, that one is
//! served, and when all are gone nothing is left of them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::options::{Options, WebSocketOptions};
use crate::reactor::stepped::{Holdings, Stepped};
use crate::users::{Account, Permissions, Rules, User};

use super::MAX_INPUT;

/// Begins a command; no byte of the protocol has this value.
const COMMAND: u8 = 0xFF;
const CLIENTS: usize = 3;
/// Commands in one input.
const MAX_COMMANDS: usize = 64;
/// Subscriptions of one client, and bytes that may wait for it.
const MAX_SUBSCRIPTIONS: usize = 40;
const MAX_PENDING: usize = 64 * 1024;
/// For what must happen; it never takes long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(5);
const NOTHING: Holdings = Holdings { connections: 0, subscriptions: 0, buffered: 0 };

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// The client that behaves.
const LOGIN: &[u8] =
    b"CONNECT {\"verbose\":false,\"user\":\"well\",\"pass\":\"behaved\"}\r\nSUB own 1\r\nPING\r\n";
const LOGIN_WITH_TOKEN: &[u8] = b"CONNECT {\"verbose\":false,\"auth_token\":\"t\"}\r\nSUB own 1\r\nPING\r\n";
const PROBE: &[u8] = b"PUB own 5\r\nprobe\r\nPING\r\n";

/// Who may come, by the settings of the input.
fn options(settings: u8) -> Options {
    let mut options = Options {
        host: "127.0.0.1".to_owned(),
        port: 0,
        max_payload: 1_000,
        max_control_line: 256,
        max_pending: MAX_PENDING,
        max_subscriptions: MAX_SUBSCRIPTIONS,
        ..Options::default()
    };
    let well = User::new("well", "behaved");
    let limited = Permissions {
        publish: Rules::only(["a.>", "_INBOX.>"]),
        subscribe: Rules { allow: None, deny: vec!["b.*".to_owned()] },
        allow_responses: Some(crate::users::AllowResponses::default()),
    };
    let guest = User { permissions: Some(limited), ..User::new("u", "p") };
    match settings & 3 {
        0 => {}
        1 => options.token = Some("t".to_owned()),
        2 => {
            options.users = vec![well, guest];
            options.no_auth_user = Some("u".to_owned());
        }
        _ => {
            let account =
                |name: &str, user| Account { name: name.to_owned(), users: vec![user], nkeys: Vec::new() };
            options.accounts = vec![account("A", well), account("B", guest)];
        }
    }
    if settings & 4 != 0 {
        options.websocket =
            Some(WebSocketOptions { host: "127.0.0.1".to_owned(), port: 0, ..WebSocketOptions::default() });
    }
    options
}

/// First byte: settings; then what client 0 sends, up to a command. A command is 0xFF and a byte: 0 to 2 go on with that
/// client, 3 closes it, 4 ends only its sending, 5 reads, 6 sends no frame but the bytes as they are (WebSocket).
pub fn connection(data: &[u8]) {
    let [settings, script @ ..] = data else { return };
    let script = script.get(..MAX_INPUT).unwrap_or(script);
    let Ok(server) = Stepped::start(options(*settings)) else { return };
    let mut world = World::new(server);
    let mut well = Vec::new();
    let Some(mut behaved) = world.open(false) else { return };
    let login = if settings & 3 == 1 { LOGIN_WITH_TOKEN } else { LOGIN };
    world.exchange(&mut behaved, login, &mut well, b"PONG\r\n");
    world.play(script);
    well.clear();
    world.exchange(&mut behaved, PROBE, &mut well, b"PONG\r\n");
    let has = |text: &[u8]| well.windows(text.len()).any(|window| window == text);
    assert!(has(b"MSG own 1 5\r\nprobe\r\n"), "its subscription: {:?}", String::from_utf8_lossy(&well));
    world.clients = Default::default();
    let one = Holdings { connections: 1, subscriptions: 1, buffered: 0 };
    world.expect(one, "only the one that behaves is left");
    drop(behaved);
    world.expect(NOTHING, "nothing is left");
}

/// A client's socket. It closes at once and without waiting, so that thousands of them leave no ports behind.
struct Client {
    socket: TcpStream,
    framed: bool,
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
    }
}

impl Client {
    fn open(addr: SocketAddr) -> Option<Client> {
        let socket = TcpStream::connect(addr).ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.set_nodelay(true).ok()?;
        Some(Client { socket, framed: false })
    }

    /// What the server does not take is lost, as it would be with a client that has no patience.
    fn send(&mut self, bytes: &[u8]) {
        let framed = if self.framed { frame(bytes) } else { bytes.to_vec() };
        let _ = self.socket.write(&framed);
    }

    fn read(&mut self, seen: &mut Vec<u8>) {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(count) if count > 0 => seen.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }
}

/// One binary message, with a mask that changes nothing.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82, 0x80 | 126];
    frame.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(bytes);
    frame
}

struct World {
    server: Stepped,
    clients: [Option<Client>; CLIENTS],
}

impl World {
    fn new(server: Stepped) -> World {
        World { server, clients: Default::default() }
    }

    /// `None`: the system has no more sockets.
    fn open(&mut self, web: bool) -> Option<Client> {
        let addrs = self.server.addrs();
        let web = addrs.get(1).filter(|_| web);
        let mut client = Client::open(*web.or(addrs.first())?)?;
        self.server.settle();
        if web.is_some() {
            client.send(UPGRADE);
            self.server.settle();
            client.framed = true;
        }
        Some(client)
    }

    /// Sends, and reads until an answer is there.
    fn exchange(&mut self, client: &mut Client, bytes: &[u8], seen: &mut Vec<u8>, answer: &[u8]) {
        client.send(bytes);
        let answered = self.server.run_until(Instant::now() + PATIENCE, |_| {
            client.read(seen);
            seen.ends_with(answer)
        });
        assert!(answered, "no answer but {:?}", String::from_utf8_lossy(seen));
    }

    fn expect(&mut self, holdings: Holdings, what: &str) {
        let as_expected = |server: &Stepped| server.holdings() == holdings;
        let in_time = self.server.run_until(Instant::now() + PATIENCE, as_expected);
        assert!(in_time, "{what}: {:?}", self.server.holdings());
    }

    fn play(&mut self, script: &[u8]) {
        let (mut number, mut rest) = (0, script);
        for _ in 0..MAX_COMMANDS {
            let end = rest.iter().position(|byte| *byte == COMMAND).unwrap_or(rest.len());
            let (bytes, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            if !bytes.is_empty() {
                self.say(number, bytes);
            }
            let [_, command, more @ ..] = after else { return };
            rest = more;
            match command % 7 {
                3 => {
                    if let Some(client) = self.clients.get_mut(number) {
                        *client = None;
                    }
                }
                4 => self.with(number, |client| drop(client.socket.shutdown(Shutdown::Write))),
                5 => self.with(number, |client| client.read(&mut Vec::new())),
                6 => self.with(number, |client| client.framed = false),
                other => number = usize::from(other),
            }
            self.server.settle();
            self.check_bounds();
        }
    }

    /// What clients can make the server hold.
    fn check_bounds(&self) {
        let held = self.server.holdings();
        // One that has gone while it was held back still counts for a moment.
        let connections = usize::try_from(held.connections).unwrap_or(usize::MAX);
        assert!(held.subscriptions <= (connections * MAX_SUBSCRIPTIONS) as u64, "{held:?}");
        assert!(held.buffered <= connections * 2 * MAX_PENDING, "{held:?}");
    }

    fn with(&mut self, number: usize, act: impl FnOnce(&mut Client)) {
        if let Some(Some(client)) = self.clients.get_mut(number) {
            act(client);
        }
    }

    /// The client sends; it is opened if it is not there.
    fn say(&mut self, number: usize, bytes: &[u8]) {
        if self.clients.get(number).is_some_and(Option::is_none) {
            let client = self.open(true);
            if let Some(place) = self.clients.get_mut(number) {
                *place = client;
            }
        }
        self.with(number, |client| client.send(bytes));
        self.server.settle();
    }
}
