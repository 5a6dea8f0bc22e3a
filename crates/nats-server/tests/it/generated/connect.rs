//! CONNECT documents, sane and odd.

use fastrand::Rng;

use super::profile::Profile;

/// Names of CONNECT and what kind of value they take.
const KEYS: &[(&str, Kind)] = &[
    ("verbose", Kind::Flag),
    ("pedantic", Kind::Flag),
    ("echo", Kind::Flag),
    ("tls_required", Kind::Flag),
    ("headers", Kind::Flag),
    ("no_responders", Kind::Flag),
    ("new_account", Kind::Flag),
    ("protocol", Kind::Number),
    ("nkey", Kind::Text),
    ("jwt", Kind::Text),
    ("sig", Kind::Text),
    ("auth_token", Kind::Text),
    ("user", Kind::Text),
    ("pass", Kind::Text),
    ("name", Kind::Text),
    ("lang", Kind::Text),
    ("version", Kind::Text),
    ("account", Kind::Text),
    ("remote_account", Kind::Text),
    ("proxy_sig", Kind::Text),
    ("import", Kind::Lists),
    ("export", Kind::Lists),
    ("unknown", Kind::Any),
    ("tls", Kind::Any),
    ("", Kind::Any),
];

#[derive(Clone, Copy)]
enum Kind {
    Flag,
    Number,
    Text,
    Lists,
    Any,
}

fn one_of<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

