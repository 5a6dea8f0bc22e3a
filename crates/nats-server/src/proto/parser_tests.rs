//! The parser on whole lines; streams in pieces are tested with `inbound`.

use super::*;

const LIMITS: Limits = Limits { control_line: 4096, payload: 1024, connect_only: false, headers: true };

fn fault(input: &str) -> Option<Fault> {
    match parse(input.as_bytes(), &LIMITS) {
        Step::Fail(fault) => Some(fault),
        _ => None,
    }
}

fn publication(input: &str) -> Publish<'_> {
    match parse(input.as_bytes(), &LIMITS) {
        Step::Op(Op::Publish(publish), used) if used == input.len() => publish,
        other => panic!("{other:?}"),
    }
}

#[test]
fn verbs_in_any_case_and_their_prefixes() {
    for line in ["PING\r\n", "ping\n", "pInGxyz\r\n"] {
        assert_eq!(parse(line.as_bytes(), &LIMITS), Step::Op(Op::Ping, line.len()));
    }
    for part in ["", "P", "pI", "PUB", "U", "CONNEC", "-ER", "+", "SUB foo 1", "CONNECT {"] {
        assert_eq!(parse(part.as_bytes(), &LIMITS), Step::Need(0), "{part}");
    }
    for bad in ["X", "PX", "PUX", "PUBfoo", "SUBx", "\r\n", "MSG", "HMSG", "RS+", "LS+", "A+", "+X", "-X"] {
        assert_eq!(fault(bad), Some(Fault::UnknownOperation), "{bad}");
    }
}

