//! Operator mode: the same users to this server and to the reference server named by `NATS_SERVER_BIN`; both must
//! decide, and say, the same. The reference reads documents that were made here, so it checks those, too.

use async_nats::ConnectOptions;
use bacalhau_nats_server::jwt::{AccountClaims, Creds, Role, SigningKey, TimeRange, UserClaims};
use bacalhau_nats_server::{Options, Server};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;

use crate::support::{PATIENCE, Raw, eventually};
use crate::world::{TempFile, User, World, key, now};

const REFUSED: &str = "-ERR 'Authorization Violation'\r\n";

/// A user with a document of the first version, in which only the second part is signed.
fn first_version(world: &World, algorithm: &str) -> User {
    let keys = key(Role::User);
    let header = format!(r#"{{"typ":"jwt","alg":"{algorithm}"}}"#);
    let claims = serde_json::json!({
        "jti": "X", "iat": now(), "iss": world.account.public_key(), "sub": keys.public_key(), "name": "old",
        "type": "user", "nats": {"pub": {}, "sub": {}}
    });
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    let signature = URL_SAFE_NO_PAD.encode(world.account.sign(payload.as_bytes()));
    User { jwt: format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header)), keys, signs: true }
}

/// Users, what they send, and what they must hear.
fn rows(world: &World) -> Vec<(&'static str, User, String, String)> {
    let pong = "PONG\r\n".to_owned();
    let mut rows = Vec::new();
    let mut row = |name, user, send: &str, hears: String| rows.push((name, user, send.to_owned(), hears));
    let plain = |change: fn(&mut UserClaims)| world.user(&world.account, change);
    let refused = || REFUSED.to_owned();
    row("good", plain(|_| {}), "SUB a 1\r\nPUB a 2\r\nhi\r\n", format!("MSG a 1 2\r\nhi\r\n{pong}"));
    row("by a signing key", world.user(&world.signing, |_| {}), "", pong.clone());
    row("no issuer_account", world.user(&world.signing, |c| c.nats.issuer_account.clear()), "", refused());
    let full = "-ERR 'maximum account active connections exceeded'\r\n".to_owned();
    row("no connections", world.user(&world.empty, |_| {}), "", full);
    row("unknown account", world.user(&world.stranger, |_| {}), "", refused());
    let borrowed = world.account.public_key().to_owned();
    row("unknown signer", world.user(&world.stranger, |c| c.nats.issuer_account = borrowed), "", refused());
    row("expired", plain(|c| c.exp = now() - 1), "", refused());
    row("not yet", plain(|c| c.nbf = now() + 60), "", refused());
    row("not expired", plain(|c| (c.exp, c.nbf) = (now() + 60, now() - 60)), "", pong.clone());
    row("signature of somebody else", User { keys: key(Role::User), ..plain(|_| {}) }, "", refused());
    row("no signature", User { signs: false, ..plain(|_| {}) }, "", refused());
    let bearer = |c: &mut UserClaims| c.nats.terms.bearer_token = true;
    row("bearer", User { signs: false, ..plain(bearer) }, "", pong.clone());
    row(
        "bearer where not allowed",
        User { signs: false, ..world.user(&world.narrow, bearer) },
        "",
        refused(),
    );
    let types = |list: &'static [&str]| {
        world.user(&world.account, |c| {
            c.nats.terms.allowed_connection_types = list.iter().map(|name| (*name).to_owned()).collect();
        })
    };
    row("type allowed", types(&["STANDARD", "WEBSOCKET"]), "", pong.clone());
    row("type not allowed", types(&["WEBSOCKET"]), "", refused());
    row("type unknown", types(&["CARRIER_PIGEON"]), "", refused());
    row("network", plain(|c| c.nats.terms.src = vec!["127.0.0.0/8".into()]), "", pong.clone());
    row("other network", plain(|c| c.nats.terms.src = vec!["10.0.0.0/8".into()]), "", refused());
    row("bad network", plain(|c| c.nats.terms.src = vec!["10.0.0.0".into()]), "", refused());
    let times = |start: &'static str, end: &'static str, zone: &'static str| {
        world.user(&world.account, |c| {
            c.nats.terms.times = vec![TimeRange { start: start.into(), end: end.into() }];
            c.nats.terms.times_location = zone.into();
        })
    };
    row("always", times("00:00:00", "23:59:59", "UTC"), "", pong.clone());
    row("always, here", times("00:00:00", "23:59:59", ""), "", pong.clone());
    row("never", times("00:00:00", "00:00:00", "UTC"), "", refused());
    row("nowhere", times("00:00:00", "23:59:59", "Not/There"), "", refused());
    let mut damaged = plain(|_| {});
    damaged.jwt.pop();
    row("damaged", damaged, "", refused());
    row("no document", User { jwt: String::new(), ..plain(|_| {}) }, "", refused());
    row("first version", first_version(world, "ed25519"), "SUB a 1\r\n", pong.clone());
    row("first version, other algorithm", first_version(world, "HS256"), "", refused());
    let account_jwt = world.resolver[world.account.public_key()].clone();
    row("document of the account", User { jwt: account_jwt, ..plain(|_| {}) }, "", refused());
    let denied = |what: &str, subject: &str| {
        format!("-ERR 'Permissions Violation for {what} \"{subject}\"'\r\n{pong}")
    };
    let rules = |c: &mut UserClaims| {
        c.nats.terms.permissions.publish.allow = vec!["a".into(), "b.*".into()];
        c.nats.terms.permissions.publish.deny = vec!["b.no".into()];
        c.nats.terms.permissions.subscribe.deny = vec!["x".into()];
    };
    row("may publish", plain(rules), "SUB b.c 1\r\nPUB b.c 0\r\n\r\n", format!("MSG b.c 1 0\r\n\r\n{pong}"));
    row("may not publish", plain(rules), "PUB b.no 0\r\n\r\n", denied("Publish to", "b.no"));
    row("may not publish", plain(rules), "PUB c 0\r\n\r\n", denied("Publish to", "c"));
    row("may not subscribe", plain(rules), "SUB x 1\r\n", denied("Subscription to", "x"));
    let too_many = format!("-ERR 'maximum subscriptions exceeded'\r\n{pong}");
    let too_large = "-ERR 'Maximum Payload Violation'\r\n".to_owned();
    let (two, large) = ("SUB a 1\r\nSUB b 2\r\n", "PUB a 5\r\nhello\r\n");
    row("own subscriptions", plain(|c| c.nats.terms.subs = 1), two, too_many.clone());
    row("own payload", plain(|c| c.nats.terms.payload = 4), large, too_large.clone());
    row("subscriptions of the account", world.user(&world.narrow, |_| {}), two, too_many);
    row("payload of the account", world.user(&world.narrow, |_| {}), large, too_large);
    let secret = "PUB secret 0\r\n\r\n";
    row("default permissions", world.user(&world.narrow, |_| {}), secret, denied("Publish to", "secret"));
    let scoped = |change: fn(&mut UserClaims)| world.user(&world.scoped, change);
    row("scoped", scoped(|_| {}), "PUB ann.x 0\r\n\r\n", pong.clone());
    row("scoped", scoped(|_| {}), "PUB bob.x 0\r\n\r\n", denied("Publish to", "bob.x"));
    row("scoped", scoped(|_| {}), "SUB red.main.x 1\r\n", denied("Subscription to", "red.main.x"));
    let user = scoped(|_| {});
    let own = format!("SUB red.main.{} 1\r\n", user.keys.public_key());
    row("scoped", user, &own, pong);
    row("scoped with own terms", scoped(|c| c.nats.terms.subs = -1), "", refused());
    rows
}

