//! Scripts: what some clients do, made from a seed. The same seed gives the same script.

use fastrand::Rng;

use super::connect;
use super::profile::Profile;

/// One client sends some bytes, in pieces. The placeholders of [`super::play`] stand for what only the server knows.
#[derive(Clone, Debug)]
pub(super) struct Action {
    pub(super) client: usize,
    pub(super) pieces: Vec<Vec<u8>>,
    /// It may leave an operation open, or ask for answers that nobody counts.
    pub(super) is_odd: bool,
}

impl Action {
    fn new(client: usize, bytes: Vec<u8>) -> Self {
        Self { client, pieces: vec![bytes], is_odd: false }
    }
}

/// Makes the script of a seed.
pub(super) fn script(seed: u64, profile: &Profile) -> Vec<Action> {
    let mut writer = Writer { rng: Rng::with_seed(seed), profile, payloads: 0 };
    let clients = writer.rng.usize(2..=4);
    let mut actions = Vec::new();
    for client in 0..clients {
        if writer.chance(92) {
            let connect = connect::sane(&mut writer.rng, profile);
            actions.push(Action::new(client, line(b"CONNECT ", &connect)));
        }
    }
    let count = writer.rng.usize(20..=100);
    while actions.len() < count {
        let client = writer.rng.usize(..clients);
        actions.push(writer.action(client));
    }
    actions
}

struct Writer<'a> {
    rng: Rng,
    profile: &'a Profile,
    payloads: u32,
}

fn line(verb: &[u8], args: &[u8]) -> Vec<u8> {
    [verb, args, b"\r\n"].concat()
}

