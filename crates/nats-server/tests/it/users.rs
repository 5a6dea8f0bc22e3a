//! Users that change while the server runs.

use std::net::SocketAddr;
use std::time::Duration;

use bacalhau_nats_server::jwt::{KeyPair, Role};
use bacalhau_nats_server::{NkeyUser, Options, Permissions, Rules, Server, User};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::support::{Raw, options, server};
use crate::wire::PLAIN;

pub(crate) fn user(key: &KeyPair, subjects: &[&str]) -> NkeyUser {
    let rules = Rules::only(subjects.iter().copied());
    let permissions = Permissions { publish: rules.clone(), subscribe: rules, allow_responses: None };
    NkeyUser { permissions: Some(permissions), ..NkeyUser::new(key.public_key()) }
}

/// Logs in with a key; what the server says to it.
pub(crate) fn log_in(server: &Server, key: &KeyPair) -> (Raw, String) {
    log_in_at(server.addr(), key)
}

/// The same at any server.
pub(crate) fn log_in_at(addr: SocketAddr, key: &KeyPair) -> (Raw, String) {
    let mut raw = Raw::open(addr);
    let info = raw.until("\r\n");
    let info: serde_json::Value = serde_json::from_str(info.trim_start_matches("INFO ")).unwrap();
    let signature = URL_SAFE_NO_PAD.encode(key.sign(info["nonce"].as_str().unwrap_or_default().as_bytes()));
    let public = key.public_key();
    raw.send(format!(
        "CONNECT {{\"verbose\":false,\"nkey\":\"{public}\",\"sig\":\"{signature}\"}}\r\nPING\r\n"
    ));
    let said = raw.until("\r\n");
    (raw, said)
}

#[test]
fn nkeys_come_and_go() {
    let server = server();
    let mut open = Raw::connected(server.addr(), PLAIN);
    let (one, two) = (KeyPair::generate(Role::User).unwrap(), KeyPair::generate(Role::User).unwrap());
    server.set_nkeys(vec![user(&one, &["one.>"])]).unwrap();
    assert_eq!(open.rest(), "-ERR 'User Authentication Revoked'\r\n", "it has shown nothing");
    let mut stranger = Raw::open(server.addr());
    stranger.until("\r\n");
    stranger.send(format!("CONNECT {PLAIN}\r\nPING\r\n"));
    assert_eq!(stranger.rest(), "-ERR 'Authorization Violation'\r\n");
    let (mut first, said) = log_in(&server, &one);
    assert_eq!(said, "PONG\r\n");
    first.send("PUB two.x 0\r\n\r\nSUB > 1\r\nPUB one.x 0\r\n\r\nPING\r\n");
    let said = first.until("PONG\r\n");
    assert!(said.contains("Publish to \"two.x\"") && said.contains("Subscription to \">\""), "{said}");
    assert!(!said.contains("one.x"), "{said}");
    // The other one is let in as well, then the first one is not any more.
    server.set_nkeys(vec![user(&one, &["one.>"]), user(&two, &["two.>"])]).unwrap();
    let (mut second, said) = log_in(&server, &two);
    assert_eq!(said, "PONG\r\n");
    server.set_nkeys(vec![user(&two, &["two.>"])]).unwrap();
    assert_eq!(first.rest(), "-ERR 'User Authentication Revoked'\r\n");
    second.send("PING\r\n");
    second.until("PONG\r\n");
    let (_, said) = log_in(&server, &one);
    assert_eq!(said, "-ERR 'Authorization Violation'\r\n");
    server.set_nkeys(Vec::new()).unwrap();
    assert_eq!(second.rest(), "-ERR 'User Authentication Revoked'\r\n");
    let mut stranger = Raw::open(server.addr());
    stranger.until("\r\n");
    stranger.send(format!("CONNECT {PLAIN}\r\nPING\r\n"));
    assert_eq!(stranger.rest(), "-ERR 'Authorization Violation'\r\n", "the door stays closed");
    server.set_nkeys(vec![user(&two, &["two.>"])]).unwrap();
    let (mut second, _) = log_in(&server, &two);
    let broken = NkeyUser::new("nonsense");
    assert!(server.set_nkeys(vec![broken]).unwrap_err().to_string().contains("nonsense"));
    second.send("PING\r\n");
    second.until("PONG\r\n");
}

#[test]
fn a_token_goes_on_beside_nkeys() {
    let server = Server::start(Options { token: Some("t".into()), ..options() }).unwrap();
    let mut with_token = Raw::connected(server.addr(), "{\"verbose\":false,\"auth_token\":\"t\"}");
    let key = KeyPair::generate(Role::User).unwrap();
    server.set_nkeys(vec![user(&key, &["a"])]).unwrap();
    assert_eq!(log_in(&server, &key).1, "PONG\r\n");
    server.set_nkeys(Vec::new()).unwrap();
    with_token.send("PING\r\n");
    assert_eq!(with_token.until("PONG\r\n"), "PONG\r\n");
}

/// Each password takes long to check, and all together much longer than a client has for its first word.
#[test]
fn who_waits_for_the_check_of_its_password_is_not_late() {
    let users = vec![User::new("u", bcrypt::hash("p", 12).unwrap())];
    let server = Server::start(Options { users, auth_timeout: Duration::from_secs(2), ..options() }).unwrap();
    let connected = || {
        let mut client = Raw::open(server.addr());
        client.send("CONNECT {\"verbose\":false,\"user\":\"u\",\"pass\":\"p\"}\r\nPING\r\n");
        client
    };
    let mut all: Vec<Raw> = (0..10).map(|_| connected()).collect();
    for client in &mut all {
        assert!(client.until("PONG\r\n").ends_with("PONG\r\n"));
    }
}

#[test]
fn messages_that_may_not_be_sent_are_counted_for_their_sender() {
    let permissions = Some(Permissions { publish: Rules::only(["a"]), ..Permissions::default() });
    let users = vec![User { permissions, ..User::new("u", "p") }];
    let server = Server::start(Options { users, ..options() }).unwrap();
    let mut client = Raw::connected(server.addr(), r#"{"verbose":false,"user":"u","pass":"p"}"#);
    client.send("PUB a 2\r\nhi\r\nPUB b 3\r\nbye\r\nPING\r\n");
    assert!(client.until("PONG\r\n").contains("Permissions Violation"));
    let stats = server.stats();
    assert_eq!((stats.in_msgs, stats.in_bytes, stats.out_msgs), (2, 5, 0));
}