#[test]
fn every_user_hears_what_it_must() {
    let world = World::new();
    let ours = world.server();
    let reference = world.reference();
    for (name, user, send, hears) in rows(&world) {
        assert_eq!(user.talk(ours.addr(), &send), hears, "{name}");
        if let Some((reference, _)) = &reference {
            // The place of the one connection that the narrow account may have is given back a moment later.
            let mut said = String::new();
            eventually("a place in the account", || {
                said = user.talk(reference.addr, &send);
                said == hears || !said.contains("active connections")
            });
            assert_eq!(said, hears, "{name}: the reference");
        }
    }
}

#[test]
fn revoked_and_expired_accounts_refuse() {
    let mut world = World::new();
    let user = world.user(&world.account, |_| {});
    let later = world.user(&world.account, |c| c.iat = now() + 100);
    let mut claims = world.main_account();
    claims.nats.revocations.insert("*".into(), now() + 50);
    world.add(claims, None);
    let expired = key(Role::Account);
    let mut claims = AccountClaims::new(expired.public_key(), "expired");
    claims.exp = now() - 5;
    world.add(claims, None);
    let of_expired = world.user(&expired, |_| {});
    let ours = world.server();
    let mut addrs = vec![ours.addr()];
    let reference = world.reference();
    addrs.extend(reference.iter().map(|(reference, _)| reference.addr));
    for addr in addrs {
        assert_eq!(user.talk(addr, ""), REFUSED);
        assert_eq!(later.talk(addr, ""), "PONG\r\n");
        assert_eq!(of_expired.talk(addr, ""), REFUSED);
    }
}