fn pick(rng: &mut Rng, from: &[&'static [u8]]) -> &'static [u8] {
    one_of(rng, from)
}

fn percent(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(..100) < percent
}

/// What a client library could send, with good or nearly good credentials.
pub(super) fn sane(rng: &mut Rng, profile: &Profile) -> Vec<u8> {
    let mut pairs: Vec<String> = Vec::new();
    let mut flag = |rng: &mut Rng, name: &str, given: u32, on: u32| {
        if percent(rng, given) {
            pairs.push(format!("\"{name}\":{}", percent(rng, on)));
        }
    };
    flag(rng, "verbose", 95, 15);
    flag(rng, "pedantic", 90, 30);
    flag(rng, "echo", 50, 70);
    let headers = percent(rng, 85);
    flag(rng, "headers", 100, if headers { 100 } else { 0 });
    flag(rng, "no_responders", 90, if headers { 75 } else { 2 });
    flag(rng, "tls_required", 20, 20);
    if percent(rng, 80) {
        pairs.push(format!("\"protocol\":{}", rng.u8(..2)));
    }
    if percent(rng, 50) {
        pairs.push(format!("\"name\":\"n{}\",\"lang\":\"rust\",\"version\":\"1.0\"", rng.u8(..9)));
    }
    if !profile.credentials.is_empty() && percent(rng, 96) {
        let credentials = match percent(rng, 96) || profile.wrong_credentials.is_empty() {
            true => one_of(rng, profile.credentials),
            false => one_of(rng, profile.wrong_credentials),
        };
        if !credentials.is_empty() {
            pairs.push(credentials.to_owned());
        }
    }
    format!("{{{}}}", pairs.join(",")).into_bytes()
}

/// A document that plays with the rules of JSON and of its decoder.
pub(super) fn odd(rng: &mut Rng, profile: &Profile) -> Vec<u8> {
    if percent(rng, 4) {
        let whole: &[&'static [u8]] = &[
            b"null",
            b"{}",
            b"[]",
            b"[true]",
            b"true",
            b"1",
            b"\"x\"",
            b"{\"a\"}",
            b"{,}",
            b"{\"verbose\":false,}",
            b"{} x",
            b"{}{}",
            b"{\"a\":01}",
            b"{\"a\":1.}",
            b"{\"a\":-}",
            b"{\"a\":1e}",
            b"{\"a\":\"\\x\"}",
            b"{a:1}",
            b"{'a':1}",
            b"{\"a\":\"\x01\"}",
            b"{\"a\":nul}",
            b" {\"verbose\" : false } ",
            b"{\"a\":+1}",
            b"{\"a\":.5}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":1}\0",
            b"{\"a\":NaN}",
            b"{\"a\":\"\\u12\"}",
            b"{\"a\":\"\t\"}",
            b"{\"\xff\":1}",
            b"{\"a\":1e999}",
            b"{\"a\":-0}",
            b"{\"a\":[1,]}",
            b"{\"a\":[}",
            b"{\"a\":\"}",
            b"{/**/}",
        ];
        return pick(rng, whole).to_vec();
    }
    let mut pairs: Vec<Vec<u8>> = Vec::new();
    for _ in 0..rng.usize(..5) {
        let (name, kind) = one_of(rng, KEYS);
        let mut pair = key(rng, name);
        pair.extend_from_slice(pick(rng, &[&b":"[..], b":", b":", b" : ", b":\t"]));
        pair.extend(value(rng, kind, name));
        pairs.push(pair);
        if name == "headers" || name == "no_responders" {
            // Together more often than not: they have rules together.
            pairs.push(b"\"headers\":true".to_vec());
        }
    }
    if !profile.credentials.is_empty() && percent(rng, 30) {
        pairs.push(one_of(rng, profile.credentials).as_bytes().to_vec());
    }
    pairs.retain(|pair| !pair.is_empty());
    rng.shuffle(&mut pairs);
    [b"{", &pairs.join(&b","[..])[..], b"}"].concat()
}

fn key(rng: &mut Rng, name: &str) -> Vec<u8> {
    let name = match rng.u32(..100) {
        0..=9 => name.to_ascii_uppercase(),
        10..=19 => name.chars().map(|c| if rng.bool() { c.to_ascii_uppercase() } else { c }).collect(),
        // The long s and the Kelvin sign are small s and k to those who do not look at case.
        20..=22 => name.replace('s', "\u{17f}").replace('k', "\u{212a}"),
        23..=25 => name.replacen('e', "\\u0065", 1),
        26..=27 => name.replacen('e', "\\u0045", 1),
        28 => format!("{name} "),
        29 => name.replace('_', "-"),
        _ => name.to_owned(),
    };
    format!("\"{name}\"").into_bytes()
}

fn value(rng: &mut Rng, kind: Kind, name: &str) -> Vec<u8> {
    match rng.u32(..100) {
        0..=9 => return b"null".to_vec(),
        10..=14 => return any(rng),
        _ => {}
    }
    match kind {
        Kind::Flag if name == "new_account" && percent(rng, 70) => b"false".to_vec(),
        Kind::Flag => pick(rng, &[&b"true"[..], b"false", b"false"]).to_vec(),
        Kind::Number => pick(
            rng,
            &[&b"0"[..], b"1", b"0", b"1", b"1", b"2", b"1.0", b"1e0", b"99999999999999999999", b"-1"],
        )
        .to_vec(),
        Kind::Text if name == "account" && percent(rng, 70) => b"\"\"".to_vec(),
        Kind::Text => text(rng),
        Kind::Lists => pick(
            rng,
            &[
                &b"{}"[..],
                b"{\"allow\":[\"a\"]}",
                b"{\"allow\":[]}",
                b"{\"deny\":null,\"x\":1}",
                b"{\"Allow\":[null]}",
                b"{\"allow\":\"a\"}",
                b"{\"deny\":[1]}",
                b"{\"deny\":{}}",
                b"[]",
            ],
        )
        .to_vec(),
        Kind::Any => any(rng),
    }
}

fn text(rng: &mut Rng) -> Vec<u8> {
    let texts: &[&'static [u8]] = &[
        b"\"\"",
        b"\"\"",
        b"\"x\"",
        b"\"name\"",
        b"\"\\u0061\"",
        b"\"\\ud800\"",
        b"\"\\ud83d\\ude00\"",
        b"\"\\udc00\\ud800\"",
        b"\"\xff\"",
        b"\"a\xc3\"",
        b"\"\xed\xa0\x80\"",
        b"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        b"\"\xc3\xa9\"",
        b"\"\\u0000\"",
    ];
    pick(rng, texts).to_vec()
}

fn any(rng: &mut Rng) -> Vec<u8> {
    let values: &[&'static [u8]] = &[
        b"true",
        b"false",
        b"0",
        b"1",
        b"-1",
        b"1.5",
        b"\"\"",
        b"\"true\"",
        b"[]",
        b"{}",
        b"[1,[2,{\"a\":null}]]",
        b"null",
        b"{\"a\":{\"a\":[]}}",
        b"1e400",
        b"[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]",
    ];
    pick(rng, values).to_vec()
}
