//! Conversations in exact bytes: what a client sends after CONNECT, what it sees, and whether it is cut off.

use std::net::SocketAddr;

use bacalhau_nats_server::{Options, Permissions, Rules, Server, User};

use crate::support::{Raw, eventually, options, server};

/// What a conversation must look like: still open, or closed by the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    Open,
    Closed,
}
use Then::{Closed, Open};

pub(crate) const PLAIN: &str = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#;
const VERBOSE: &str = r#"{"verbose":true,"pedantic":false}"#;
const PEDANTIC: &str = r#"{"verbose":false,"pedantic":true}"#;
const NO_ECHO: &str =
    r#"{"verbose":false,"pedantic":false,"echo":false,"headers":true,"no_responders":true}"#;
const OLD: &str = r#"{"verbose":false,"pedantic":false}"#;

/// Plays one conversation. An open one is ended with a PING, whose PONG shows that nothing else came.
fn play(addr: SocketAddr, connect: &str, send: &[u8]) -> (String, Then) {
    let mut raw = Raw::connected(addr, connect);
    raw.send(send);
    raw.send("PING\r\n");
    let _ = raw.stream.shutdown(std::net::Shutdown::Write);
    let seen = raw.rest();
    match seen.strip_suffix("PONG\r\n") {
        Some(seen) => (seen.to_owned(), Open),
        None => (seen, Closed),
    }
}