#[test]
fn whose_time_is_over_is_told_and_cut_off() {
    let mut world = World::new();
    let brief = key(Role::Account);
    let mut claims = AccountClaims::new(brief.public_key(), "brief");
    claims.exp = now() + 6;
    world.add(claims, None);
    let by_account = world.user(&brief, |_| {});
    let ours = world.server();
    let mut addrs = vec![ours.addr()];
    let reference = world.reference();
    addrs.extend(reference.iter().map(|(reference, _)| reference.addr));
    let by_user = world.user(&world.account, |c| c.exp = now() + 3);
    let mut open: Vec<_> =
        addrs.iter().flat_map(|addr| [by_user.log_in(*addr), by_account.log_in(*addr)]).collect();
    for raw in &mut open {
        raw.send("PING\r\n");
        raw.until("PONG\r\n");
    }
    for pair in open.chunks_mut(2) {
        // The reference may have sent a PING of its own meanwhile.
        let heard = |raw: &mut Raw| raw.rest().replace("PING\r\n", "");
        assert_eq!(heard(&mut pair[0]), "-ERR 'User Authentication Expired'\r\n");
        assert_eq!(heard(&mut pair[1]), "-ERR 'Account Authentication Expired'\r\n");
    }
    eventually("gone", || ours.stats().connections == 0);
}

#[test]
fn an_account_has_only_so_many_connections() {
    let world = World::new();
    let ours = world.server();
    let mut addrs = vec![ours.addr()];
    let reference = world.reference();
    addrs.extend(reference.iter().map(|(reference, _)| reference.addr));
    let user = world.user(&world.narrow, |_| {});
    for addr in addrs {
        let mut first = user.log_in(addr);
        first.send("PING\r\n");
        first.until("PONG\r\n");
        assert_eq!(user.talk(addr, ""), "-ERR 'maximum account active connections exceeded'\r\n");
        // The one that is in may log in again; its place is its own.
        drop(first);
        eventually("the place is free", || user.talk(addr, "").ends_with("PONG\r\n"));
    }
}

#[test]
fn accounts_change_while_the_server_runs() {
    let world = World::new();
    let server = world.server();
    let sign = |claims: AccountClaims| claims.sign(&world.operator).unwrap();
    let settled = |user: &User| {
        let mut raw = user.log_in(server.addr());
        raw.send("PING\r\n");
        raw.until("PONG\r\n");
        raw
    };
    // A new account.
    let new = key(Role::Account);
    let stranger = world.user(&new, |_| {});
    assert_eq!(stranger.talk(server.addr(), ""), REFUSED);
    server.update_account(&sign(AccountClaims::new(new.public_key(), "new"))).unwrap();
    eventually("the account is known", || {
        stranger.talk(server.addr(), "SUB a 1\r\nPUB a 0\r\n\r\n") == "MSG a 1 0\r\n\r\nPONG\r\n"
    });
    // A change that says nothing about a user leaves it alone; a revocation does not.
    let (bad, good) = (world.user(&world.account, |_| {}), world.user(&world.account, |_| {}));
    let by_signing_key = world.user(&world.signing, |_| {});
    let scoped = world.user(&world.scoped, |_| {});
    let (mut one, mut other) = (settled(&bad), settled(&good));
    let (mut signed, mut templated) = (settled(&by_signing_key), settled(&scoped));
    let mut claims = world.main_account();
    claims.nats.revocations.insert(bad.keys.public_key().into(), now() + 1);
    claims.nats.signing_keys.remove(0);
    let SigningKey::Scoped(scope) = &mut claims.nats.signing_keys[0] else { panic!("not scoped") };
    scope.template.permissions.publish.allow.push("more".into());
    server.update_account(&sign(claims.clone())).unwrap();
    assert_eq!(one.rest(), "-ERR 'User Authentication Revoked'\r\n");
    assert_eq!(signed.rest(), "");
    assert_eq!(templated.rest(), "");
    assert_eq!(bad.talk(server.addr(), ""), REFUSED);
    other.send("PING\r\n");
    assert_eq!(other.until("PONG\r\n"), "PONG\r\n");
    // Limits hold at once, and the newest connections go.
    let mut newest = settled(&good);
    claims.nats.limits.conn = 1;
    claims.nats.limits.payload = 1;
    server.update_account(&sign(claims.clone())).unwrap();
    assert_eq!(newest.rest(), "-ERR 'maximum account active connections exceeded'\r\n");
    claims.nats.limits.conn = -1;
    server.update_account(&sign(claims.clone())).unwrap();
    other.send("PUB a 2\r\n");
    assert_eq!(other.rest(), "-ERR 'Maximum Payload Violation'\r\n");
    // An account that ends.
    let mut last = settled(&good);
    claims.exp = now() - 1;
    server.update_account(&sign(claims)).unwrap();
    assert_eq!(last.rest(), "-ERR 'Account Authentication Expired'\r\n");
    let foreign = AccountClaims::new(world.account.public_key(), "x").sign(&key(Role::Operator)).unwrap();
    assert!(server.update_account(&foreign).unwrap_err().to_string().contains("operator"));
    assert!(server.update_account("nonsense").is_err());
    assert!(
        crate::support::server().update_account(&foreign).unwrap_err().to_string().contains("no operator")
    );
}

