//! This server and the reference server with the same configuration.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bacalhau_nats_server::jwt::{KeyPair, Role, UserClaims};
use bacalhau_nats_server::{Options, Server, conf};

use super::profile::Profile;
use crate::differential::Reference;
use crate::support::PATIENCE;
use crate::world::{World, now};

/// How long the two may take to come to the same number of subscriptions.
const AGREE_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Pair {
    pub(super) ours: Server,
    pub(super) reference: Reference,
    /// Of the user in the configuration.
    pub(super) key: KeyPair,
    /// What stands for what.
    pub(super) placeholders: Vec<(&'static str, String)>,
    monitor: BufReader<TcpStream>,
    /// Subscriptions that the reference has for itself.
    own: u64,
    /// How often there were more.
    additions: u32,
}

impl Pair {
    pub(super) fn start(binary: &str, profile: &Profile) -> Self {
        let key = KeyPair::generate(Role::User).unwrap();
        let placeholders = placeholders(&key);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.conf");
        std::fs::write(&file, fill_in(profile.conf, &placeholders)).unwrap();
        let loaded = conf::load(&file).unwrap().options;
        let ours = Server::start(Options { host: "127.0.0.1".into(), port: 0, ..loaded }).unwrap();
        let reference = Reference::start(binary, &["-c", &file.to_string_lossy(), "-m", "-1"]);
        let stream = TcpStream::connect(reference.monitor.unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut pair = Self {
            ours,
            reference,
            key,
            placeholders,
            monitor: BufReader::new(stream),
            own: 0,
            additions: 0,
        };
        pair.own = pair.their_subscriptions();
        pair
    }

    fn their_subscriptions(&mut self) -> u64 {
        self.all_their_subscriptions().saturating_sub(self.own)
    }

    fn all_their_subscriptions(&mut self) -> u64 {
        self.get("/subsz")["num_subscriptions"].as_u64().unwrap()
    }

    /// Before anybody has come. What was taken for the reference's own may have been a client that went slowly.
    pub(super) fn begin(&mut self) {
        self.own = self.own.min(self.all_their_subscriptions());
    }

    fn get(&mut self, path: &str) -> serde_json::Value {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.monitor.get_mut().write_all(request.as_bytes()).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.monitor.read_line(&mut line).unwrap();
            if let Some(given) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = given.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.monitor.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// Waits until both have the same number of subscriptions, but not for ever: the numbers are part of the story.
    pub(super) fn agree_on_subscriptions(&mut self) -> (u64, u64) {
        let start = Instant::now();
        loop {
            let counts = (self.ours.stats().subscriptions, self.their_subscriptions());
            if counts.0 == counts.1 || start.elapsed() > AGREE_WITHIN {
                return counts;
            }
            std::thread::yield_now();
        }
    }

    /// Waits until no subscription is left. When somebody is in an account for the first time, the reference subscribes
    /// there for itself, and stays.
    pub(super) fn wait_for_silence(&mut self) {
        let start = Instant::now();
        loop {
            let (ours, theirs) = (self.ours.stats().subscriptions, self.their_subscriptions());
            if (ours, theirs) == (0, 0) {
                return;
            }
            if start.elapsed() > AGREE_WITHIN {
                assert_eq!(ours, 0, "subscriptions outlive their clients");
                self.own += theirs;
                self.additions += 1;
                assert!(self.additions < 10, "the reference has more and more subscriptions");
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Puts in what the placeholders stand for.
pub(super) fn fill_in(text: &str, placeholders: &[(&'static str, String)]) -> String {
    placeholders.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// Those that are the same for all clients. The documents are all for one key.
fn placeholders(key: &KeyPair) -> Vec<(&'static str, String)> {
    let world = World::new();
    let user = |account: &KeyPair, change: fn(&mut UserClaims)| {
        let mut claims = UserClaims::new(key.public_key(), "ann");
        change(&mut claims);
        claims.sign(account).unwrap()
    };
    let limited = |claims: &mut UserClaims| {
        claims.nats.terms.permissions.publish.allow = vec!["a.>".into(), "r.*".into()];
        claims.nats.terms.permissions.subscribe.deny = vec!["a.b".into()];
        (claims.nats.terms.subs, claims.nats.terms.payload) = (3, 500);
    };
    vec![
        ("@NKEY@", key.public_key().to_owned()),
        // 4 is the quickest.
        ("@HASH@", bcrypt::hash("h", 4).unwrap()),
        ("@OPERATOR@", world.config()),
        ("@JWT@", user(&world.account, |_| {})),
        ("@LIMITED@", user(&world.account, limited)),
        ("@BEARER@", user(&world.account, |claims| claims.nats.terms.bearer_token = true)),
        ("@EXPIRED@", user(&world.account, |claims| claims.exp = now() - 1)),
        ("@STRANGER@", user(&world.stranger, |_| {})),
    ]
}