/// Conversations and their results, for this server and for the comparison with another one.
pub(crate) fn conversations() -> Vec<(&'static str, Vec<u8>, &'static str, bool)> {
    let rows: Vec<(&str, &[u8], &str, Then)> = vec![
        (PLAIN, b"FOO bar\r\n", "-ERR 'Unknown Protocol Operation'\r\n", Closed),
        (PLAIN, b"\r\n", "-ERR 'Unknown Protocol Operation'\r\n", Closed),
        (PLAIN, b"ping\nPINGxyz\r\n", "PONG\r\nPONG\r\n", Open),
        (PLAIN, b"MSG foo 1 2\r\nhi\r\n", "-ERR 'Unknown Protocol Operation'\r\n", Closed),
        (PLAIN, b"RS+ $G foo\r\n", "-ERR 'Unknown Protocol Operation'\r\n", Closed),
        (PLAIN, b"PUB foo 2\r\nhiXX\r\n", "-ERR 'Unknown Protocol Operation'\r\n", Closed),
        (PLAIN, b"PUB\r\n", "-ERR 'Unknown Protocol Operation'\r\n", Closed),
        (PLAIN, b"SUB foo\r\n", "", Closed),
        (PLAIN, b"SUB a b c d\r\n", "", Closed),
        (PLAIN, b"UNSUB 1 2 3\r\n", "", Closed),
        (PLAIN, b"PUB foo\r\n", "", Closed),
        (PLAIN, b"PUB foo -1\r\n", "", Closed),
        (PLAIN, b"PUB foo 99999999999999999999\r\n", "", Closed),
        (PLAIN, b"PUB a b c 2\r\nhi\r\n", "", Closed),
        (PLAIN, b"HPUB foo 20 12\r\n", "", Closed),
        (PLAIN, b"HPUB foo 12\r\n", "", Closed),
        (OLD, b"HPUB foo 12 12\r\nNATS/1.0\r\n\r\n\r\n", "", Closed),
        (PLAIN, b"CONNECT {\"verbose\":}\r\n", "", Closed),
        (PLAIN, b"-ERR 'x'\r\n", "", Closed),
        (PLAIN, b"+OK\r\nINFO {}\r\nPONG\r\n", "", Open),
        (PLAIN, b"INFO x\r\n", "", Closed),
        (PLAIN, b"PUB foo 1048577\r\n", "-ERR 'Maximum Payload Violation'\r\n", Closed),
        (PLAIN, b"HPUB foo 12 1048577\r\n", "-ERR 'Maximum Payload Violation'\r\n", Closed),
        (PLAIN, b"CONNECT {\"protocol\":2}\r\n", "-ERR 'invalid client protocol'\r\n", Closed),
        (PLAIN, b"CONNECT {\"account\":\"A\"}\r\n", "-ERR 'Authorization Violation'\r\n", Closed),
        (
            PLAIN,
            b"CONNECT {\"headers\":false}\r\n",
            "-ERR 'no responders requires headers support'\r\n",
            Closed,
        ),
        (PLAIN, b"SUB foo..bar 1\r\n", "-ERR 'Invalid Subject'\r\n", Open),
        (PLAIN, b"SUB foo.>.bar 1\r\n", "-ERR 'Invalid Subject'\r\n", Open),
        (PEDANTIC, b"PUB foo.* 2\r\nhi\r\n", "-ERR 'Invalid Publish Subject'\r\n", Open),
        (PEDANTIC, b"PUB foo* 2\r\nhi\r\n", "", Open),
        (
            PLAIN,
            b"PUB $NRG.x 2\r\nhi\r\n",
            "-ERR 'Permissions Violation for Publish to \"$NRG.x\"'\r\n",
            Open,
        ),
        (
            PLAIN,
            b"PUB foo _R_.a 2\r\nhi\r\n",
            "-ERR 'Permissions Violation for Publish with Reply of \"_R_.a\"'\r\n",
            Open,
        ),
        (
            PLAIN,
            b"SUB foo _sys_ 1\r\n",
            "-ERR 'Permissions Violation for Subscription to \"foo\" using queue \"_sys_\"'\r\n",
            Open,
        ),
        (PLAIN, b"SUB foo 1\r\nPUB foo 0002\r\nhi\r\n", "MSG foo 1 0002\r\nhi\r\n", Open),
        (PLAIN, b"SUB   foo \t 1\r\nPUB   foo  r  2\nhi\r\n", "MSG foo 1 r 2\r\nhi\r\n", Open),
        (PLAIN, b"SUB a 1\r\nSUB b 1\r\nPUB a 1\r\nA\r\nPUB b 1\r\nB\r\n", "MSG a 1 1\r\nA\r\n", Open),
        (NO_ECHO, b"SUB foo 1\r\nPUB foo 2\r\nhi\r\n", "", Open),
        (
            PLAIN,
            b"SUB inbox 7\r\nPUB nobody inbox 2\r\nhi\r\n",
            "HMSG inbox 7 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n",
            Open,
        ),
        (
            NO_ECHO,
            b"SUB svc 1\r\nSUB inbox 7\r\nPUB svc inbox 2\r\nhi\r\n",
            "HMSG inbox 7 35 35\r\nNATS/1.0 503\r\nNats-Subject: svc\r\n\r\n\r\n",
            Open,
        ),
        (PLAIN, b"PUB nobody inbox 2\r\nhi\r\n", "", Open),
        (
            PLAIN,
            b"SUB foo 1\r\nUNSUB 1 2\r\nPUB foo 1\r\na\r\nPUB foo 1\r\nb\r\nPUB foo 1\r\nc\r\n",
            "MSG foo 1 1\r\na\r\nMSG foo 1 1\r\nb\r\n",
            Open,
        ),
        (
            PLAIN,
            b"SUB foo 1\r\nPUB foo 1\r\na\r\nPUB foo 1\r\nb\r\nUNSUB 1 2\r\nPUB foo 1\r\nc\r\n",
            "MSG foo 1 1\r\na\r\nMSG foo 1 1\r\nb\r\n",
            Open,
        ),
        (
            PLAIN,
            b"SUB foo 1\r\nHPUB foo rep 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n",
            "HMSG foo 1 rep 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n",
            Open,
        ),
        (PLAIN, b"SUB foo 1\r\nHPUB foo 0 2\r\nhi\r\n", "MSG foo 1 2\r\nhi\r\n", Open),
        (
            VERBOSE,
            b"SUB foo 1\r\nPUB foo 2\r\nhi\r\nUNSUB 1\r\n",
            "+OK\r\n+OK\r\nMSG foo 1 2\r\nhi\r\n+OK\r\n",
            Open,
        ),
        (VERBOSE, b"SUB foo.*.>.x 1\r\nUNSUB 9\r\n", "-ERR 'Invalid Subject'\r\n+OK\r\n", Open),
        (PLAIN, b"SUB foo 1\r\nCONNECT {\"verbose\":true}\r\nPUB foo 1\r\nx\r\n", "+OK\r\n+OK\r\n", Open),
        (PLAIN, b"SUB a.> 1\r\nSUB *.* 2\r\nPUB a. 1\r\nx\r\nPUB a..b 1\r\nz\r\n", "", Open),
        (PLAIN, b"SUB \na 1\r\nPUB a 1\r\nx\r\n", "MSG a 1 1\r\nx\r\n", Open),
        (PLAIN, b"CONNECT\n{\"verbose\":true}\r\nUNSUB \n\r\n", "+OK\r\n", Closed),
        (PLAIN, b"SUB a.* 1\r\nSUB a.b 2\r\nPUB a.* 1\r\nx\r\n", "MSG a.* 1 1\r\nx\r\n", Open),
        // A CR inside a line.
        (PLAIN, b"SUB \r a \r 1\r\r\nPUB a 1\r\nx\r\n", "MSG a 1 1\r\nx\r\n", Open),
        (PLAIN, b"PUB a 1\r\r\nx\r\n", "", Closed),
        (PLAIN, b"PUB a b \r 1\r\nx\r\n", "", Closed),
        (PLAIN, b"SUB > 1\r\nPUB a\rb 1\r\nx\r\n", "MSG a\rb 1 1\r\nx\r\n", Open),
        // An id in use is looked at before the subject, permissions before both.
        (VERBOSE, b"SUB a 1\r\nSUB a..b 1\r\n", "+OK\r\n+OK\r\n", Open),
        // Subjects in errors are quoted.
        (
            PLAIN,
            b"PUB $NRG.\xe2\x80\xa8\x01\xff\" 2\r\nhi\r\n",
            "-ERR 'Permissions Violation for Publish to \"$NRG.\\u2028\\x01\\xff\\\"\"'\r\n",
            Open,
        ),
        // JSON as Go reads it.
        (PLAIN, b"CONNECT null\r\nCONNECT \t{} \r\n", "", Open),
        (PLAIN, b"CONNECT []\r\n", "", Closed),
        (PLAIN, b"CONNECT {\"verbose\":false,\"VERBOSE\":true}\r\n", "+OK\r\n", Open),
        (PLAIN, b"CONNECT {\"verbo\xc5\xbfe\":true,\"verbose\":null}\r\n", "+OK\r\n", Open),
        (PLAIN, b"CONNECT {\"v\\u0065rbose\":true}\r\n", "+OK\r\n", Open),
        (PLAIN, b"CONNECT {\"name\":\"\xff\\ud800\",\"x\":\"\\udc00\"}\r\n", "", Open),
        (PLAIN, b"CONNECT {\"name\":1}\r\n", "", Closed),
        (PLAIN, b"CONNECT {\"name\":\"\t\"}\r\n", "", Closed),
        (PLAIN, b"CONNECT {\"Tls_Required\":\"x\"}\r\n", "", Closed),
        (PLAIN, b"CONNECT {\"protocol\":1.0}\r\n", "", Closed),
        (PLAIN, b"CONNECT {\"import\":{\"allow\":[null,\"a\"],\"deny\":null}}\r\n", "", Open),
        (PLAIN, b"CONNECT {\"export\":{\"DENY\":\"a\"}}\r\n", "", Closed),
        // All of a document is judged, and credentials before the protocol.
        (PLAIN, b"CONNECT {\"protocol\":2,\"name\":1}\r\n", "", Closed),
        (
            PLAIN,
            b"CONNECT {\"protocol\":2,\"account\":\"A\"}\r\n",
            "-ERR 'Authorization Violation'\r\n",
            Closed,
        ),
        (PLAIN, b"INFO null\r\nINFO {\"port\":1,\"x\":{}}\r\n", "", Open),
        (PLAIN, b"INFO {\"port\":\"x\"}\r\n", "", Closed),
        (PLAIN, b"INFO {\"Connect_Urls\":[1]}\r\n", "", Closed),
    ];
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|(connect, send, seen, then)| (connect, send.to_vec(), seen, then == Open))
        .collect();
    let long = |line: String| line.into_bytes();
    let control_line = "-ERR 'maximum control line exceeded'\r\n";
    rows.push((PLAIN, long(format!("SUB {} 1\r\n", "a".repeat(4100))), control_line, false));
    rows.push((PLAIN, long(format!("SUB {}", "a".repeat(9000))), control_line, false));
    rows.push((PLAIN, long(format!("SUB {} 1\r\n", "a".repeat(4090))), "", true));
    // The argument counts, with the blanks behind it but without those before it; other lines have no limit.
    rows.push((PLAIN, long(format!("SUB {} 1\r\n", "a".repeat(4094))), "", true));
    rows.push((PLAIN, long(format!("SUB {} 1 \r\n", "a".repeat(4094))), control_line, false));
    rows.push((PLAIN, long(format!("SUB {}a 1\r\n", " ".repeat(9000))), "", true));
    rows.push((PLAIN, long(format!("PONG{}\r\n", " ".repeat(9000))), "", true));
    rows.push((PLAIN, long(format!("+OK{}\r\n", "x".repeat(9000))), "", true));
    rows.push((PLAIN, long(format!("INFO {{{}}}\r\n", "x".repeat(5000))), control_line, false));
    rows.push((
        PLAIN,
        long(format!("CONNECT {{\"name\":\"{}\"}}\r\n", "n".repeat(5000))),
        control_line,
        false,
    ));
    rows
}

