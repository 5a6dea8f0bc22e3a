//! Documents made, read and damaged.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn keys(role: Role) -> KeyPair {
    KeyPair::generate(role).unwrap()
}

/// A document with any header and claims, signed over what `v1` says.
fn forge(header: &str, claims: &serde_json::Value, signer: &KeyPair, v1: bool) -> String {
    let (header, payload) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signed = if v1 { payload.clone() } else { format!("{header}.{payload}") };
    format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes())))
}

const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

#[test]
fn seeds_of_the_ecosystem() {
    // From the tests of the nkeys package of the NATS project.
    let known = "SAAPN4W3EG6KCJGUQTKTJ5GSB5NHK5CHAJL4DBGFUM3HHROI4XUEP4OBK4";
    let pair = KeyPair::from_seed(known).unwrap();
    assert_eq!((pair.seed().as_str(), pair.role()), (known, Role::Account));
    assert_eq!(pair.public_key(), "ACODERUVFFAWZQDSS6SBIACUA5O6SXF7HJ3YTYXBALHZP3P7R4BUO4J2");
    for role in [Role::Operator, Role::Account, Role::User] {
        let pair = keys(role);
        let again = KeyPair::from_seed(&pair.seed()).unwrap();
        assert_eq!((again.public_key(), again.role()), (pair.public_key(), role));
        let letter = role.to_string().to_uppercase().remove(0);
        assert!(pair.public_key().starts_with(letter) && pair.seed().starts_with(&format!("S{letter}")));
        assert_eq!((pair.public_key().len(), pair.seed().len()), (56, 58));
        assert!(!format!("{pair:?}").contains(&pair.seed()));
        assert!(KeyPair::from_seed(pair.public_key()).is_err());
    }
    for bad in ["", "S", "SUAA", known.trim_end_matches('4'), &known.replace("SAAP", "SAAQ")] {
        assert_eq!(KeyPair::from_seed(bad).err(), Some(Error::Seed), "{bad}");
    }
}

#[test]
fn documents_of_other_tools() {
    // Made by `nsc`: from the tests of public clients. The signatures are over every byte, so reading them is proof
    // that nothing here is known only to itself.
    let operator = OperatorClaims::decode(include_str!("testdata/operator.jwt")).unwrap();
    let system = AccountClaims::decode(include_str!("testdata/system.jwt")).unwrap();
    let account = AccountClaims::decode(include_str!("testdata/account.jwt")).unwrap();
    let user = UserClaims::decode(include_str!("testdata/user.jwt")).unwrap();
    assert_eq!((&operator.name, &operator.nats.system_account), (&"TestOperator".to_owned(), &system.sub));
    assert_eq!((&system.iss, &account.iss, &user.iss), (&operator.sub, &operator.sub, &account.sub));
    assert_eq!((system.nats.exports.len(), system.nats.signing_keys.len()), (2, 1));
    assert_eq!((account.nats.limits, user.nats.terms), (AccountLimits::default(), Terms::default()));
    let old = OperatorClaims::decode(include_str!("testdata/operator-v1.jwt")).unwrap();
    let account = AccountClaims::decode(include_str!("testdata/account-v1.jwt")).unwrap();
    assert_eq!((old.nats.signing_keys.len(), &account.iss), (3, &old.sub));
    assert_eq!((account.nats.limits.conn, account.nats.common.kind.as_str()), (-1, "account"));
}

#[test]
fn there_and_back() {
    let (operator, account, user) = (keys(Role::Operator), keys(Role::Account), keys(Role::User));
    let mut claims = OperatorClaims::new(operator.public_key(), "op");
    claims.nats.system_account = account.public_key().to_owned();
    claims.nats.strict_signing_key_usage = true;
    let read = OperatorClaims::decode(&claims.sign(&operator).unwrap()).unwrap();
    assert_eq!((read.name.as_str(), read.iss.as_str()), ("op", operator.public_key()));
    assert!(read.nats.strict_signing_key_usage && read.iat > 0 && !read.jti.is_empty());

    let mut claims = AccountClaims::new(account.public_key(), "acc");
    claims.nats.limits.conn = 5;
    claims.nats.revocations.insert("*".into(), 7);
    let template = Terms { subs: 3, ..Terms::default() };
    let scope = Scope::new(keys(Role::Account).public_key(), "r", template);
    claims.nats.signing_keys = vec![SigningKey::Plain("A".into()), SigningKey::Scoped(Box::new(scope))];
    let sent = claims.nats.clone();
    let read = AccountClaims::decode(&claims.sign(&operator).unwrap()).unwrap();
    assert_eq!((read.nats.limits, read.nats.signing_keys), (sent.limits, sent.signing_keys));
    assert_eq!(read.nats.revocations, sent.revocations);

    let mut claims = UserClaims::new(user.public_key(), "u");
    claims.nats.terms.permissions.publish.allow = vec!["a.>".into()];
    claims.nats.terms.permissions.responses = Some(Response { max: 2, ttl: 3 });
    claims.nats.terms.src = vec!["10.0.0.0/8".into()];
    claims.nats.common.tags = vec!["k:v".into()];
    let sent = claims.nats.clone();
    let token = claims.sign(&account).unwrap();
    let read = UserClaims::decode(&format!(" {token}\n")).unwrap();
    assert_eq!((read.nats.terms, read.nats.common.tags), (sent.terms, sent.common.tags));
    assert_eq!(
        AccountClaims::decode(&token).unwrap_err(),
        Error::Kind { found: "user".into(), expected: Role::Account }
    );
}

