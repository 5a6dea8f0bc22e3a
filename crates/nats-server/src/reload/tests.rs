use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::error::Error;
use crate::options::{Advertise, MonitorOptions, OperatorOptions, TlsOptions, WebSocketOptions};
use crate::users::{Account, NkeyUser, Permissions, User};

fn with(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = full();
    change(&mut options);
    options
}

/// Everything is set that can be.
fn full() -> Options {
    let web =
        WebSocketOptions { tls: Some(TlsOptions::new("w.pem", "w.key")), ..WebSocketOptions::default() };
    Options {
        tls: Some(TlsOptions::new("c.pem", "c.key")),
        websocket: Some(web),
        monitor: Some(MonitorOptions::default()),
        ..Options::default()
    }
}

/// Beside the certificates, which are always read again.
fn changes(new: &Options) -> Vec<String> {
    let all = compare(&full(), new).unwrap();
    all.iter().map(Changed::to_string).filter(|text| text != "tls = enabled").collect()
}

fn refused(old: &Options, new: &Options) -> (&'static str, String) {
    match compare(old, new) {
        Err(error @ Error::NotReloadable { option, .. }) => (option, error.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_is_no_change() {
    assert_eq!(changes(&full()), Vec::<String>::new());
}

#[test]
fn what_may_change_is_named() {
    type Case = (&'static str, fn(&mut Options));
    let cases: [Case; 20] = [
        ("max_connections = 7", |o| o.max_connections = 7),
        ("max_payload = 7", |o| o.max_payload = 7),
        ("max_control_line = 77", |o| o.max_control_line = 77),
        ("max_buffered = 7", |o| o.max_buffered = 7),
        ("max_total_subscriptions = 7", |o| o.max_total_subscriptions = 7),
        ("ping_interval = 7s", |o| o.ping_interval = Duration::from_secs(7)),
        ("first_ping = 7s", |o| o.first_ping = Duration::from_secs(7)),
        ("ping_max = 7", |o| o.ping_max = 7),
        ("write_deadline = 7s", |o| o.write_deadline = Duration::from_secs(7)),
        ("authorization timeout = 7s", |o| o.auth_timeout = Duration::from_secs(7)),
        ("authorization token", |o| o.token = Some("hunter2".into())),
        ("authorization users", |o| o.users = vec![User::new("u", "hunter2")]),
        ("authorization users", |o| {
            o.nkeys = vec![NkeyUser::new("U")];
        }),
        ("authorization users", |o| o.default_permissions = Some(Permissions::default())),
        ("authorization users", |o| o.closed = true),
        ("accounts", |o| o.accounts = vec![Account::default()]),
        ("client_advertise = a:1", |o| o.client_advertise = Some(Advertise::parse("a:1"))),
        ("connect_urls = a:1, b:2", |o| o.connect_urls = vec!["a:1".into(), "b:2".into()]),
        ("tls = disabled", |o| o.tls = None),
        ("websocket tls", |o| {
            o.websocket.as_mut().unwrap().tls = Some(TlsOptions::new("w2.pem", "w2.key"));
        }),
    ];
    for (expected, change) in cases {
        assert_eq!(changes(&with(change)), [expected]);
    }
    let tls = with(|o| o.tls.as_mut().unwrap().timeout = Duration::from_secs(7));
    assert_eq!(changes(&tls), ["tls timeout = 7s"]);
    let name = |old: &Options, new: &Options| compare(old, new).unwrap()[0].to_string();
    let without = with(|o| o.tls = None);
    assert_eq!(name(&without, &full()), "tls = enabled");
    assert_eq!(name(&full(), &full()), "tls = enabled");
}

#[test]
fn what_must_not_change_is_refused_by_name() {
    type Case = (&'static str, fn(&mut Options));
    let cases: [Case; 26] = [
        ("host", |o| o.host = "h".into()),
        ("headers", |o| o.headers = false),
        ("tls_in_front", |o| o.tls_in_front = true),
        ("max_subscription_tokens", |o| o.max_subscription_tokens = 3),
        ("system_account", |o| o.system_account = Some("S".into())),
        ("account_services", |o| o.account_services = true),
        ("port", |o| o.port = 7),
        ("server_name", |o| o.server_name = Some("n".into())),
        ("no_auth_user", |o| o.no_auth_user = Some("u".into())),
        ("max_pending", |o| o.max_pending = 7),
        ("max_subscriptions", |o| o.max_subscriptions = 7),
        ("local_max_pending_msgs", |o| o.local_max_pending_msgs = 7),
        ("lame_duck_duration", |o| o.lame_duck_duration = Duration::from_secs(7)),
        ("lame_duck_grace_period", |o| o.lame_duck_grace_period = Duration::from_secs(7)),
        ("monitor", |o| o.monitor = None),
        ("monitor", |o| o.monitor.as_mut().unwrap().port = 7),
        ("tls.verify_and_map", |o| o.tls.as_mut().unwrap().verify_and_map = true),
        ("tls.allow_non_tls", |o| o.tls.as_mut().unwrap().allow_non_tls = true),
        ("websocket", |o| o.websocket = None),
        ("websocket.port", |o| o.websocket.as_mut().unwrap().port = 7),
        ("websocket.host", |o| o.websocket.as_mut().unwrap().host = "h".into()),
        ("websocket.allowed_origins", |o| {
            o.websocket.as_mut().unwrap().allowed_origins = vec!["o".into()];
        }),
        ("websocket.same_origin", |o| o.websocket.as_mut().unwrap().same_origin = true),
        ("websocket.handshake_timeout", |o| {
            o.websocket.as_mut().unwrap().handshake_timeout = Duration::from_secs(7);
        }),
        ("websocket.tls", |o| o.websocket.as_mut().unwrap().tls = None),
        ("operator", |o| o.operator = Some(operator("jwt", None))),
    ];
    for (expected, change) in cases {
        let (option, text) = refused(&full(), &with(change));
        assert_eq!(option, expected);
        assert!(text.starts_with(&format!("config reload not supported for {expected}: old=")), "{text}");
        assert_eq!(refused(&with(change), &full()).0, expected);
    }
    // What may change does not help.
    assert_eq!(refused(&full(), &with(|o| (o.max_payload, o.port) = (7, 7))).0, "port");
}

fn operator(jwt: &str, system_account: Option<&str>) -> OperatorOptions {
    let system_account = system_account.map(str::to_owned);
    OperatorOptions { jwt: jwt.into(), resolver: BTreeMap::new(), system_account }
}

#[test]
fn accounts_of_an_operator_may_change_and_the_operator_may_not() {
    let with = |operator: OperatorOptions| Options { operator: Some(operator), ..Options::default() };
    let old = with(operator("jwt", None));
    assert_eq!(refused(&old, &with(operator("other", None))).0, "operator.jwt");
    assert_eq!(refused(&old, &with(operator("jwt", Some("A")))).0, "operator.system_account");
    let mut more = operator("jwt", None);
    more.resolver.insert("A".into(), "jwt".into());
    let changes = compare(&old, &with(more)).unwrap();
    assert_eq!(changes.iter().map(Changed::to_string).collect::<Vec<_>>(), ["accounts"]);
}

#[test]
fn observers_are_compared_by_identity() {
    struct Nothing;
    impl crate::events::Events for Nothing {}
    let one: Arc<dyn crate::events::Events> = Arc::new(Nothing);
    let with = |events: &Arc<dyn crate::events::Events>| Options { events: Some(events.clone()), ..full() };
    assert!(compare(&with(&one), &with(&one)).is_ok());
    assert_eq!(refused(&with(&one), &with(&(Arc::new(Nothing) as _))).0, "events");
    assert_eq!(refused(&with(&one), &full()).0, "events");
}

#[test]
fn two_changes_become_one() {
    let change = |port, users: Option<(&str, &str)>, doors| {
        let options = |password: &str| Options {
            users: vec![User::new("a", password), User::new("b", "p")],
            port,
            ..Options::default()
        };
        let users = users.map(|(old, new)| Users {
            auth: Authenticator::new(&options(new)).unwrap(),
            replaced: Replaced::between(&options(old), &options(new)),
            revoked: false,
        });
        Change { options: Arc::new(options("x")), doors, users }
    };
    let one = change(1, Some(("p", "q")), vec![(0, None), (1, None)]);
    let both = one.then(change(2, Some(("q", "q")), vec![(0, None)]));
    assert_eq!((both.options.port, both.doors.len()), (2, 2));
    assert!(both.users.as_ref().unwrap().replaced.has_user("a"), "the first change is not forgotten");
    let three = both.then(change(3, None, Vec::new()));
    assert!(three.options.port == 3 && three.users.is_some() && three.doors.len() == 2);
}