#[test]
fn every_row_of_the_table() {
    let server = server();
    for (connect, send, seen, open) in conversations() {
        let expected = (seen.to_owned(), if open { Open } else { Closed });
        assert_eq!(
            play(server.addr(), connect, &send),
            expected,
            "{connect} {:?}",
            String::from_utf8_lossy(&send)
        );
    }
    eventually("closed connections leave no interest behind", || server.stats().subscriptions == 0);
}

#[test]
fn an_id_with_odd_bytes_reaches_no_other_subscription() {
    let server = server();
    let (mut one, mut other) = (Raw::connected(server.addr(), PLAIN), Raw::connected(server.addr(), PLAIN));
    one.send(b"SUB a 1\r\nSUB a \x0c1\r\nUNSUB \x0c1\r\nPING\r\n");
    one.until("PONG\r\n");
    other.send("SUB b 1\r\nPING\r\n");
    other.until("PONG\r\n");
    one.send(b"UNSUB \x0c1\r\nPUB a 1\r\nx\r\nPUB b 1\r\ny\r\n");
    assert_eq!(one.until("x\r\n"), "MSG a 1 1\r\nx\r\n");
    assert_eq!(other.until("y\r\n"), "MSG b 1 1\r\ny\r\n");
}

#[test]
fn any_split_of_a_conversation_gives_the_same() {
    let server = server();
    let send = b"SUB foo 1\r\nHPUB foo rep 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\nPUB foo 3\r\nabc\r\n";
    let mut raw = Raw::connected(server.addr(), PLAIN);
    for byte in send {
        raw.send([*byte]);
    }
    assert_eq!(
        raw.until("abc\r\n"),
        "HMSG foo 1 rep 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\nMSG foo 1 3\r\nabc\r\n"
    );
}

