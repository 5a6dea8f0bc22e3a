//! Judgements without a server.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::jwt::{AccountClaims, KeyPair, OperatorClaims, Scope, SigningKey, Terms};
use crate::permissions::Guard;

/// An operator with one account.
struct Kit {
    operator: KeyPair,
    account: KeyPair,
    signing: KeyPair,
}

const NOW: i64 = 1_000_000;

impl Kit {
    fn new() -> Kit {
        let key = |role| KeyPair::generate(role).unwrap();
        Kit { operator: key(Role::Operator), account: key(Role::Account), signing: key(Role::Account) }
    }

    fn accounts(&self, change: impl FnOnce(&mut AccountClaims)) -> Result<Accounts, Error> {
        let mut claims = AccountClaims::new(self.account.public_key(), "acc");
        claims.nats.signing_keys = vec![SigningKey::Plain(self.signing.public_key().into())];
        change(&mut claims);
        let jwt = OperatorClaims::new(self.operator.public_key(), "op").sign(&self.operator).unwrap();
        let account = claims.sign(&self.operator).unwrap();
        let resolver = BTreeMap::from([(self.account.public_key().to_owned(), account)]);
        Accounts::new(&OperatorOptions { jwt, resolver, system_account: None })
    }

    /// With a template for the signing key.
    fn scoped(&self, template: Terms) -> Accounts {
        let scope = Scope::new(self.signing.public_key(), "role", template);
        self.accounts(|account| {
            account.nats.signing_keys = vec![SigningKey::Scoped(Box::new(scope))];
            account.nats.common.tags = vec!["env:prod".into()];
        })
        .unwrap()
    }

    /// A user without terms of its own, from the signing key.
    fn blank_user(&self, name: &str, tags: &[&str]) -> UserClaims {
        let mut claims = UserClaims::new(KeyPair::generate(Role::User).unwrap().public_key(), name);
        claims.iss = self.signing.public_key().to_owned();
        claims.iat = NOW;
        claims.nats.issuer_account = self.account.public_key().to_owned();
        claims.nats.terms = Terms::blank();
        claims.nats.common.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        claims
    }
}

fn caller(nonce: Option<&str>) -> Caller<'_> {
    Caller { nonce, addr: [127, 0, 0, 1].into(), connection_type: ConnectionType::Standard, now: NOW }
}

fn admit(accounts: &Accounts, claims: UserClaims) -> Result<Identity, Refusal> {
    accounts.admit(Arc::new(claims), &caller(None))
}

fn template(publish: &[&str], deny: &[&str]) -> Terms {
    let mut terms = Terms::default();
    terms.permissions.publish.allow = publish.iter().map(|s| (*s).to_owned()).collect();
    terms.permissions.publish.deny = deny.iter().map(|s| (*s).to_owned()).collect();
    terms
}

fn allowed(identity: &Identity) -> Vec<String> {
    identity.pass.as_ref().unwrap().permissions().publish.allow.clone().unwrap_or_default()
}

#[test]
fn who_signed_the_nonce_is_let_in() {
    let kit = Kit::new();
    let accounts = kit.accounts(|_| {}).unwrap();
    let user = KeyPair::generate(Role::User).unwrap();
    let claims = UserClaims::new(user.public_key(), "u");
    let jwt = claims.sign(&kit.account).unwrap();
    let offer = |jwt: &str, signed: &[u8]| Connect {
        jwt: Some(jwt.to_owned()),
        sig: Some(URL_SAFE_NO_PAD.encode(user.sign(signed))),
        ..Connect::default()
    };
    let identity = accounts.judge(&offer(&jwt, b"n"), &caller(Some("n"))).unwrap();
    assert_eq!((identity.account, &*identity.user), (1, user.public_key()));
    assert!(identity.permissions.is_none());
    let judge = |offered: Connect, nonce| accounts.judge(&offered, &caller(nonce)).unwrap_err();
    assert_eq!(judge(offer(&jwt, b"other"), Some("n")), Refusal::NotSigned);
    assert_eq!(judge(offer(&jwt, b"n"), None), Refusal::NotSigned);
    assert_eq!(judge(Connect { sig: None, ..offer(&jwt, b"n") }, Some("n")), Refusal::NotSigned);
    assert_eq!(judge(Connect::default(), Some("n")), Refusal::NothingShown);
    assert!(matches!(judge(offer(&jwt[1..], b"n"), Some("n")), Refusal::Document(_)));
}

