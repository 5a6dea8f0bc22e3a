//! What the embedder can set, with the defaults of the NATS server, and the checks on it.

mod advertise;
mod monitor;
mod operator;
mod tls;
mod websocket;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::events::Events;
use crate::users::{Account, NkeyUser, Permissions, User};

pub use advertise::Advertise;
pub use monitor::MonitorOptions;
pub use operator::OperatorOptions;
pub use tls::{HandshakeFirst, TlsOptions};
pub use websocket::WebSocketOptions;

/// Settings of a [`Server`](crate::Server). Without `token`, `users`, `nkeys`, users in `accounts` and `operator`,
/// anybody may connect.
#[derive(Clone)]
pub struct Options {
    /// Address to listen on. Default `0.0.0.0`.
    pub host: String,
    /// Port to listen on; 0 lets the system choose. Default 4222.
    pub port: u16,
    /// Name shown to clients; default is the random server id.
    pub server_name: Option<String>,
    /// A shared secret that every client must present.
    pub token: Option<String>,
    /// Users that may connect with name and password.
    pub users: Vec<User>,
    /// Users that may connect by signing with their nkey.
    pub nkeys: Vec<NkeyUser>,
    /// Users in subject spaces of their own.
    pub accounts: Vec<Account>,
    /// The account whose users may ask the server about itself and hear of its events, on subjects that begin with
    /// `$SYS.`; it must be one of `accounts`. Default: `$SYS`, which has no users unless `accounts` gives it some.
    pub system_account: Option<String>,
    /// Users may ask, on such subjects, for the connections and the traffic of their own account. Default false: clients
    /// need not know of each other. The NATS server lets them, and so do configuration files.
    pub account_services: bool,
    /// What users without permissions of their own may do; `None`: everything. Not for those with the token.
    pub default_permissions: Option<Permissions>,
    /// Clients must show credentials although nobody has any (yet, or any more). Default false.
    pub closed: bool,
    /// Clients that show no credentials are this user, instead of being refused.
    pub no_auth_user: Option<String>,
    /// Trust in users that come with JWTs, and in nobody else: not together with `token`, `users`, `nkeys`, `accounts`,
    /// `system_account`, `no_auth_user` and `default_permissions`.
    pub operator: Option<OperatorOptions>,
    /// Encryption of the client listener.
    pub tls: Option<TlsOptions>,
    /// Something in front of the server ends TLS for it. Clients of the listener without `tls` are told that TLS is
    /// available: some that insist on it leave otherwise, although their way is encrypted. Default false.
    pub tls_in_front: bool,
    /// A listener for WebSocket clients.
    pub websocket: Option<WebSocketOptions>,
    /// A listener for monitoring over HTTP.
    pub monitor: Option<MonitorOptions>,
    /// `host:port` addresses announced to clients as reachable. Empty (the default): nothing is announced, and clients
    /// keep to the address they were given.
    pub connect_urls: Vec<String>,
    /// Stands in INFO for host and port.
    pub client_advertise: Option<Advertise>,
    /// Largest message, headers included, in bytes. Default 1 MiB.
    pub max_payload: usize,
    /// Longest protocol line, in bytes. Default 4096.
    pub max_control_line: usize,
    /// Bytes that may wait for one receiver before it is dropped as too slow. Default 64 MiB.
    pub max_pending: usize,
    /// Bytes that may wait for all receivers together, with what publishers have sent only in part. Above it the clients
    /// that hold most are dropped. Default 1 GiB; less than `max_pending` means as much as that.
    pub max_buffered: usize,
    /// Socket connections at one time. Default 65536.
    pub max_connections: usize,
    /// Subscriptions of one connection; 0 is no limit. Default 0.
    pub max_subscriptions: usize,
    /// Tokens that the subject of a subscription may have; 0 is no limit. Default 0.
    pub max_subscription_tokens: usize,
    /// Subscriptions of all connections together. Once there are so many, only those connections may subscribe that have
    /// less than their share. Each takes about half a KiB. 0 is no limit. Default 2 million.
    pub max_total_subscriptions: usize,
    /// Messages may have headers. Default true.
    pub headers: bool,
    /// Messages that may wait in one local subscription. Default 65536.
    pub local_max_pending_msgs: usize,
    /// How often an idle client is asked whether it lives. Default 2 minutes.
    pub ping_interval: Duration,
    /// How long after its first CONNECT a client is asked for the first time, which measures how far away it is; after
    /// `ping_interval` if that is shorter. Default 2 s.
    pub first_ping: Duration,
    /// Unanswered PINGs after which a client is stale. Default 2.
    pub ping_max: u32,
    /// Time for the CONNECT when credentials are needed. Default 2 s.
    pub auth_timeout: Duration,
    /// How long a client may accept no byte while bytes wait. Default 10 s.
    pub write_deadline: Duration,
    /// In lame duck mode clients are told, and their connections closed over this time. Default 2 minutes.
    pub lame_duck_duration: Duration,
    /// Time between the news and the first connection closed. Default 10 s.
    pub lame_duck_grace_period: Duration,
    /// Observer of connections.
    pub events: Option<Arc<dyn Events>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: "0.0.0.0".to_owned(),
            port: 4222,
            server_name: None,
            token: None,
            users: Vec::new(),
            nkeys: Vec::new(),
            accounts: Vec::new(),
            system_account: None,
            account_services: false,
            default_permissions: None,
            closed: false,
            no_auth_user: None,
            operator: None,
            tls: None,
            tls_in_front: false,
            websocket: None,
            monitor: None,
            connect_urls: Vec::new(),
            client_advertise: None,
            max_payload: 1024 * 1024,
            max_control_line: 4096,
            max_pending: 64 * 1024 * 1024,
            max_buffered: 1024 * 1024 * 1024,
            max_connections: 65_536,
            max_subscriptions: 0,
            max_subscription_tokens: 0,
            max_total_subscriptions: 2_000_000,
            headers: true,
            local_max_pending_msgs: 65_536,
            ping_interval: Duration::from_secs(120),
            first_ping: Duration::from_secs(2),
            ping_max: 2,
            auth_timeout: Duration::from_secs(2),
            write_deadline: Duration::from_secs(10),
            lame_duck_duration: Duration::from_secs(120),
            lame_duck_grace_period: Duration::from_secs(10),
            events: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("server_name", &self.server_name)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("users", &self.users)
            .field("nkeys", &self.nkeys)
            .field("accounts", &self.accounts)
            .field("connect_urls", &self.connect_urls)
            .field("client_advertise", &self.client_advertise)
            .field("max_payload", &self.max_payload)
            .field("max_pending", &self.max_pending)
            .field("max_connections", &self.max_connections)
            .field("ping_interval", &self.ping_interval)
            .field("write_deadline", &self.write_deadline)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Must clients show something, or can they at least?
    pub(crate) fn auth_required(&self) -> bool {
        let in_accounts = self.accounts.iter().any(|a| !a.users.is_empty() || !a.nkeys.is_empty());
        let listed = self.token.is_some() || !self.users.is_empty() || !self.nkeys.is_empty();
        self.closed || listed || in_accounts || self.operator.is_some()
    }

