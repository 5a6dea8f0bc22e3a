//! Two sets of options compared: what has changed, and what must not. The NATS server decides which is which.

use std::fmt::Debug;
use std::time::Duration;

use crate::error::Error;
use crate::options::{HandshakeFirst, OperatorOptions, Options, TlsOptions, WebSocketOptions};

use super::Changed;

/// # Errors
/// [`Error::NotReloadable`] for the first setting that cannot change while the server runs.
pub(crate) fn compare(old: &Options, new: &Options) -> Result<Vec<Changed>, Error> {
    // Field by field, so that a new one is not forgotten here.
    let Options {
        host,
        port,
        server_name,
        token,
        users,
        nkeys,
        accounts,
        default_permissions,
        closed,
        no_auth_user,
        operator,
        tls,
        tls_in_front,
        websocket,
        monitor,
        connect_urls,
        client_advertise,
        headers,
        system_account,
        account_services,
        max_payload,
        max_control_line,
        max_pending,
        max_buffered,
        max_connections,
        max_subscriptions,
        max_subscription_tokens,
        max_total_subscriptions,
        local_max_pending_msgs,
        ping_interval,
        first_ping,
        ping_max,
        auth_timeout,
        write_deadline,
        lame_duck_duration,
        lame_duck_grace_period,
        events,
    } = old;

    fixed("host", host, &new.host)?;
    fixed("port", port, &new.port)?;
    fixed("server_name", server_name, &new.server_name)?;
    fixed("headers", headers, &new.headers)?;
    fixed("tls_in_front", tls_in_front, &new.tls_in_front)?;
    fixed("system_account", system_account, &new.system_account)?;
    fixed("account_services", account_services, &new.account_services)?;
    fixed("no_auth_user", no_auth_user, &new.no_auth_user)?;
    fixed("max_pending", max_pending, &new.max_pending)?;
    fixed("max_subscriptions", max_subscriptions, &new.max_subscriptions)?;
    fixed("max_subscription_tokens", max_subscription_tokens, &new.max_subscription_tokens)?;
    fixed("local_max_pending_msgs", local_max_pending_msgs, &new.local_max_pending_msgs)?;
    fixed("lame_duck_duration", lame_duck_duration, &new.lame_duck_duration)?;
    fixed("lame_duck_grace_period", lame_duck_grace_period, &new.lame_duck_grace_period)?;
    fixed("monitor", monitor, &new.monitor)?;
    let same_events = match (events, &new.events) {
        (Some(old), Some(new)) => std::sync::Arc::ptr_eq(old, new),
        (None, None) => true,
        _ => false,
    };
    if !same_events {
        return Err(refused("events", "an observer", "another"));
    }
    same_operator(operator.as_ref(), new.operator.as_ref())?;
    same_web(websocket.as_ref(), new.websocket.as_ref())?;
    if let (Some(old), Some(new)) = (tls, &new.tls) {
        fixed("tls.verify_and_map", &old.verify_and_map, &new.verify_and_map)?;
        fixed("tls.allow_non_tls", &old.allow_non_tls, &new.allow_non_tls)?;
    }

    let mut changes = Changes::default();
    changes.value("max_connections", max_connections, &new.max_connections);
    let same_users = *users == new.users
        && *nkeys == new.nkeys
        && *default_permissions == new.default_permissions
        && *closed == new.closed;
    changes.name("authorization users", same_users);
    changes.name("accounts", *accounts == new.accounts && *operator == new.operator);
    changes.name("authorization token", *token == new.token);
    changes.time("authorization timeout", *auth_timeout, new.auth_timeout);
    if connect_urls != &new.connect_urls {
        changes.add("connect_urls", new.connect_urls.join(", "));
    }
    if client_advertise != &new.client_advertise {
        let value = new.client_advertise.as_ref().map(ToString::to_string);
        changes.add("client_advertise", value.unwrap_or_default());
    }
    changes.value("max_payload", max_payload, &new.max_payload);
    changes.value("max_control_line", max_control_line, &new.max_control_line);
    changes.value("max_buffered", max_buffered, &new.max_buffered);
    changes.value("max_total_subscriptions", max_total_subscriptions, &new.max_total_subscriptions);
    changes.time("ping_interval", *ping_interval, new.ping_interval);
    changes.time("first_ping", *first_ping, new.first_ping);
    changes.value("ping_max", ping_max, &new.ping_max);
    changes.time("write_deadline", *write_deadline, new.write_deadline);
    changes.tls(tls.as_ref(), new.tls.as_ref());
    let same = websocket.as_ref().map(|web| &web.tls) == new.websocket.as_ref().map(|web| &web.tls);
    changes.name("websocket tls", same);
    Ok(changes.0)
}

