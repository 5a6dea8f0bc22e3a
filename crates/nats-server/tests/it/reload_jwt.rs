//! Accounts of an operator change while their users are connected: the same for this server and for the reference server
//! named by `NATS_SERVER_BIN`.

use bacalhau_nats_server::jwt::{AccountClaims, OperatorClaims, Scope, SigningKey};

use crate::reload::{Program, binaries};
use crate::support::Raw;
use crate::world::{User, World, now};

const STAYS: &str = "PONG\r\n";
const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";
const FAILURE: &str = "Authentication Failure";
const CLOSED: &str = "Client Closed";

/// What the users of the main account are told: one that the account itself signed for, one of a signing key, one of a
/// key with a template. And why their connections end; those that stay end when the test does.
type Told = ([&'static str; 3], [&'static str; 3]);

const ALL_STAY: Told = ([STAYS; 3], [CLOSED; 3]);
const ALL_REFUSED: Told = ([VIOLATION; 3], [FAILURE; 3]);

fn template(claims: &mut AccountClaims) -> &mut Scope {
    match &mut claims.nats.signing_keys[1] {
        SigningKey::Scoped(scope) => scope,
        SigningKey::Plain(_) => panic!("not scoped"),
    }
}

/// Reloads with another document of the main account, or none.
fn play(name: &str, (told, reasons): Told, change: impl Fn(&mut AccountClaims, &User) -> bool) {
    for binary in binaries() {
        let mut world = World::new();
        let program = Program::start(&binary, &world.config());
        let addr = program.addr("nats");
        let users: Vec<User> = [&world.account, &world.signing, &world.scoped]
            .into_iter()
            .map(|signer| world.user(signer, |_| {}))
            .collect();
        let mut open: Vec<Raw> = users
            .iter()
            .map(|user| {
                let mut raw = user.log_in(addr);
                raw.send("SUB x 1\r\nPING\r\n");
                raw.until("PONG\r\n");
                raw
            })
            .collect();
        let mut claims = world.main_account();
        if change(&mut claims, &users[0]) {
            world.add(claims, None);
        } else {
            world.resolver.remove(world.account.public_key());
        }
        let said = program.reload(&world.config());
        assert!(said.contains("[INF] Reloaded: accounts\n"), "{name} {binary}: {said}");
        for (raw, told) in open.iter_mut().zip(told) {
            raw.send("PING\r\n");
            let _ = raw.stream.shutdown(std::net::Shutdown::Write);
            assert_eq!(raw.rest(), told, "{name} {binary}");
        }
        crate::support::eventually("all are closed", || program.reasons().len() == 3);
        assert_eq!(program.reasons(), reasons, "{name} {binary}");
    }
}

#[test]
fn accounts_change() {
    play("renamed", ALL_STAY, |claims, _| {
        claims.name = "other".into();
        claims.nats.limits.payload = 5;
        true
    });
    let revoked = "-ERR 'User Authentication Revoked'\r\n";
    play("revoked", ([revoked, STAYS, STAYS], ["Credentials Revoked", CLOSED, CLOSED]), |claims, user| {
        claims.nats.revocations.insert(user.keys.public_key().into(), now() + 1);
        true
    });
    play("no signing key", ([STAYS, "", STAYS], [CLOSED, FAILURE, CLOSED]), |claims, _| {
        claims.nats.signing_keys.remove(0);
        true
    });
    play("template", ([STAYS, STAYS, ""], [CLOSED, CLOSED, FAILURE]), |claims, _| {
        template(claims).template.permissions.publish.allow.push("more".into());
        true
    });
    let lost = "-ERR 'Permissions Violation for Subscription to \"x\" (sid \"1\")'\r\nPONG\r\n";
    play("default permissions", ([lost, lost, STAYS], [CLOSED; 3]), |claims, _| {
        claims.nats.default_permissions.subscribe.deny = vec!["x".into()];
        true
    });
    play("expired", ALL_REFUSED, |claims, _| {
        claims.exp = now() - 1;
        true
    });
    play("gone", ALL_REFUSED, |_, _| false);
    let full = "-ERR 'maximum account active connections exceeded'\r\n";
    let reason = "Maximum Account Connections Exceeded";
    play("connections", ([STAYS, full, full], [CLOSED, reason, reason]), |claims, _| {
        claims.nats.limits.conn = 1;
        true
    });
}

#[test]
fn the_operator_stays() {
    for binary in binaries() {
        let mut world = World::new();
        let program = Program::start(&binary, &world.config());
        let mut raw = world.user(&world.account, |_| {}).log_in(program.addr("nats"));
        raw.send("PING\r\n");
        raw.until("PONG\r\n");
        let old = world.config();
        let mut claims = OperatorClaims::decode(&world.operator_jwt).unwrap();
        claims.name = "other".into();
        world.operator_jwt = claims.sign(&world.operator).unwrap();
        for config in [world.config(), "max_payload: 5".to_owned()] {
            let said = program.reload(&config);
            assert!(said.contains("[ERR] Failed to reload server configuration: "), "{binary}: {said}");
            raw.send("PUB a 6\r\n123456\r\nPING\r\n");
            assert_eq!(raw.until("PONG\r\n"), "PONG\r\n", "{binary}");
        }
        assert!(program.reload(&old).contains("Reloaded server configuration"), "{binary}");
    }
}
