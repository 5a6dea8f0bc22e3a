//! An operator with accounts and users, for this server and for the reference server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use bacalhau_nats_server::jwt::{
    AccountClaims, KeyPair, OperatorClaims, Role, Scope, SigningKey, Terms, UserClaims,
};
use bacalhau_nats_server::{OperatorOptions, Options, Server};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::differential::Reference;
use crate::support::{Raw, options};

pub(crate) fn key(role: Role) -> KeyPair {
    KeyPair::generate(role).unwrap()
}

pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

/// An operator and its accounts.
pub(crate) struct World {
    pub(crate) operator: KeyPair,
    pub(crate) operator_jwt: String,
    pub(crate) account: KeyPair,
    /// Signs for the account, and in `strict` ways.
    pub(crate) signing: KeyPair,
    pub(crate) scoped: KeyPair,
    /// An account with limits.
    pub(crate) narrow: KeyPair,
    /// An account that may have nothing.
    pub(crate) empty: KeyPair,
    /// Nobody has signed for it.
    pub(crate) stranger: KeyPair,
    pub(crate) resolver: BTreeMap<String, String>,
}

impl World {
    pub(crate) fn new() -> World {
        let operator = key(Role::Operator);
        let operator_signing = key(Role::Operator);
        let mut claims = OperatorClaims::new(operator.public_key(), "op");
        claims.nats.signing_keys = vec![operator_signing.public_key().to_owned()];
        let system = key(Role::Account);
        claims.nats.system_account = system.public_key().to_owned();
        let mut world = World {
            operator_jwt: claims.sign(&operator).unwrap(),
            operator,
            account: key(Role::Account),
            signing: key(Role::Account),
            scoped: key(Role::Account),
            narrow: key(Role::Account),
            empty: key(Role::Account),
            stranger: key(Role::Account),
            resolver: BTreeMap::new(),
        };
        world.add(AccountClaims::new(system.public_key(), "SYS"), None);
        let claims = world.main_account();
        world.add(claims, Some(&operator_signing));
        let mut narrow = AccountClaims::new(world.narrow.public_key(), "narrow");
        narrow.nats.limits.conn = 1;
        narrow.nats.limits.subs = 1;
        narrow.nats.limits.payload = 4;
        narrow.nats.limits.disallow_bearer = true;
        narrow.nats.default_permissions.publish.deny = vec!["secret".into()];
        world.add(narrow, None);
        let mut empty = AccountClaims::new(world.empty.public_key(), "empty");
        empty.nats.limits.conn = 0;
        world.add(empty, None);
        world
    }

    pub(crate) fn main_account(&self) -> AccountClaims {
        let mut claims = AccountClaims::new(self.account.public_key(), "main");
        let mut template = Terms::default();
        template.permissions.publish.allow = vec!["{{name()}}.>".into(), "_INBOX.>".into()];
        template.permissions.subscribe.allow = vec!["{{tag(team)}}.{{account-name()}}.{{subject()}}".into()];
        let scope = Scope::new(self.scoped.public_key(), "role", template);
        claims.nats.signing_keys =
            vec![SigningKey::Plain(self.signing.public_key().into()), SigningKey::Scoped(Box::new(scope))];
        claims
    }

    pub(crate) fn add(&mut self, claims: AccountClaims, signer: Option<&KeyPair>) {
        let key = claims.sub.clone();
        let jwt = claims.sign(signer.unwrap_or(&self.operator)).unwrap();
        self.resolver.insert(key, jwt);
    }

    pub(crate) fn options(&self) -> Options {
        let operator = OperatorOptions {
            jwt: self.operator_jwt.clone(),
            resolver: self.resolver.clone(),
            system_account: None,
        };
        Options { operator: Some(operator), ..options() }
    }

    pub(crate) fn server(&self) -> Server {
        Server::start(self.options()).unwrap()
    }

    /// The reference with the same documents.
    pub(crate) fn reference(&self) -> Option<(Reference, TempFile)> {
        let Ok(binary) = std::env::var("NATS_SERVER_BIN") else {
            println!("skipped: NATS_SERVER_BIN names no reference server");
            return None;
        };
        let config = self.conf();
        let file = TempFile::new("conf", &config);
        Some((Reference::start(&binary, &["-c", file.path.to_str().unwrap()]), file))
    }

    /// The documents as a configuration file.
    pub(crate) fn conf(&self) -> String {
        let preload: Vec<String> =
            self.resolver.iter().map(|(key, jwt)| format!("  {key}: \"{jwt}\"")).collect();
        format!(
            "operator: \"{}\"\nresolver: MEMORY\nresolver_preload: {{\n{}\n}}\n",
            self.operator_jwt,
            preload.join("\n")
        )
    }

    pub(crate) fn user(&self, signer: &KeyPair, change: impl FnOnce(&mut UserClaims)) -> User {
        let keys = key(Role::User);
        let mut claims = UserClaims::new(keys.public_key(), "ann");
        if [self.signing.public_key(), self.scoped.public_key()].contains(&signer.public_key()) {
            claims.nats.issuer_account = self.account.public_key().to_owned();
        }
        if signer.public_key() == self.scoped.public_key() {
            claims.nats.terms = Terms::blank();
            claims.nats.common.tags = vec!["team:red".into()];
        }
        change(&mut claims);
        User { jwt: claims.sign(signer).unwrap(), keys, signs: true }
    }
}

pub(crate) struct User {
    pub(crate) jwt: String,
    pub(crate) keys: KeyPair,
    pub(crate) signs: bool,
}

impl User {
    pub(crate) fn log_in(&self, addr: SocketAddr) -> Raw {
        self.log_in_with(addr, "\"protocol\":0")
    }

    pub(crate) fn log_in_with(&self, addr: SocketAddr, more: &str) -> Raw {
        let mut raw = Raw::open(addr);
        let info = raw.until("\r\n");
        let info: serde_json::Value = serde_json::from_str(info.trim_start_matches("INFO ")).unwrap();
        assert_eq!(info["auth_required"], true);
        let nonce = info["nonce"].as_str().unwrap();
        let signature = match self.signs {
            true => URL_SAFE_NO_PAD.encode(self.keys.sign(nonce.as_bytes())),
            false => String::new(),
        };
        raw.send(format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"jwt\":\"{}\",\"sig\":\"{signature}\",{more}}}\r\n",
            self.jwt
        ));
        raw
    }

    /// What a server says to this user, who sends something.
    pub(crate) fn talk(&self, addr: SocketAddr, send: &str) -> String {
        let mut raw = self.log_in(addr);
        raw.send(format!("{send}PING\r\n"));
        let _ = raw.stream.shutdown(std::net::Shutdown::Write);
        raw.rest()
    }
}

pub(crate) struct TempFile {
    pub(crate) path: PathBuf,
}

impl TempFile {
    pub(crate) fn new(kind: &str, text: &str) -> TempFile {
        let name = format!("nats-{}-{:?}.{kind}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        TempFile { path }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