impl Writer<'_> {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())]
    }

    fn pick(&mut self, from: &[&'static [u8]]) -> &'static [u8] {
        self.one_of(from)
    }

    fn action(&mut self, client: usize) -> Action {
        let mut bytes = self.operation(client);
        // A few operations at once.
        while self.chance(15) {
            bytes.extend(self.operation(client));
        }
        let mut action = Action::new(client, bytes);
        if self.rng.u32(..1000) < 12 {
            action = Action::new(client, self.malformed());
        } else if self.rng.u32(..1000) < 6 {
            self.damage(&mut action.pieces[0]);
            action.is_odd = true;
        }
        if self.chance(12) {
            self.cut(&mut action);
        }
        // The reference reads a CR inside a line in other ways when the line comes in two reads, and it may read 64 bytes at
        // a time.
        let is_short = action.pieces.len() == 1 && action.pieces[0].len() < 58;
        let has_odd_cr = action.pieces.concat().windows(2).any(|pair| pair[0] == b'\r' && pair[1] != b'\n');
        if has_odd_cr && !is_short { self.action(client) } else { action }
    }

    fn cut(&mut self, action: &mut Action) {
        let whole = action.pieces.concat();
        let mut cuts: Vec<usize> =
            (0..self.rng.usize(1..4)).map(|_| self.rng.usize(..=whole.len())).collect();
        cuts.extend([0, whole.len()]);
        cuts.sort_unstable();
        action.pieces = cuts.windows(2).map(|pair| whole[pair[0]..pair[1]].to_vec()).collect();
    }

    /// With no LF: directly behind the blank of a verb that ends no line for the reference.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.rng.usize(..bytes.len());
        match self.rng.u8(..3) {
            0 => drop(bytes.remove(at)),
            1 => bytes.insert(at, bytes[at]),
            _ => bytes[at] = self.one_of(b" \t\r\0\x7f\xff.*>0123456789-+\"'{}aZ"),
        }
    }

    fn operation(&mut self, client: usize) -> Vec<u8> {
        let mut op = match self.rng.u32(..100) {
            0..=29 => self.subscribe(client),
            30..=39 => self.unsubscribe(),
            40..=72 => self.publish(),
            73..=85 => self.publish_with_headers(),
            86..=93 => {
                self.pick(&[&b"PING\r\n"[..], b"ping\n", b"PINGx y\r\n", b"PONG\r\n", b"+OK\r\n"]).to_vec()
            }
            94..=95 => b"INFO {}\r\n".to_vec(),
            96..=97 => line(b"CONNECT ", &connect::sane(&mut self.rng, self.profile)),
            _ => line(b"CONNECT ", &connect::odd(&mut self.rng, self.profile)),
        };
        if self.chance(5) {
            let verb = op.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
            for byte in &mut op[..verb] {
                if self.rng.bool() {
                    byte.make_ascii_lowercase();
                }
            }
        }
        op
    }

    /// A blank between arguments: mostly one.
    fn blank(&mut self) -> &'static [u8] {
        match self.rng.u32(..400) {
            0..=15 => self.pick(&[b"\t", b"  ", b" \t "]),
            16 => self.pick(&[b"\r", b" \r ", b"\r "]),
            _ => b" ",
        }
    }

    fn end(&mut self) -> &'static [u8] {
        match self.rng.u32(..400) {
            0..=15 => self.pick(&[b"\n", b" \r\n", b"\t\r\n", b" \n"]),
            16 => b"\r\r\n",
            _ => b"\r\n",
        }
    }

    fn line(&mut self, verb: &[u8], args: &[Vec<u8>]) -> Vec<u8> {
        let mut line = verb.to_vec();
        for arg in args {
            line.extend_from_slice(self.blank());
            line.extend_from_slice(arg);
        }
        line.extend_from_slice(self.end());
        line
    }

    fn tokens(&mut self, from: &[&str]) -> Vec<u8> {
        let count = self.rng.usize(1..=3);
        let tokens: Vec<&str> = (0..count).map(|_| self.one_of(from)).collect();
        tokens.join(".").into_bytes()
    }

    fn odd_subject(&mut self) -> Vec<u8> {
        let odd: &[&'static [u8]] = &[
            b"a..b",
            b".a",
            b"a.",
            b".",
            b"..",
            b">.a",
            b"a.>.b",
            b"*.>.*",
            b"a*",
            b"a>",
            b"a.b>",
            b"**",
            b">>",
            b"$NRG.x",
            b"$NRG",
            b"_GR_.x.y",
            b"_GR_",
            b"_R_.x",
            b"$JS.ACK.x.y",
            b"$GNR.x",
            b"\xc3\xa9.b",
            b"a\x01",
            b"\xff\xfe",
            b"a.\xff",
            b"\"a\"",
            b"'a'",
            b"a\\b",
            b"\xe2\x80\xa8",
            b"\xc2\x85",
            b"\x7f",
            b"\xf0\x9f\x98\x80",
            b"\0",
            b"\xcc\x81",
            b"\xef\xbb\xbf",
            b"\x1b[0m",
            b"a,b",
            b"{}",
            b"\x0b",
            b"\x0c",
            b"\xc2\xa0",
            b"\xc2\xad",
            b"\xee\x80\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xef\xbf\xbd",
        ];
        if self.chance(10) {
            return self.long_subject();
        }
        self.pick(odd).to_vec()
    }

    /// A subject that makes the line about as long as may be.
    fn long_subject(&mut self) -> Vec<u8> {
        let limit = self.profile.control_line;
        let len = (limit + 4).saturating_sub(self.rng.usize(..24)).max(1);
        vec![b'a'; len]
    }

    fn subject(&mut self) -> Vec<u8> {
        match self.rng.u32(..100) {
            0..=4 => self.odd_subject(),
            5..=14 => self.one_of(self.profile.subjects).as_bytes().to_vec(),
            15..=18 => self.tokens(&["a", "*", ">", "b"]),
            _ => self.tokens(&["a", "a", "b", "c"]),
        }
    }

    fn reply(&mut self) -> Vec<u8> {
        match self.rng.u32(..100) {
            0..=7 => self.odd_subject(),
            8..=40 => self.tokens(&["r", "a", "b"]),
            _ => format!("r.{}", self.rng.u8(..3)).into_bytes(),
        }
    }

    fn pattern(&mut self) -> Vec<u8> {
        match self.rng.u32(..100) {
            0..=6 => self.odd_subject(),
            7..=18 => self.one_of(self.profile.subjects).as_bytes().to_vec(),
            19..=27 => b"r.*".to_vec(),
            28..=31 => format!("r.{}", self.rng.u8(..3)).into_bytes(),
            32..=34 => b">".to_vec(),
            _ => self.tokens(&["a", "a", "b", "c", "*", ">"]),
        }
    }

    fn sid(&mut self) -> Vec<u8> {
        match self.rng.u32(..100) {
            0..=3 => {
                self.pick(&[&b"x"[..], b"0", b"-1", b"00", b"\xff", b"\x0c1", b"1.1", b"\0", b"+OK"]).to_vec()
            }
            _ => self.rng.u8(1..12).to_string().into_bytes(),
        }
    }

    fn subscribe(&mut self, client: usize) -> Vec<u8> {
        let mut args = vec![self.pattern()];
        match self.rng.u32(..100) {
            // A group of several members: all of one client, so that it does not matter which gets a message. Their
            // ids differ only behind the `S`, which the comparison leaves out.
            0..=7 => {
                args.push(format!("many{client}").into_bytes());
                args.push(format!("S{}", self.rng.u8(..6)).into_bytes());
            }
            // A group of one member. It keeps its id for itself: a group name in two places has two members.
            8..=15 => {
                let id = self.rng.u8(20..26);
                args.push(format!("one{client}{id}").into_bytes());
                args.push(id.to_string().into_bytes());
            }
            16..=17 => {
                let odd = self
                    .pick(&[&b"_sys_"[..], b"*", b">", b"a..b", b"\xff", b"grp.1", b"q", b"\"q\""])
                    .to_vec();
                let id = format!("S{}", self.rng.u8(6..9));
                // Another name per client, but for those that are refused everywhere.
                let name = if odd == b"_sys_" || client == 0 {
                    odd
                } else {
                    [&odd[..], b"c", client.to_string().as_bytes()].concat()
                };
                args.push(name);
                args.push(id.into_bytes());
            }
            _ => args.push(self.sid()),
        }
        self.line(b"SUB", &args)
    }

    fn unsubscribe(&mut self) -> Vec<u8> {
        let mut args = vec![if self.chance(10) { b"21".to_vec() } else { self.sid() }];
        if self.chance(45) {
            let max = match self.rng.u32(..100) {
                0..=9 => self
                    .pick(&[
                        &b"0"[..],
                        b"-1",
                        b"x",
                        b"007",
                        b"99999999999",
                        b"1.5",
                        b"+2",
                        b"999999999",
                        b"1000000000",
                    ])
                    .to_vec(),
                _ => self.rng.u8(1..6).to_string().into_bytes(),
            };
            args.push(max);
        }
        self.line(b"UNSUB", &args)
    }

    fn payload(&mut self) -> Vec<u8> {
        self.payloads += 1;
        let mut payload = format!("{}:", self.payloads).into_bytes();
        let limit = self.profile.payload;
        match self.rng.u32(..100) {
            0..=2 if limit < 10_000 => payload.resize(limit - self.rng.usize(..3), b'x'),
            0..=9 => payload.resize(self.rng.usize(3..1200).min(limit), b'y'),
            10..=12 => payload.clear(),
            13..=20 => {
                payload.extend_from_slice(self.pick(&[&b"\r\nPING\r\n"[..], b"\r\n", b"\0\xff", b"PONG\r\n"]))
            }
            _ => {}
        }
        payload
    }

    fn size(&mut self, size: usize) -> Vec<u8> {
        match self.rng.u32(..100) {
            0..=3 => format!("{size:04}"),
            4 => format!("{size:09}"),
            5 => format!("{size:010}"),
            _ => size.to_string(),
        }
        .into_bytes()
    }

    fn publish(&mut self) -> Vec<u8> {
        let mut args = vec![self.subject()];
        if self.chance(40) {
            args.push(self.reply());
        }
        let payload = self.payload();
        args.push(self.size(payload.len()));
        let mut op = self.line(b"PUB", &args);
        op.extend_from_slice(&payload);
        op.extend_from_slice(b"\r\n");
        op
    }

    fn publish_with_headers(&mut self) -> Vec<u8> {
        let blocks: &[&'static [u8]] = &[
            b"NATS/1.0\r\n\r\n",
            b"NATS/1.0\r\nA: b\r\n\r\n",
            b"NATS/1.0 503\r\n\r\n",
            b"NATS/1.0 100 x\r\nA:b\r\nA:c\r\n\r\n",
            b"",
            b"A: b\r\n\r\n",
            b"NATS/1.0",
            b"\r\n",
            b"NATS/1.0\r\nA: b",
            b"nats/1.0\r\n\r\n",
            b"\0\xff",
            b"NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n",
            b"NATS/1.0\r\nNats-Trace-Only: x\r\n\r\n",
            b"NATS/1.0\r\n: \r\n\r\n",
        ];
        let block = if self.chance(70) { blocks[self.rng.usize(..4)] } else { self.pick(blocks) };
        let mut args = vec![self.subject()];
        if self.chance(40) {
            args.push(self.reply());
        }
        let body = self.payload();
        args.push(self.size(block.len()));
        args.push(self.size(block.len() + body.len()));
        let mut op = self.line(b"HPUB", &args);
        op.extend_from_slice(block);
        op.extend_from_slice(&body);
        op.extend_from_slice(b"\r\n");
        op
    }

    /// Lines that end the connection, or look as if they could.
    fn malformed(&mut self) -> Vec<u8> {
        let (payload, line_limit) = (self.profile.payload, self.profile.control_line);
        let lines: &[&'static [u8]] = &[
            b"\r\n",
            b"\n",
            b" PING\r\n",
            b"FOO\r\n",
            b"PUB\r\n",
            b"PUB a\r\n",
            b"PUB a b c 1\r\nx\r\n",
            b"PUB a -1\r\n",
            b"PUB a x\r\n",
            b"PUB a 1 \r\nxy\r\n",
            b"PUB a 1\r\nx\n\n",
            b"PUB a 3\r\nx\r\n\r\n",
            b"PUB a 0\r\n\r\n",
            b"PUB a 9999999999\r\n",
            b"PUB a 0x1\r\n",
            b"PUB a +1\r\nx\r\n",
            b"PUB a 1.0\r\n",
            b"PUBa 1\r\nx\r\n",
            b"PU",
            b"PUX\r\n",
            b"P\r\n",
            b"HPUB\r\n",
            b"HPUB a 0\r\n",
            b"HPUB a 12 2\r\nxx\r\n",
            b"HPUB a -1 2\r\nxx\r\n",
            b"HPUB a x 2\r\nxx\r\n",
            b"HPUB a b c 12 12\r\nNATS/1.0\r\n\r\n\r\n",
            b"HPUB a 0 0\r\n\r\n",
            b"HPUX\r\n",
            b"HMSG a 1 2\r\n",
            b"SUB\r\n",
            b"SUB \r\n",
            b"SUB a\r\n",
            b"SUB a b c d\r\n",
            b"SUB a b c d e f\r\n",
            b"SUBa 1\r\n",
            b"SUB\r\na 1\r\n",
            b"UNSUB\r\n",
            b"UNSUB \r\n",
            b"UNSUB 1 2 3\r\n",
            b"UNSUBX\r\n",
            b"MSG a 1 1\r\nx\r\n",
            b"RS+ $G a\r\n",
            b"A+ x\r\n",
            b"LS+ a\r\n",
            b"INFO\r\n",
            b"INFO x\r\n",
            b"INFO []\r\n",
            b"INFO null\r\n",
            b"INFO {\"port\":\"x\"}\r\n",
            b"INFO {\"Headers\":1}\r\n",
            b"INFO {\"connect_urls\":[1],\"x\":2}\r\n",
            b"INFO {\"max_payload\":99999999999}\r\n",
            b"INFO {\"gateway_cmd\":256}\r\n",
            b"INFO {\"client_id\":-1}\r\n",
            b"INFO {\"cluster\":null,\"proto\":1,\"ldm\":true}\r\n",
            b"INFO {\"a\":1}\r\n",
            b"INFO{}\r\n",
            b"CONNECT\r\n",
            b"CONNECT \r\n",
            b"CONNECT {\r\n",
            b"CONNECT x\r\n",
            b"CONNECT{}\r\n",
            b"CONNECT{\"verbose\":false}\r\n",
            b"-ERR\r\n",
            b"-ERR 'x'\r\n",
            b"-ERRx\r\n",
            b"+OK\r\n",
            b"+OKx\r\n",
            b"+KO\r\n",
            b"PINGPING\r\n",
            b"PONGPONG\r\n",
            b"PANG\r\n",
            b"\0\r\n",
            b"\xff\xff\r\n",
            b"G",
            b"GET / HTTP/1.1\r\n\r\n",
        ];
        match self.rng.u32(..100) {
            0..=5 => format!("PUB a {}\r\n", payload + 1).into_bytes(),
            6..=9 => format!("HPUB a 12 {}\r\n", payload + 1).into_bytes(),
            10..=12 => line(b"SUB a ", &vec![b'1'; line_limit]),
            13..=14 => line(b"UNSUB ", &vec![b'1'; line_limit + 1]),
            15..=17 => line(b"UNSUB ", &vec![b'1'; line_limit - self.rng.usize(..3)]),
            18..=19 => line(b"CONNECT ", &vec![b'{'; line_limit + 1]),
            20..=21 => line(b"INFO ", &vec![b'{'; line_limit + 1]),
            22..=23 => line(b"PUB ", &vec![b'1'; line_limit + 1]),
            _ => self.pick(lines).to_vec(),
        }
    }
}