    /// Refuses settings that cannot work, before anything is opened.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let fail = |option, problem: String| Err(Error::Option { option, problem });
        // The parser reads sizes of at most nine digits, as other NATS servers do.
        if self.max_payload == 0 || self.max_payload > 999_999_999 {
            return fail("max_payload", format!("{} is outside 1..999999999 bytes", self.max_payload));
        }
        if self.max_payload > self.max_pending {
            let problem = format!(
                "max_payload {} is above max_pending {}: one message would drop its receiver",
                self.max_payload, self.max_pending
            );
            return fail("max_payload", problem);
        }
        if !(64..=1024 * 1024).contains(&self.max_control_line) {
            return fail(
                "max_control_line",
                format!("{} is outside 64..1048576 bytes", self.max_control_line),
            );
        }
        if self.token.as_deref() == Some("") {
            return fail("token", "is empty; leave it unset to allow everybody".to_owned());
        }
        if self.ping_interval.is_zero() || self.write_deadline.is_zero() || self.auth_timeout.is_zero() {
            return fail("ping_interval, write_deadline, auth_timeout", "must be above zero".to_owned());
        }
        if self.operator.is_some() {
            let others = [
                ("token", self.token.is_some()),
                ("users", !self.users.is_empty()),
                ("nkeys", !self.nkeys.is_empty()),
                ("accounts", !self.accounts.is_empty()),
                ("system_account", self.system_account.is_some()),
                ("no_auth_user", self.no_auth_user.is_some()),
                ("default_permissions", self.default_permissions.is_some()),
            ];
            if let Some((other, _)) = others.iter().find(|(_, is_set)| *is_set) {
                let problem = format!(
                    "is set, and {other} is too; with an operator, users and their permissions come from JWTs alone: \
                     unset one of the two"
                );
                return fail("operator", problem);
            }
        }
        if let Some(monitor) = &self.monitor
            && !monitor.base_path.is_empty()
            && !monitor.base_path.starts_with('/')
        {
            return fail("monitor.base_path", format!("{:?} does not start with /", monitor.base_path));
        }
        if self.local_max_pending_msgs == 0 {
            return fail("local_max_pending_msgs", "must be above zero".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let options = Options {
            token: Some("hunter2".into()),
            users: vec![User::new("u", "hunter2")],
            ..Options::default()
        };
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn impossible_settings_are_refused() {
        assert!(Options::default().check().is_ok());
        assert!(Options { max_payload: 100, max_pending: 10, ..Options::default() }.check().is_err());
        assert!(Options { token: Some(String::new()), ..Options::default() }.check().is_err());
        let operator =
            Some(OperatorOptions { jwt: String::new(), resolver: Default::default(), system_account: None });
        let both = Options { operator, no_auth_user: Some("u".into()), ..Options::default() };
        assert!(both.check().unwrap_err().to_string().contains("no_auth_user"));
        assert!(Options { max_control_line: 1, ..Options::default() }.check().is_err());
    }
}
