//! From the tree to the server's options: the fields at the top of a configuration file.

use std::collections::HashSet;
use std::time::Duration;

use super::ServerConfig;
use super::accounts::accounts;
use super::address::{Port, listen, port};
use super::authorization::authorization;
use super::error::ConfError;
use super::fields::{Item, items};
use super::left_out::left_out;
use super::operator::Operator;
use super::tls::tls;
use super::value::{Map, Value};
use super::websocket::websocket;
use crate::options::{Advertise, MonitorOptions};

/// Connections when the file says that there is no limit: more than a system has.
const UNLIMITED: usize = u32::MAX as usize;
/// The shortest lame duck mode that may be configured.
const MIN_LAME_DUCK: Duration = Duration::from_secs(30);

/// What is complete only when all fields are known.
#[derive(Default)]
struct Rest<'a> {
    authorization: Option<Item<'a>>,
    accounts: Option<Item<'a>>,
    operator: Operator,
    monitor_host: Option<String>,
    monitor_port: Option<Port>,
    monitor_path: String,
    allow_non_tls: bool,
}

/// Reads all fields.
pub(super) fn config(map: &Map) -> Result<ServerConfig, ConfError> {
    let mut config = ServerConfig::default();
    let mut rest = Rest::default();
    for item in items(map) {
        if !(listener(&item, &mut config, &mut rest)?
            || limit(&item, &mut config)?
            || trust(&item, &mut config, &mut rest)?
            || file(&item, &mut config)?
            || left_out(&item, &mut config)?
            || is_ignored(&item)?)
        {
            refuse(&item)?;
        }
    }
    finish(&mut config, rest)?;
    Ok(config)
}