#[test]
fn times_revocations_and_signers() {
    let kit = Kit::new();
    let plain = |change: fn(&mut UserClaims)| {
        let mut claims = kit.blank_user("u", &[]);
        claims.nats.terms = Terms::default();
        change(&mut claims);
        claims
    };
    let accounts = kit.accounts(|_| {}).unwrap();
    let refused = |claims| admit(&accounts, claims).unwrap_err();
    assert!(admit(&accounts, plain(|_| {})).is_ok());
    assert_eq!(refused(plain(|c| c.exp = NOW)), Refusal::UserExpired);
    assert!(admit(&accounts, plain(|c| c.exp = NOW + 1)).is_ok());
    assert_eq!(refused(plain(|c| c.nbf = NOW + 1)), Refusal::TooEarly(Role::User));
    // A signing key cannot speak for an account that it does not name.
    assert!(matches!(refused(plain(|c| c.nats.issuer_account.clear())), Refusal::UnknownAccount(_)));
    let stranger = KeyPair::generate(Role::Account).unwrap();
    let mut claims = plain(|_| {});
    claims.iss = stranger.public_key().to_owned();
    assert!(matches!(refused(claims), Refusal::UnknownSigner(_)));
    assert!(matches!(refused(plain(|c| c.nats.terms.data = 5)), Refusal::Unsupported(_)));
    for (time, good) in [(NOW - 1, true), (NOW, false), (NOW + 1, false)] {
        let claims = plain(|_| {});
        for key in ["*".to_owned(), claims.sub.clone()] {
            let accounts = kit.accounts(|a| a.nats.revocations.extend([(key, time)])).unwrap();
            assert_eq!(admit(&accounts, claims.clone()).is_ok(), good, "{time}");
        }
    }
    let expired = kit.accounts(|a| a.exp = NOW).unwrap();
    assert_eq!(admit(&expired, plain(|_| {})).unwrap_err(), Refusal::AccountExpired);
    let early = kit.accounts(|a| a.nbf = NOW + 1).unwrap();
    assert_eq!(admit(&early, plain(|_| {})).unwrap_err(), Refusal::TooEarly(Role::Account));
    let no_bearer = kit.accounts(|a| a.nats.limits.disallow_bearer = true).unwrap();
    assert_eq!(admit(&no_bearer, plain(|c| c.nats.terms.bearer_token = true)).unwrap_err(), Refusal::Bearer);
    let both =
        kit.accounts(|a| (a.exp, a.nats.limits.subs, a.nats.limits.payload) = (NOW + 5, 7, -1)).unwrap();
    let identity =
        admit(&both, plain(|c| (c.exp, c.nats.terms.subs, c.nats.terms.payload) = (NOW + 6, -1, 9)));
    let pass = identity.unwrap().pass.unwrap();
    assert_eq!(pass.expires(), Some((NOW + 5, Expiry::Account)));
    assert_eq!((pass.max_subs(), pass.max_payload()), (Some(7), Some(9)));
}

#[test]
fn default_permissions_are_for_those_without() {
    let kit = Kit::new();
    let accounts =
        kit.accounts(|a| a.nats.default_permissions.publish.allow = vec!["default".into()]).unwrap();
    let mut claims = kit.blank_user("u", &[]);
    assert_eq!(allowed(&admit(&accounts, claims.clone()).unwrap()), ["default"]);
    claims.nats.terms.permissions.publish.allow = vec!["own".into()];
    assert_eq!(allowed(&admit(&accounts, claims.clone()).unwrap()), ["own"]);
    claims.nats.terms.permissions.publish.allow = vec!["not..good".into()];
    assert!(matches!(admit(&accounts, claims), Err(Refusal::Unsupported(_))));
}