/// Trust itself stays; the documents of accounts may change.
fn same_operator(old: Option<&OperatorOptions>, new: Option<&OperatorOptions>) -> Result<(), Error> {
    match (old, new) {
        (Some(old), Some(new)) if old.jwt != new.jwt => Err(refused("operator.jwt", "a JWT", "another JWT")),
        (Some(old), Some(new)) => fixed("operator.system_account", &old.system_account, &new.system_account),
        (None, None) => Ok(()),
        (Some(_), None) => Err(refused("operator", "an operator", "none")),
        (None, Some(_)) => Err(refused("operator", "none", "an operator")),
    }
}

/// Only certificates and what belongs to them may change.
fn same_web(old: Option<&WebSocketOptions>, new: Option<&WebSocketOptions>) -> Result<(), Error> {
    let (Some(old), Some(new)) = (old, new) else {
        let shown = |web: Option<&WebSocketOptions>| web.map_or("no listener", |_| "a listener");
        return match old.is_some() == new.is_some() {
            true => Ok(()),
            false => Err(refused("websocket", shown(old), shown(new))),
        };
    };
    fixed("websocket.host", &old.host, &new.host)?;
    fixed("websocket.port", &old.port, &new.port)?;
    fixed("websocket.allowed_origins", &old.allowed_origins, &new.allowed_origins)?;
    fixed("websocket.same_origin", &old.same_origin, &new.same_origin)?;
    fixed("websocket.handshake_timeout", &old.handshake_timeout, &new.handshake_timeout)?;
    match (&old.tls, &new.tls) {
        (Some(old), Some(new)) => {
            fixed("websocket.tls.verify_and_map", &old.verify_and_map, &new.verify_and_map)
        }
        (None, None) => Ok(()),
        (old, _) => {
            let (with, without) = ("encryption", "no encryption");
            let (old, new) = if old.is_some() { (with, without) } else { (without, with) };
            Err(refused("websocket.tls", old, new))
        }
    }
}

fn fixed<T: PartialEq + Debug>(option: &'static str, old: &T, new: &T) -> Result<(), Error> {
    if old == new {
        return Ok(());
    }
    Err(refused(option, format!("{old:?}"), format!("{new:?}")))
}

fn refused(option: &'static str, old: impl Into<String>, new: impl Into<String>) -> Error {
    Error::NotReloadable { option, old: old.into(), new: new.into() }
}

/// What has changed so far.
#[derive(Default)]
struct Changes(Vec<Changed>);

impl Changes {
    fn add(&mut self, name: &'static str, value: String) {
        self.0.push(Changed { name, value: Some(value) });
    }

    /// Something whose value is long, or a secret.
    fn name(&mut self, name: &'static str, same: bool) {
        if !same {
            self.0.push(Changed { name, value: None });
        }
    }

    fn value<T: PartialEq + ToString>(&mut self, name: &'static str, old: &T, new: &T) {
        if old != new {
            self.add(name, new.to_string());
        }
    }

    fn time(&mut self, name: &'static str, old: Duration, new: Duration) {
        if old != new {
            self.add(name, format!("{new:?}"));
        }
    }

    fn tls(&mut self, old: Option<&TlsOptions>, new: Option<&TlsOptions>) {
        match (old, new) {
            (None, None) => return,
            (Some(_), None) => return self.add("tls", "disabled".to_owned()),
            // Its certificates are read again; whether they are the same is not looked at.
            (_, Some(_)) => self.add("tls", "enabled".to_owned()),
        }
        let (Some(old), Some(new)) = (old, new) else { return };
        self.time("tls timeout", old.timeout, new.timeout);
        if old.handshake_first != new.handshake_first {
            let value = match new.handshake_first {
                HandshakeFirst::Never => "false".to_owned(),
                HandshakeFirst::Always => "true".to_owned(),
                HandshakeFirst::Auto(wait) => format!("true, after {wait:?} INFO first"),
            };
            self.add("Client TLS handshake first", value);
        }
    }
}