#[test]
fn publish_parts() {
    let plain = publication("PUB foo 0002\r\nhi\r\n");
    assert_eq!((plain.subject, plain.reply, plain.body), (&b"foo"[..], None, &b"hi"[..]));
    assert_eq!((plain.sizes.total, plain.forward), (&b"0002"[..], Some(&b"0002\r\nhi\r\n"[..])));
    assert_eq!(plain.frame, b"foo 0002\r\nhi");
    let full = publication("HPUB a.b  rep 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
    assert_eq!((full.subject, full.reply), (&b"a.b"[..], Some(&b"rep"[..])));
    assert_eq!((full.headers, full.body), (Some(&b"NATS/1.0\r\nA: b\r\n\r\n"[..]), &b"hi"[..]));
    assert!(full.forward.unwrap().starts_with(b"rep 18 20\r\nNATS"));
    assert!(full.frame.get(full.reply_at..).unwrap().starts_with(b"rep 18"));
}

#[test]
fn odd_blanks_are_not_forwarded() {
    for odd in ["PUB a r  2\r\nhi\r\n", "PUB a\tr\t2\r\nhi\r\n", "PUB a 2 \r\nhi\r\n", "PUB a 2\nhi\r\n"] {
        assert_eq!(publication(odd).forward, None, "{odd:?}");
    }
}

#[test]
fn need_tells_the_whole_length() {
    assert_eq!(parse(b"PUB a 5\r\nhe", &LIMITS), Step::Need(16));
    assert_eq!(parse(b"PUB a 5\r", &LIMITS), Step::Need(0));
}

#[test]
fn bad_arguments_close_silently() {
    for bad in [
        "PUB foo\r\n",
        "PUB foo -1\r\n",
        "PUB foo abc\r\n",
        "PUB a b c 2\r\n",
        "PUB\r\n",
        "PUB foo 1234567890\r\n",
        "SUB foo\r\n",
        "SUB a b c d\r\n",
        "UNSUB 1 2 3\r\n",
        "UNSUB \r\n",
        "HPUB foo 12\r\n",
        "HPUB foo 20 12\r\n",
        "PUB foo 99999999999999999999\r\n",
        "HPUB a b c 1 2\r\n",
    ] {
        let expected = if bad == "PUB\r\n" { Fault::UnknownOperation } else { Fault::Malformed };
        assert_eq!(fault(bad), Some(expected), "{bad}");
    }
    assert_eq!(
        parse(b"HPUB foo 0 2\r\n", &Limits { headers: false, ..LIMITS }),
        Step::Fail(Fault::Malformed)
    );
}

#[test]
fn limits() {
    assert_eq!(fault("PUB foo 1025\r\n"), Some(Fault::MaxPayload));
    assert_eq!(fault("HPUB foo 12 1025\r\n"), Some(Fault::MaxPayload));
    for wrong in ["PUB foo 2\r\nhiXX", "PUB foo 2\r\nhiX", "PUB foo 2\r\nhi\rX"] {
        assert_eq!(fault(wrong), Some(Fault::UnknownOperation));
    }
    assert_eq!(fault(&format!("SUB {} 1\r\n", "a".repeat(4100))), Some(Fault::ControlLine));
    assert_eq!(fault(&format!("SUB {}", "a".repeat(4100))), Some(Fault::ControlLine));
    assert_eq!(fault(&format!("SUB {} 1\r\n", "a".repeat(4090))), None);
    assert_eq!(
        fault(&format!("CONNECT {{\"name\":\"{}\"}}\r\n", "n".repeat(5000))),
        Some(Fault::ControlLine)
    );
}

/// The limit counts the argument, whether the line is complete or not.
#[test]
fn a_line_that_is_too_long_is_so_from_its_first_byte_too_many() {
    let limits = Limits { control_line: 4, ..LIMITS };
    let step = |input: &'static str| parse(input.as_bytes(), &limits);
    for fits in ["SUB a 22", "SUB a 22\r", "SUB     a 22", "SUB a 2 ", "PINGxxxxxxxxx", "+OK xxxxxxx"] {
        assert_eq!(step(fits), Step::Need(0), "{fits}");
    }
    for whole in ["SUB a 22\r\n", "SUB a 22\n", "SUB       a 22\r\n", "SUB a 2 \r\n", "PING xxxxxxxx\r\n"] {
        assert!(matches!(step(whole), Step::Op(..)), "{whole}");
    }
    for long in [
        "SUB a 22 ",
        "SUB a 22\rx",
        "SUB a 22 \r\n",
        "SUB a 22\r\r\n",
        "-ERR 'abcd",
        "CONNECT{    ",
        "INFO 12345",
    ] {
        assert_eq!(step(long), Step::Fail(Fault::ControlLine), "{long}");
    }
}

#[test]
fn an_argument_may_begin_with_a_line_end() {
    let sub = Op::Subscribe { subject: b"a", queue: None, sid: b"1" };
    assert_eq!(parse(b"SUB \na 1\r\nPING", &LIMITS), Step::Op(sub, 10));
    assert_eq!(parse(b"CONNECT\n{}\n", &LIMITS), Step::Op(Op::Connect(b"{}"), 11));
    assert_eq!(fault("PUB \na 2\r\nhi\r\n"), Some(Fault::Malformed));
    assert_eq!(parse(b"UNSUB \n", &LIMITS), Step::Need(0));
    assert_eq!(fault("UNSUB \n\n"), Some(Fault::Malformed));
    assert_eq!(fault("SUB\n"), Some(Fault::UnknownOperation));
}

#[test]
fn what_says_nothing_need_not_be_kept() {
    for (line, idle) in [
        ("PING", 4..4),
        ("PINGxx yy", 4..9),
        ("+OK   ", 3..6),
        ("SUB", 3..3),
        ("SUB    ", 4..7),
        ("SUB  \t a  1", 4..7),
        ("CONNECT{", 7..7),
        ("SU", 0..0),
        ("X", 0..0),
    ] {
        assert_eq!(idle_part(line.as_bytes()), idle, "{line}");
    }
}

#[test]
fn only_connect_before_credentials() {
    let limits = Limits { connect_only: true, ..LIMITS };
    assert_eq!(parse(b"PING\r\n", &limits), Step::Fail(Fault::NotAuthorized));
    let connect = parse(b"connect {\"a\": 1, \"b\" : [1, 2, 3 , 4 ,5]} \r\n", &limits);
    assert_eq!(connect, Step::Op(Op::Connect(b"{\"a\": 1, \"b\" : [1, 2, 3 , 4 ,5]}"), 43));
}

#[test]
fn unsubscribe_maximum() {
    let max = |line: &'static str| match parse(line.as_bytes(), &LIMITS) {
        Step::Op(Op::Unsubscribe { sid: b"9", max }, _) => max,
        other => panic!("{other:?}"),
    };
    assert_eq!(max("UNSUB 9\r\n"), None);
    assert_eq!(max("UNSUB 9 5\r\n"), Some(5));
    assert_eq!(max("UNSUB 9 x\r\n"), None);
}