#[test]
fn templates() {
    let kit = Kit::new();
    let accounts = kit.scoped(template(
        &[
            "u.{{name()}}.>",
            "{{subject()}}",
            "{{tag(team)}}.{{tag(team)}}",
            "{{account-name()}}.{{Account-Tag(env)}}",
            "{{tag(none)}}",
            "x{{name()}}",
        ],
        &["no.{{name()}}"],
    ));
    let claims = kit.blank_user("ann.b", &["team:red", "team:blue", "other:x"]);
    let subject = claims.sub.clone();
    let identity = admit(&accounts, claims.clone()).unwrap();
    let expected =
        ["u.ann.b.>", &subject, "red.red", "red.blue", "blue.red", "blue.blue", "acc.prod", "x{{name()}}"];
    assert_eq!(allowed(&identity), expected);
    let mut guard = Guard::new(identity.permissions.unwrap(), Default::default());
    let now = std::time::Instant::now();
    assert!(guard.may_publish(b"u.ann.b.c", now) && !guard.may_publish(b"no.ann.b", now));
    let with_terms =
        UserClaims { nats: crate::jwt::User { terms: Terms::default(), ..claims.nats.clone() }, ..claims };
    assert_eq!(admit(&accounts, with_terms).unwrap_err(), Refusal::OwnTerms);
    // A name must not open more than the template means, nor close less.
    for name in ["", "*", ">", "a b", "a.>", "a..b"] {
        let accounts = kit.scoped(template(&["u.{{name()}}"], &[]));
        let identity = admit(&accounts, kit.blank_user(name, &[])).unwrap();
        assert!(allowed(&identity).is_empty(), "{name}");
        let mut guard = Guard::new(identity.permissions.unwrap(), Default::default());
        assert!(!guard.may_publish(b"u.a", now) && !guard.may_publish(b"z", now), "{name}");
        let accounts = kit.scoped(template(&[], &["u.{{name()}}"]));
        assert!(
            matches!(admit(&accounts, kit.blank_user(name, &[])), Err(Refusal::Unsupported(_))),
            "{name}"
        );
    }
    let accounts = kit.scoped(template(&[], &["{{what()}}"]));
    assert!(matches!(admit(&accounts, kit.blank_user("u", &[])), Err(Refusal::Unsupported(_))));
    let many: Vec<String> = (0..100).map(|n| format!("t:{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let accounts = kit.scoped(template(&["{{tag(t)}}.{{tag(t)}}.{{tag(t)}}.{{tag(t)}}"], &[]));
    assert!(matches!(admit(&accounts, kit.blank_user("u", &many)), Err(Refusal::Unsupported(_))));
}

#[test]
fn what_a_template_becomes_is_bounded_in_bytes_too() {
    let kit = Kit::new();
    let refused = |lines: &[&str], name: &str, tags: &[&str]| {
        let accounts = kit.scoped(template(lines, &[]));
        match admit(&accounts, kit.blank_user(name, tags)) {
            Err(Refusal::Unsupported(why)) => why.contains("bytes"),
            _ => false,
        }
    };
    let (long, repeated) = ("n".repeat(2_000), ["{{name()}}"; 600].join("."));
    assert!(refused(&[&repeated], &long, &[]), "one subject");
    assert!(!refused(&[&repeated], "n", &[]));
    let many: Vec<String> = (0..1_000).map(|n| format!("t:{n}.{long}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(refused(&["{{tag(t)}}"], "n", &many), "many values");
    assert!(refused(&["{{tag(t)}}", "{{tag(t)}}", "{{tag(t)}}"], "n", &many[..200]), "many lines");
    assert!(!refused(&["{{tag(t)}}"], "n", &many[..200]));
}

#[test]
fn what_cannot_be_trusted_is_refused_by_name() {
    let kit = Kit::new();
    let problem = |change: fn(&mut AccountClaims)| kit.accounts(change).err().unwrap().to_string();
    assert!(problem(|a| a.nats.limits.data = 1).contains("limits bytes"));
    assert!(problem(|a| a.nats.signing_keys = vec![SigningKey::Plain("AX".into())]).contains("AX"));
    assert!(problem(|a| a.nats.default_permissions.publish.deny = vec!["a..b".into()]).contains("a..b"));
    let service = |a: &mut AccountClaims| {
        a.nats.authorization.insert("auth_users".into(), json!(["U"]));
    };
    assert!(problem(service).contains("authorization"));
    let options = |jwt: &str, account: &str, system: Option<&str>| {
        let resolver = BTreeMap::from([(kit.account.public_key().to_owned(), account.to_owned())]);
        let options =
            OperatorOptions { jwt: jwt.to_owned(), resolver, system_account: system.map(str::to_owned) };
        Accounts::new(&options).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let operator = OperatorClaims::new(kit.operator.public_key(), "op").sign(&kit.operator).unwrap();
    let account = AccountClaims::new(kit.account.public_key(), "a").sign(&kit.operator).unwrap();
    assert_eq!(options(&operator, &account, Some(kit.account.public_key())), "");
    assert!(options(&account, &account, None).contains("operator"));
    assert!(options(&operator, &operator, None).contains("account"));
    assert!(options(&operator, &account, Some("AX")).contains("not in the resolver"));
    let foreign = KeyPair::generate(Role::Operator).unwrap();
    let by_foreigner = AccountClaims::new(kit.account.public_key(), "a").sign(&foreign).unwrap();
    assert!(options(&operator, &by_foreigner, None).contains(foreign.public_key()));
    let other = AccountClaims::new(kit.signing.public_key(), "a").sign(&kit.operator).unwrap();
    assert!(options(&operator, &other, None).contains(kit.signing.public_key()));
    let for_operator = |change: fn(&mut OperatorClaims)| {
        let mut claims = OperatorClaims::new(kit.operator.public_key(), "op");
        change(&mut claims);
        options(&claims.sign(&kit.operator).unwrap(), &account, None)
    };
    assert_eq!(for_operator(|o| o.nats.assert_server_version = "2.10.0".into()), "");
    assert!(for_operator(|o| o.nats.assert_server_version = "99.0.0".into()).contains("99.0.0"));
    assert!(for_operator(|o| o.exp = 1).contains("expired"));
    assert!(for_operator(|o| o.nats.strict_signing_key_usage = true).contains("not a key with which"));
    let foreign = OperatorClaims::new(kit.operator.public_key(), "op").sign(&foreign).unwrap();
    assert!(options(&foreign, &account, None).contains("not by the operator"));
}

#[test]
fn strict_means_signing_keys_only() {
    let kit = Kit::new();
    let signer = KeyPair::generate(Role::Operator).unwrap();
    let mut claims = OperatorClaims::new(kit.operator.public_key(), "op");
    claims.nats.strict_signing_key_usage = true;
    claims.nats.signing_keys = vec![signer.public_key().to_owned()];
    let jwt = claims.sign(&kit.operator).unwrap();
    let mut account = AccountClaims::new(kit.account.public_key(), "a");
    account.nats.signing_keys = vec![SigningKey::Plain(kit.signing.public_key().into())];
    let resolver = BTreeMap::from([(kit.account.public_key().to_owned(), account.sign(&signer).unwrap())]);
    let accounts = Accounts::new(&OperatorOptions { jwt, resolver, system_account: None }).unwrap();
    let mut claims = kit.blank_user("u", &[]);
    assert!(admit(&accounts, claims.clone()).is_ok());
    claims.iss = kit.account.public_key().to_owned();
    assert!(matches!(admit(&accounts, claims), Err(Refusal::UnknownSigner(_))));
}

/// JSON of words that documents know and some that they do not.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        "[a{}n.>*:()]{0,9}|t:[a-z]|a\\.[{][{]name[(][)][}][}]|10\\.0\\.0\\.0/[0-9]{1,3}"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let word =
            "allow|deny|start|end|subs|data|payload|conn|max|ttl|kind|key|template|auth_users|[a-z]{0,3}";
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(word, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn signed(claims: &Value, signer: &KeyPair) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let text = format!("{}.{}", part(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#), part(&claims.to_string()));
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signer.sign(text.as_bytes())))
}

const USER_FIELDS: &str =
    "pub|sub|resp|src|times|times_location|subs|data|payload|bearer_token|allowed_connection_types|tags";
const ACCOUNT_FIELDS: &str =
    "limits|signing_keys|revocations|default_permissions|authorization|tags|imports|mappings";

proptest! {
    #[test]
    fn signed_nonsense_ends_in_a_verdict(
        of_user in proptest::collection::btree_map(USER_FIELDS, any_json(), 0..4),
        of_account in proptest::collection::btree_map(ACCOUNT_FIELDS, any_json(), 0..3),
        [exp, nbf, iat] in any::<[i64; 3]>(),
    ) {
        let kit = Kit::new();
        let document = |issuer: &KeyPair, subject: &str, kind: &str, fields: BTreeMap<String, Value>| {
            let mut nats: serde_json::Map<String, Value> = fields.into_iter().collect();
            nats.extend([("type".to_owned(), json!(kind)), ("version".to_owned(), json!(2))]);
            let claims = json!({"iss": issuer.public_key(), "sub": subject, "name": "a.b", "exp": exp, "nbf": nbf,
                "iat": iat, "nats": nats});
            signed(&claims, issuer)
        };
        let mut accounts = kit.accounts(|_| {}).unwrap();
        let account = document(&kit.operator, kit.account.public_key(), "account", of_account);
        if let Ok(account) = accounts.trust().clone().account(&account) {
            accounts.put(account);
        }
        let user = KeyPair::generate(Role::User).unwrap();
        let jwt = Some(document(&kit.account, user.public_key(), "user", of_user));
        let sig = Some(URL_SAFE_NO_PAD.encode(user.sign(b"n")));
        let _ = accounts.judge(&Connect { jwt, sig, ..Connect::default() }, &caller(Some("n")));
    }
}