#[test]
fn roles_are_kept_apart() {
    let (operator, account, user) = (keys(Role::Operator), keys(Role::Account), keys(Role::User));
    let claims = || UserClaims::new(user.public_key(), "u");
    assert!(matches!(claims().sign(&operator), Err(Error::WrongKey { field: "issuer", .. })));
    assert!(matches!(claims().sign(&user), Err(Error::WrongKey { field: "issuer", .. })));
    let about_account = UserClaims::new(account.public_key(), "u").sign(&account);
    assert!(matches!(about_account, Err(Error::WrongKey { field: "subject", .. })));
    // The same, put together by somebody who does not ask.
    for (signer, iss, sub) in [
        (&operator, operator.public_key(), user.public_key()),
        (&user, user.public_key(), user.public_key()),
        (&account, account.public_key(), account.public_key()),
        (&account, account.public_key(), "UXX"),
        (&account, "", user.public_key()),
    ] {
        let claims = json!({"iss": iss, "sub": sub, "nats": {"type": "user", "version": 2}});
        assert!(matches!(
            UserClaims::decode(&forge(HEADER, &claims, signer, false)),
            Err(Error::WrongKey { .. })
        ));
    }
}

#[test]
fn signatures_headers_and_versions() {
    let (account, user) = (keys(Role::Account), keys(Role::User));
    let claims = |nats: serde_json::Value| json!({"iss": account.public_key(), "sub": user.public_key(), "nats": nats});
    let new = claims(json!({"type": "user", "version": 2, "subs": null}));
    let read = |token: String| UserClaims::decode(&token);
    for header in [HEADER, r#"{"typ":"jwt","alg":"ed25519"}"#, r#"{"alg":"ED25519-NKEY","typ":"Jwt","x":1}"#]
    {
        assert!(read(forge(header, &new, &account, false)).is_ok(), "{header}");
    }
    for header in [
        r#"{"typ":"JWT","alg":"none"}"#,
        r#"{"typ":"JWT","alg":"HS256"}"#,
        "{}",
        "[]",
        "",
        r#"{"alg":"ed25519"}"#,
    ] {
        assert!(matches!(read(forge(header, &new, &account, false)), Err(Error::Malformed(_))), "{header}");
    }
    assert_eq!(read(forge(HEADER, &new, &keys(Role::Account), false)), Err(Error::Signature));
    assert_eq!(read(forge(HEADER, &new, &account, true)), Err(Error::Signature), "version 1 signs less");
    for version in [json!(0), json!(3), json!(-1), json!("2"), json!(null)] {
        let claims = claims(json!({"type": "user", "version": version}));
        assert!(
            matches!(read(forge(HEADER, &claims, &account, false)), Err(Error::Malformed(_))),
            "{version}"
        );
    }
    let mut old = claims(json!({"src": "10.0.0.0/8, 11.0.0.0/8", "pub": {"allow": ["a"]}}));
    old["type"] = json!("user");
    old["issuer_account"] = json!("A");
    assert_eq!(read(forge(HEADER, &old, &account, false)), Err(Error::Signature));
    let old = read(forge(r#"{"typ":"jwt","alg":"ed25519"}"#, &old, &account, true)).unwrap().nats;
    assert_eq!((old.terms.subs, old.issuer_account.as_str()), (NO_LIMIT, "A"));
    assert_eq!(old.terms.src, ["10.0.0.0/8", "11.0.0.0/8"]);
    assert_eq!(old.terms.permissions.publish.allow, ["a"]);
}

#[test]
fn absent_limits_are_zero_but_not_in_templates() {
    let (operator, account) = (keys(Role::Operator), keys(Role::Account));
    let scope = json!({"kind": "user_scope", "key": account.public_key(), "template": {"payload": 5}});
    let nats = json!({"type": "account", "version": 2, "signing_keys": [scope], "limits": {"subs": -1}});
    let claims = json!({"iss": operator.public_key(), "sub": account.public_key(), "nats": nats});
    let read = AccountClaims::decode(&forge(HEADER, &claims, &operator, false)).unwrap().nats;
    assert_eq!((read.limits.subs, read.limits.conn), (-1, 0));
    let claims = json!({"iss": operator.public_key(), "sub": account.public_key(), "nats": {"type": "account", "version": 2}});
    let bare = AccountClaims::decode(&forge(HEADER, &claims, &operator, false)).unwrap().nats;
    assert_eq!((bare.limits.subs, bare.limits.conn), (0, 0));
    let SigningKey::Scoped(scope) = &read.signing_keys[0] else { panic!("{read:?}") };
    assert_eq!((scope.template.payload, scope.template.subs), (5, NO_LIMIT));
}

#[test]
fn credentials_files() {
    let (account, user) = (keys(Role::Account), keys(Role::User));
    let seed = user.seed();
    let jwt = UserClaims::new(user.public_key(), "u").sign(&account).unwrap();
    let text = Creds::new(jwt.clone(), user).unwrap().to_text();
    assert_eq!(text.lines().count(), 13);
    for variant in [
        text.clone(),
        text.replace('\n', "\r\n"),
        text.replace("------END", "-----END").replace("JWT------", "JWT-----"),
        text.replace("-----BEGIN NATS", "---BEGIN NATS"),
        format!("some words\n{text}more words"),
    ] {
        let read = Creds::parse(&variant).unwrap();
        assert_eq!((read.jwt(), read.keys().seed()), (jwt.as_str(), seed.clone()), "{variant}");
        assert!(!format!("{read:?}").contains(&seed));
    }
    let other = keys(Role::User);
    for bad in [
        String::new(),
        jwt.clone(),
        text.replace(&seed, ""),
        text.replace(&seed, &seed[1..]),
        text.replace(&seed, &other.seed()),
        text.replace(&seed, &account.seed()),
        text.replace(&jwt, &jwt[1..]),
        text.lines().take(3).collect(),
    ] {
        let error = Creds::parse(&bad).unwrap_err().to_string();
        assert!(!error.contains(&seed) && !error.contains(&jwt), "{error}");
    }
}

proptest! {
    #[test]
    fn garbage_is_refused_quietly(text in "\\PC{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (UserClaims::decode(&text), Creds::parse(&text), KeyPair::from_seed(&text));
        let encoded = URL_SAFE_NO_PAD.encode(&bytes);
        let header = URL_SAFE_NO_PAD.encode(HEADER);
        let tokens = [format!("{header}.{encoded}.{encoded}"), format!("{encoded}.{encoded}.{encoded}")];
        for token in tokens {
            prop_assert!(UserClaims::decode(&token).is_err());
        }
        let _ = KeyPair::from_seed(&data_encoding::BASE32_NOPAD.encode(&bytes));
    }

    #[test]
    fn a_changed_document_is_refused(at in 0_usize..2000, byte in any::<u8>()) {
        let (account, user) = (keys(Role::Account), keys(Role::User));
        let good = UserClaims::new(user.public_key(), "somebody").sign(&account).unwrap();
        let mut bytes = good.clone().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes) && text != good {
            prop_assert!(UserClaims::decode(&text).is_err());
        }
    }

    #[test]
    fn any_claims_survive(name in ".*", subjects in proptest::collection::vec(".{0,20}", 0..5), numbers in any::<[i64; 4]>()) {
        let (account, user) = (keys(Role::Account), keys(Role::User));
        let mut claims = UserClaims::new(user.public_key(), &name);
        claims.nats.terms.permissions.subscribe.deny = subjects;
        [claims.exp, claims.nbf, claims.nats.terms.subs, claims.nats.terms.data] = numbers;
        let sent = claims.clone();
        let mut read = UserClaims::decode(&claims.sign(&account).unwrap()).unwrap();
        prop_assert_eq!((&read.name, read.exp, read.nbf), (&sent.name, sent.exp, sent.nbf));
        read.nats.common = sent.nats.common.clone();
        prop_assert_eq!(read.nats, sent.nats);
    }
}