#[test]
fn the_limit_of_a_line_does_not_depend_on_how_it_is_cut() {
    let server = server();
    let mut raw = Raw::connected(server.addr(), PLAIN);
    raw.send("PING");
    for _ in 0..100 {
        raw.send("x".repeat(5000));
    }
    raw.send("\r\nSUB");
    assert_eq!(raw.until("PONG\r\n"), "PONG\r\n");
    for _ in 0..100 {
        raw.send(" ".repeat(5000));
    }
    raw.send("a 1\r\nPUB a 1\r\nx\r\nSUB ");
    assert_eq!(raw.until("x\r\n"), "MSG a 1 1\r\nx\r\n");
    // One byte too many, and the end of the line is not there yet.
    raw.send("a".repeat(4097));
    assert_eq!(raw.rest(), "-ERR 'maximum control line exceeded'\r\n");
}

#[test]
fn a_payload_that_ends_wrong_is_found_with_its_first_wrong_byte() {
    let server = server();
    let mut raw = Raw::connected(server.addr(), PLAIN);
    raw.send("PUB a 2\r\nhiX");
    assert_eq!(raw.rest(), "-ERR 'Unknown Protocol Operation'\r\n");
}

#[test]
fn headers_are_cut_off_for_a_client_without() {
    let server = server();
    let mut old = Raw::connected(server.addr(), OLD);
    old.send("SUB foo 9\r\nPING\r\n");
    old.until("PONG\r\n");
    let mut new = Raw::connected(server.addr(), PLAIN);
    new.send("HPUB foo r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    assert_eq!(old.until("hi\r\n"), "MSG foo 9 r 2\r\nhi\r\n");
}

#[test]
fn info_comes_first_and_again_after_the_first_ping() {
    let server = Server::start(Options { connect_urls: vec!["one:1".into()], ..options() }).unwrap();
    let mut raw = Raw::open(server.addr());
    let first = raw.until("\r\n");
    assert!(
        first.starts_with("INFO {") && first.ends_with("} \r\n") && first.contains(r#""one:1""#),
        "{first}"
    );
    raw.send("CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n");
    assert_eq!(raw.until("\r\n"), "PONG\r\n");
    assert!(raw.until("\r\n").contains(r#""connect_info":true"#));
    let mut zero = Raw::connected(server.addr(), OLD);
    server.set_connect_urls(vec!["two:2".into()]);
    let pushed = raw.until("\r\n");
    assert!(pushed.starts_with("INFO ") && pushed.contains(r#""connect_urls":["two:2"]"#), "{pushed}");
    zero.send("PING\r\n");
    assert_eq!(zero.until("\r\n"), "PONG\r\n", "no INFO for a client that cannot read it");
    assert!(Raw::open(server.addr()).until("\r\n").contains(r#"["two:2"]"#));
}

#[test]
fn before_connect_the_defaults_hold() {
    let server = server();
    let mut raw = Raw::open(server.addr());
    raw.until("\r\n");
    raw.send("SUB foo 1\r\nPUB foo 2\r\nhi\r\nPUB foo.* 1\r\nx\r\nPING\r\n");
    let expected = "+OK\r\n+OK\r\nMSG foo 1 2\r\nhi\r\n-ERR 'Invalid Publish Subject'\r\n+OK\r\nPONG\r\n";
    assert_eq!(raw.until("PONG\r\n"), expected);
}

/// What a client sees that sends this at once, with a PING at the end, after INFO.
fn answers(addr: SocketAddr, send: &str) -> String {
    let mut raw = Raw::open(addr);
    raw.until("\r\n");
    raw.send(format!("{send}PING\r\n"));
    let _ = raw.stream.shutdown(std::net::Shutdown::Write);
    raw.rest()
}

#[test]
fn the_first_connect_keeps_subscriptions_where_it_proves_nothing() {
    let server = server();
    let send = "SUB a 1\r\nCONNECT {\"verbose\":false}\r\nPUB a 1\r\nx\r\nCONNECT {}\r\nPUB a 1\r\ny\r\n";
    assert_eq!(answers(server.addr(), send), "+OK\r\nMSG a 1 1\r\nx\r\nPONG\r\n");
}

#[test]
fn another_connect_keeps_the_credentials_that_it_does_not_name() {
    let (mut users, mut limited) = (vec![User::new("u", "p"), User::new("v", "q")], User::new("w", "r"));
    limited.permissions = Some(Permissions { publish: Rules::only(["w"]), ..Permissions::default() });
    users.push(limited);
    let server = Server::start(Options { users, ..options() }).unwrap();
    let refused = "-ERR 'Authorization Violation'\r\n";
    let log_in = |more: &str| {
        answers(
            server.addr(),
            &format!("CONNECT {{\"user\":\"u\",\"pass\":\"p\",\"verbose\":false}}\r\n{more}"),
        )
    };
    for good in
        ["{}", "null", r#"{"user":null,"name":"n"}"#, r#"{"user":"v","pass":"q"}"#, r#"{"auth_token":"x"}"#]
    {
        assert_eq!(log_in(&format!("CONNECT {good}\r\n")), "PONG\r\n", "{good}");
    }
    for bad in [r#"{"user":"v"}"#, r#"{"pass":"q"}"#, r#"{"user":""}"#, r#"{"pass":""}"#] {
        assert_eq!(log_in(&format!("CONNECT {bad}\r\n")), refused, "{bad}");
    }
    let said = log_in("CONNECT {\"user\":\"w\",\"pass\":\"r\"}\r\nCONNECT {}\r\nPUB a 0\r\n\r\n");
    assert_eq!(said, "-ERR 'Permissions Violation for Publish to \"a\"'\r\nPONG\r\n");
}

#[test]
fn whoever_is_taken_for_a_user_has_its_credentials() {
    let users = vec![User::new("nobody", "p"), User::new("u", "p")];
    let options = Options { users, no_auth_user: Some("nobody".into()), ..options() };
    let server = Server::start(options).unwrap();
    let first = "CONNECT {\"verbose\":false,\"protocol\":1}\r\n";
    for before in [first, "UNSUB 1\r\nCONNECT {\"verbose\":false}\r\n"] {
        for good in ["{}", r#"{"auth_token":"x"}"#, r#"{"nkey":"x"}"#, r#"{"user":"nobody"}"#] {
            let said = answers(server.addr(), &format!("{before}CONNECT {good}\r\n"));
            assert!(said.contains("PONG\r\n"), "{before} {good}: {said}");
        }
        for bad in [r#"{"pass":"x"}"#, r#"{"user":""}"#, r#"{"user":"x"}"#] {
            let said = answers(server.addr(), &format!("{before}CONNECT {bad}\r\n"));
            assert!(said.ends_with("-ERR 'Authorization Violation'\r\n"), "{before} {bad}: {said}");
        }
    }
    let said = answers(server.addr(), "SUB a 1\r\nCONNECT {\"verbose\":false}\r\nPUB a 1\r\nx\r\n");
    assert_eq!(said, "+OK\r\nPONG\r\n", "it had logged in before");
    let said = answers(server.addr(), &format!("PING\r\n{first}"));
    assert_eq!(said, "PONG\r\nPONG\r\n", "with its first PING it was of the old protocol");
}

#[test]
fn another_connect_drops_very_many_subscriptions_at_once() {
    const COUNT: usize = 20_000;
    // The server asks whether they live when this takes more than two seconds.
    let unasked = |said: String| said.replace("PING\r\n", "");
    let server = server();
    let mut raw = Raw::connected(server.addr(), PLAIN);
    let subs: String = (0..COUNT).map(|id| format!("SUB a.{} {id}\r\n", id % 100)).collect();
    raw.send(format!("{subs}SUB r many\r\nSUB q g m\r\nPING\r\n"));
    raw.until("PONG\r\n");
    let mut other = Raw::connected(server.addr(), PLAIN);
    other.send("SUB q g o\r\nSUB r 1\r\nPING\r\n");
    other.until("PONG\r\n");
    // Twice, while those of the first time may still be there.
    for round in 0..2 {
        raw.send(
            "CONNECT {}\r\nPUB a.7 1\r\nx\r\nPUB q r 1\r\nx\r\nPUB a.8 r 0\r\n\r\nSUB a.7 7\r\nSUB r many\r\n\
             PUB a.7 1\r\ny\r\nPUB a.8 r 0\r\n\r\nPING\r\n",
        );
        let expected =
            "MSG a.7 7 1\r\ny\r\nHMSG r many 35 35\r\nNATS/1.0 503\r\nNats-Subject: a.8\r\n\r\n\r\nPONG\r\n";
        assert_eq!(unasked(raw.until("PONG\r\n")), expected, "{round}");
        other.send("PING\r\n");
        assert_eq!(unasked(other.until("PONG\r\n")), "MSG q o r 1\r\nx\r\nPONG\r\n", "{round}");
        raw.send(format!("{subs}PING\r\n"));
        raw.until("PONG\r\n");
    }
    raw.send("CONNECT {}\r\nSUB a.1 1\r\nPING\r\n");
    raw.until("PONG\r\n");
    eventually("all old ones are gone", || server.stats().subscriptions == 3);
    raw.send("UNSUB 1\r\nCONNECT {}\r\n");
    raw.send(format!("{subs}CONNECT {{}}\r\n{subs}"));
    let _ = raw.stream.shutdown(std::net::Shutdown::Write);
    assert_eq!(unasked(raw.rest()), "");
    eventually("and those of a connection that is gone", || server.stats().subscriptions == 2);
}

#[test]
fn credentials() {
    let token = Server::start(Options { token: Some("s3cr".into()), ..options() }).unwrap();
    let users = vec![User::new("u", "p")];
    let user = Server::start(Options { users, ..options() }).unwrap();
    let refused = "-ERR 'Authorization Violation'\r\n";
    let try_with = |addr, send: &str| {
        let mut raw = Raw::open(addr);
        assert!(raw.until("\r\n").contains(r#""auth_required":true"#));
        raw.send(send);
        raw.rest()
    };
    for (server, good) in [(&token, r#""auth_token":"s3cr""#), (&user, r#""user":"u","pass":"p""#)] {
        let mut raw = Raw::connected(server.addr(), &format!("{{\"verbose\":false,{good}}}"));
        raw.send("CONNECT {\"auth_token\":\"other\",\"pass\":\"other\"}\r\n");
        assert_eq!(raw.rest(), refused, "a second login is checked like the first");
        for bad in ["PING\r\n", "SUB a 1\r\n", "CONNECT {}\r\n", "\r\n", "CONNECT {\"auth_token\":\"x\"}\r\n"]
        {
            assert_eq!(try_with(server.addr(), bad), refused, "{bad:?}");
        }
        eventually("counted", || server.stats().auth_failures == 6);
    }
    // What else a client shows does not matter to a server with a token only.
    Raw::connected(
        token.addr(),
        r#"{"verbose":false,"user":"x","pass":"y","nkey":"UX","auth_token":"s3cr"}"#,
    );
}