#[test]
fn accounts_do_not_hear_each_other_and_are_told_their_name() {
    let world = World::new();
    let server = world.server();
    let other_account = key(Role::Account);
    let jwt = AccountClaims::new(other_account.public_key(), "other").sign(&world.operator).unwrap();
    server.update_account(&jwt).unwrap();
    let listener = world.user(&other_account, |_| {});
    eventually("the account is known", || listener.talk(server.addr(), "").ends_with("PONG\r\n"));
    let mut raw = listener.log_in_with(server.addr(), "\"protocol\":1");
    raw.send("SUB > 1\r\nPING\r\n");
    raw.until("PONG\r\n");
    let info = raw.until("\r\n");
    assert!(info.contains(&format!("\"remote_account\":\"{}\"", other_account.public_key())), "{info}");
    let sender = world.user(&world.account, |_| {});
    assert_eq!(sender.talk(server.addr(), "PUB a 0\r\n\r\n"), "PONG\r\n");
    raw.send("PING\r\n");
    assert_eq!(raw.until("PONG\r\n"), "PONG\r\n");
}

#[tokio::test]
async fn a_public_client_with_a_credentials_file() {
    let world = World::new();
    let server = world.server();
    let user = world.user(&world.signing, |_| {});
    let file = TempFile::new("creds", &Creds::new(user.jwt, user.keys).unwrap().to_text());
    let mut addrs = vec![server.addr()];
    let reference = world.reference();
    addrs.extend(reference.iter().map(|(reference, _)| reference.addr));
    for addr in addrs {
        let options = ConnectOptions::with_credentials_file(&file.path).await.unwrap();
        let client = options.connect(addr.to_string()).await.unwrap();
        let mut sub = client.subscribe("a").await.unwrap();
        client.publish("a", "hi".into()).await.unwrap();
        let message = tokio::time::timeout(PATIENCE, sub.next()).await.unwrap().unwrap();
        assert_eq!(message.payload, "hi");
        assert!(async_nats::connect(addr.to_string()).await.is_err());
    }
}

#[test]
fn an_operator_alone() {
    let world = World::new();
    let both = Options { token: Some("t".into()), ..world.options() };
    assert!(Server::start(both).unwrap_err().to_string().contains("token"));
    let mut claims = AccountClaims::new(world.stranger.public_key(), "x");
    claims.nats.limits.conn = 0;
    let mut foreign = world.options();
    let jwt = claims.sign(&key(Role::Operator)).unwrap();
    foreign.operator.as_mut().unwrap().resolver.insert(world.stranger.public_key().into(), jwt);
    let text = Server::start(foreign).unwrap_err().to_string();
    assert!(text.contains(world.stranger.public_key()) && text.contains("operator"), "{text}");
}