/// Where clients and others connect.
fn listener<'a>(item: &Item<'a>, config: &mut ServerConfig, rest: &mut Rest<'a>) -> Result<bool, ConfError> {
    let options = &mut config.options;
    match item.name.as_str() {
        "listen" => {
            let (host, port) = listen(item)?;
            options.host = host.unwrap_or_else(|| options.host.clone());
            options.port = port.number().unwrap_or(options.port);
        }
        "port" => options.port = port(item)?.number().unwrap_or(options.port),
        "host" | "net" => options.host = item.owned()?,
        "server_name" => {
            let name = item.text()?;
            if name.contains(char::is_whitespace) {
                return Err(item.wrong("server name cannot contain spaces"));
            }
            options.server_name = (!name.is_empty()).then(|| name.to_owned());
        }
        "client_advertise" => {
            options.client_advertise =
                Some(item.text()?).filter(|text| !text.is_empty()).map(Advertise::parse);
        }
        "http" => {
            let (host, port) = listen(item)?;
            rest.monitor_host = host;
            rest.monitor_port = Some(port);
        }
        "http_port" | "monitor_port" => rest.monitor_port = Some(port(item)?),
        "http_base_path" => rest.monitor_path = base_path(item.text()?),
        "tls" => options.tls = Some(tls(item)?),
        "allow_non_tls" => rest.allow_non_tls = item.boolean()?,
        "websocket" | "ws" => options.websocket = websocket(item)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// How much, how often and how long.
fn limit(item: &Item<'_>, config: &mut ServerConfig) -> Result<bool, ConfError> {
    let options = &mut config.options;
    match item.name.as_str() {
        "max_payload" => set(&mut options.max_payload, item.count::<i32>()?.and_then(|n| n.try_into().ok())),
        "max_control_line" => {
            set(&mut options.max_control_line, item.count::<i32>()?.and_then(|n| n.try_into().ok()));
        }
        "max_pending" => set(&mut options.max_pending, item.count()?),
        "max_connections" | "max_conn" => {
            let count = if item.integer()? < 0 { Some(UNLIMITED) } else { item.count()? };
            set(&mut options.max_connections, count);
        }
        "max_subscriptions" | "max_subs" => {
            options.max_subscriptions = if item.integer()? < 0 { 0 } else { item.count()?.unwrap_or(0) };
        }
        "max_sub_tokens" | "max_subscription_tokens" => {
            let tokens: u8 = item.count()?.unwrap_or(0);
            options.max_subscription_tokens = tokens.into();
        }
        "no_header_support" => options.headers = !item.boolean()?,
        "ping_interval" => set(&mut options.ping_interval, item.timeout()?),
        "ping_max" => set(&mut options.ping_max, item.count()?),
        "write_deadline" => set(&mut options.write_deadline, item.timeout()?),
        "lame_duck_duration" => {
            let (duration, negative) = item.signed_duration()?;
            if negative || duration < MIN_LAME_DUCK {
                return Err(item.wrong("is too short; the minimum is 30 seconds"));
            }
            options.lame_duck_duration = duration;
        }
        "lame_duck_grace_period" => match item.signed_duration()? {
            (_, true) => return Err(item.wrong("needs to be positive")),
            (duration, false) => {
                set(&mut options.lame_duck_grace_period, (!duration.is_zero()).then_some(duration))
            }
        },
        _ => return Ok(false),
    }
    Ok(true)
}

/// Who may connect.
fn trust<'a>(item: &Item<'a>, config: &mut ServerConfig, rest: &mut Rest<'a>) -> Result<bool, ConfError> {
    match item.name.as_str() {
        "authorization" => rest.authorization = Some(item.clone()),
        "accounts" => rest.accounts = Some(item.clone()),
        "no_auth_user" => {
            config.options.no_auth_user = Some(item.owned()?).filter(|name| !name.is_empty());
        }
        "operator" | "operators" | "roots" | "root" | "root_operators" | "root_operator" => {
            rest.operator.set_operator(item)?;
        }
        "resolver" | "account_resolver" | "accounts_resolver" => Operator::set_resolver(item)?,
        "resolver_preload" => rest.operator.set_preload(item)?,
        "system_account" | "system" => rest.operator.set_system_account(item)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// What the program around the server does.
fn file(item: &Item<'_>, config: &mut ServerConfig) -> Result<bool, ConfError> {
    match item.name.as_str() {
        "logfile" | "log_file" => config.log_file = Some(item.text()?.into()),
        "pidfile" | "pid_file" => config.pid_file = Some(item.text()?.into()),
        "ports_file_dir" => config.ports_file_dir = Some(item.text()?.into()),
        "debug" => config.debug = item.boolean()?,
        "trace" => config.trace = item.boolean()?,
        "logtime" => config.log_time = item.boolean()?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Fields that need no answer: no client can tell whether the server knows them.
fn is_ignored(item: &Item<'_>) -> Result<bool, ConfError> {
    match item.name.as_str() {
        "logfile_size_limit"
        | "log_size_limit"
        | "logfile_max_num"
        | "log_max_num"
        | "prof_port"
        | "prof_block_rate"
        | "max_traced_msg_len"
        | "connect_error_reports"
        | "reconnect_error_reports"
        | "max_closed_clients" => drop(item.integer()?),
        "logtime_utc"
        | "trace_verbose"
        | "trace_headers"
        | "disable_sublist_cache"
        | "no_sublist_cache"
        | "no_system_account"
        | "no_system"
        | "no_sys_acc" => drop(item.boolean()?),
        "store_dir" | "storedir" => drop(item.text()?),
        "server_tags" => drop(item.texts()?),
        "server_metadata" => drop(item.map()?),
        // Features that are not there, switched off.
        "no_fast_producer_stall" | "proxy_protocol" | "syslog" if !item.boolean()? => {}
        "ocsp" | "ocsp_cache" if matches!(item.node.value, Value::Bool(false)) => {}
        _ => return Ok(false),
    }
    Ok(true)
}

/// Everything else: known elsewhere, or nowhere.
fn refuse(item: &Item<'_>) -> Result<(), ConfError> {
    match item.name.as_str() {
        "cluster"
        | "gateway"
        | "mqtt"
        | "mappings"
        | "maps"
        | "https"
        | "https_port"
        | "resolver_tls"
        | "resolver_pinned_accounts"
        | "trusted"
        | "trusted_keys"
        | "ocsp"
        | "ocsp_cache"
        | "no_fast_producer_stall"
        | "proxy_protocol"
        | "proxies"
        | "syslog"
        | "remote_syslog"
        | "default_js_domain"
        | "default_sentinel"
        | "write_timeout"
        | "feature_flags" => Err(item.unsupported()),
        _ => item.unknown(),
    }
}

fn finish(config: &mut ServerConfig, rest: Rest<'_>) -> Result<(), ConfError> {
    let options = &mut config.options;
    let mut taken = HashSet::new();
    if let Some(tls) = &options.tls {
        options.auth_timeout = tls.usual_auth_timeout();
    }
    if let Some(item) = &rest.accounts {
        options.accounts = accounts(item, &mut taken)?;
    }
    if let Some(item) = &rest.authorization {
        authorization(item, options, &mut taken)?;
    }
    rest.operator.finish(options)?;
    if let Some(port) = rest.monitor_port.and_then(Port::number) {
        let host = rest.monitor_host.unwrap_or_else(|| options.host.clone());
        options.monitor = Some(MonitorOptions { host, port, base_path: rest.monitor_path });
    }
    if let Some(tls) = &mut config.options.tls {
        tls.allow_non_tls = rest.allow_non_tls;
    }
    Ok(())
}

/// `/nats` for `nats`, `/nats` and `/nats/`; nothing for `/`.
fn base_path(text: &str) -> String {
    let path = text.trim_matches('/');
    if path.is_empty() { String::new() } else { format!("/{path}") }
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}
