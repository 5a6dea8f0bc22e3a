//! The command line. What it says counts more than the configuration file.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bacalhau_nats_server::conf::ServerConfig;
use bacalhau_nats_server::{Advertise, MonitorOptions, Options, TlsOptions, User};

/// The text of `--help`.
pub(crate) const HELP: &str = "\
Usage: nats-server [options]

Server:
    -a, --addr, --net <host>         Address to listen on (default: 0.0.0.0)
    -p, --port <port>                Port for clients (default: 4222; -1 for any)
    -n, --name, --server_name <name> Name of the server (default: its random id)
    -P, --pid <file>                 File for the process id
    -m, --http_port <port>           Port for monitoring over HTTP
    -c, --config <file>              Configuration file
    -t                               Test the configuration and exit
    -sl, --signal <order>[=<pid>]    Send a signal (ldm, stop, quit, term, reopen, reload) to a server;
                                     <pid> is a process id or a file with one; without it, there must be
                                     only one server
        --client_advertise <address> Address to announce to clients
        --ports_file_dir <dir>       Folder for a file with the ports in use (nats-server_<pid>.ports)

Logging:
    -l, --log <file>                 File for the log (default: standard error)
    -T, --logtime                    Log lines have times (default: true)
    -D, --debug                      Log what helps to find faults
    -V, --trace                      Log more than that
    -DV                              Both

Authorization:
        --user <user>                User that clients must be
        --pass <password>            Their password
        --auth <token>               Token that clients must show

TLS:
        --tls                        Encrypt connections
        --tlscert <file>             Certificate of the server
        --tlskey <file>              Its private key
        --tlsverify                  Encrypt, and ask clients for certificates
        --tlscacert <file>           Certificates of those who issue client certificates

Limits:
        --max_payload <bytes>, --max_pending <bytes>, --max_control_line <bytes>, --max_connections <number>,
        --max_subscriptions <number>, --ping_interval <seconds>, --ping_max <number>,
        --write_deadline <seconds>, --auth_timeout <seconds>

    -h, --help                       Show this
    -v, --version                    Show the version

There are no clusters and no JetStream here: -js and -sd are ignored with a warning, flags of clusters are errors.
";

/// What the command line asks for.
pub(crate) enum Request {
    Help,
    Version,
    /// Send a signal to another process.
    Signal(String),
    /// Run a server, or test its configuration.
    Run(Box<Flags>),
}

/// A change to the options.
type Change = Box<dyn Fn(&mut Options)>;

/// Settings for a server.
#[derive(Default)]
pub(crate) struct Flags {
    pub(crate) config: Option<PathBuf>,
    pub(crate) test: bool,
    /// What the user should know although the server starts.
    pub(crate) warnings: Vec<String>,
    changes: Vec<Change>,
    monitor_port: Option<Option<u16>>,
    advertise: Option<String>,
    log_file: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    ports_file_dir: Option<PathBuf>,
    debug: Option<bool>,
    trace: Option<bool>,
    log_time: Option<bool>,
    user: Option<String>,
    password: Option<String>,
    tls: Option<bool>,
    tls_verify: Option<bool>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
}

/// Reads the arguments: `-p 4222`, `-p=4222`, `--port 4222`, with one dash or two.
pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Request, String> {
    let mut flags = Box::new(Flags::default());
    while let Some(arg) = args.next() {
        let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            return match arg.to_ascii_lowercase().as_str() {
                "help" => Ok(Request::Help),
                "version" => Ok(Request::Version),
                _ => Err(format!("unrecognized command: {arg:?}; flags begin with a dash, see --help")),
            };
        };
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        match name {
            "h" | "help" => return Ok(Request::Help),
            "v" | "version" => return Ok(Request::Version),
            _ => {}
        }
        if flags.set_switch(name, inline.as_deref())? {
            continue;
        }
        refuse_unsupported(name)?;
        let value = match inline {
            Some(value) => value,
            None => args
                .next()
                .ok_or_else(|| format!("flag needs an argument or is not defined: -{name}; see --help"))?,
        };
        match name {
            "sl" | "signal" => return Ok(Request::Signal(value)),
            _ => flags.set_value(name, value)?,
        }
    }
    Ok(Request::Run(flags))
}

fn refuse_unsupported(name: &str) -> Result<(), String> {
    match name {
        "routes" | "cluster" | "cluster_name" | "cluster_listen" | "cluster_advertise" | "no_advertise"
        | "connect_retries" => Err(format!("flag -{name} is not supported: this server forms no clusters")),
        "ms" | "https_port" | "s" | "syslog" | "r" | "remote_syslog" | "profile" | "help_tls" => {
            Err(format!("flag -{name} is not supported by this server"))
        }
        _ => Ok(()),
    }
}

impl Flags {
    /// Flags that are on, or `=true` or `=false`. False if it is none of those.
    fn set_switch(&mut self, name: &str, inline: Option<&str>) -> Result<bool, String> {
        let is_on = match inline {
            None => Ok(true),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(other) => Err(format!("invalid boolean value {other:?} for -{name}")),
        };
        match name {
            "D" | "debug" => self.debug = Some(is_on?),
            "V" | "trace" | "VV" => self.trace = Some(is_on?),
            "DV" | "DVV" => {
                self.debug = Some(is_on?);
                self.trace = self.debug;
            }
            "T" | "logtime" => self.log_time = Some(is_on?),
            // Times are always UTC.
            "logtime_utc" => drop(is_on?),
            "t" => self.test = is_on?,
            "js" | "jetstream" => {
                if is_on? {
                    self.warnings
                        .push("JetStream is not supported by this server; -js is ignored".to_owned());
                }
            }
            "tls" => self.tls = Some(is_on?),
            "tlsverify" => self.tls_verify = Some(is_on?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_value(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "c" | "config" => self.config = Some(value.into()),
            "a" | "addr" | "net" => self.change(move |options| options.host.clone_from(&value)),
            "p" | "port" => {
                // Zero is the default, as in a configuration file.
                let port = port(name, &value)?.unwrap_or(Options::default().port);
                self.change(move |options| options.port = port);
            }
            "m" | "http_port" => self.monitor_port = Some(port(name, &value)?),
            "n" | "name" | "server_name" => {
                if value.contains(char::is_whitespace) {
                    return Err("the server's name cannot contain spaces".to_owned());
                }
                self.change(move |options| options.server_name = Some(value.clone()));
            }
            "auth" => self.change(move |options| options.token = Some(value.clone())),
            "user" => self.user = Some(value),
            "pass" => self.password = Some(value),
            "client_advertise" => self.advertise = Some(value),
            "l" | "log" => self.log_file = Some(value.into()),
            "P" | "pid" => self.pid_file = Some(value.into()),
            "ports_file_dir" => self.ports_file_dir = Some(value.into()),
            "tlscert" => self.tls_cert = Some(value.into()),
            "tlskey" => self.tls_key = Some(value.into()),
            "tlscacert" => self.tls_ca = Some(value.into()),
            "sd" | "store_dir" => {
                self.warnings.push("JetStream is not supported by this server; -sd is ignored".to_owned());
            }
            // What these bound is not written here.
            "log_size_limit" | "max_traced_msg_len" => drop(number::<i64>(name, &value)?),
            _ => return self.set_limit(name, &value),
        }
        Ok(())
    }

    /// Limits, which other NATS servers read from a file only.
    fn set_limit(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "max_payload" => self.assign(number(name, value)?, |options| &mut options.max_payload),
            "max_pending" => self.assign(number(name, value)?, |options| &mut options.max_pending),
            "max_control_line" => self.assign(number(name, value)?, |options| &mut options.max_control_line),
            "max_connections" => self.assign(number(name, value)?, |options| &mut options.max_connections),
            "max_subscriptions" => {
                self.assign(number(name, value)?, |options| &mut options.max_subscriptions)
            }
            "ping_max" => self.assign(number(name, value)?, |options| &mut options.ping_max),
            "ping_interval" => self.assign(seconds(name, value)?, |options| &mut options.ping_interval),
            "write_deadline" => self.assign(seconds(name, value)?, |options| &mut options.write_deadline),
            "auth_timeout" => self.assign(seconds(name, value)?, |options| &mut options.auth_timeout),
            _ => return Err(format!("flag provided but not defined: -{name}; see --help")),
        }
        Ok(())
    }

    fn change(&mut self, change: impl Fn(&mut Options) + 'static) {
        self.changes.push(Box::new(change));
    }

    fn assign<T: Clone + 'static>(&mut self, value: T, field: impl Fn(&mut Options) -> &mut T + 'static) {
        self.change(move |options| field(options).clone_from(&value));
    }

    /// Puts the flags over what the file says.
    pub(crate) fn apply(&self, config: &mut ServerConfig) -> Result<(), String> {
        self.apply_tls(&mut config.options)?;
        for change in &self.changes {
            change(&mut config.options);
        }
        if let Some(port) = self.monitor_port {
            let host = config.options.host.clone();
            let known = config.options.monitor.take();
            config.options.monitor = port.map(|port| match known {
                Some(known) => MonitorOptions { port, ..known },
                None => MonitorOptions { host, port, base_path: String::new() },
            });
        }
        if let Some(address) = &self.advertise {
            config.options.client_advertise = Some(Advertise::parse(address));
        }
        match (&self.user, &self.password) {
            (Some(name), Some(password)) => config.options.users.push(User::new(name, password)),
            (None, None) => {}
            _ => return Err("--user and --pass go together".to_owned()),
        }
        over(&mut config.log_file, &self.log_file);
        over(&mut config.pid_file, &self.pid_file);
        over(&mut config.ports_file_dir, &self.ports_file_dir);
        config.debug = self.debug.unwrap_or(config.debug);
        config.trace = self.trace.unwrap_or(config.trace);
        config.log_time = self.log_time.unwrap_or(config.log_time);
        Ok(())
    }

    fn apply_tls(&self, options: &mut Options) -> Result<(), String> {
        let is_asked = self.tls == Some(true) || self.tls_verify == Some(true);
        if self.tls == Some(false) {
            options.tls = None;
            return Ok(());
        }
        if !is_asked && options.tls.is_none() {
            return Ok(());
        }
        let mut tls = options.tls.take().unwrap_or_else(|| TlsOptions::new("", ""));
        for (target, given) in [(&mut tls.cert_file, &self.tls_cert), (&mut tls.key_file, &self.tls_key)] {
            if let Some(path) = given {
                target.clone_from(path);
            }
        }
        over(&mut tls.ca_file, &self.tls_ca);
        tls.verify = self.tls_verify.unwrap_or(tls.verify);
        if tls.cert_file.as_os_str().is_empty() || tls.key_file.as_os_str().is_empty() {
            return Err("TLS needs a certificate and its key: --tlscert and --tlskey".to_owned());
        }
        // A file without TLS that sets this to the default loses that: nobody can tell the two apart here.
        if options.auth_timeout == Options::default().auth_timeout {
            options.auth_timeout = tls.usual_auth_timeout();
        }
        options.tls = Some(tls);
        Ok(())
    }
}

fn over<T: Clone>(target: &mut Option<T>, given: &Option<T>) {
    if given.is_some() {
        target.clone_from(given);
    }
}

/// A port to bind, where 0 lets the system choose. Suites say -1 for that; 0 is `None`, the default.
fn port(flag: &str, text: &str) -> Result<Option<u16>, String> {
    match number::<i32>(flag, text)? {
        -1 => Ok(Some(0)),
        0 => Ok(None),
        port => u16::try_from(port).map(Some).map_err(|_| format!("-{flag}: {port} is not a port")),
    }
}

fn number<T: FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("invalid value {text:?} for flag -{flag}: not a number in range"))
}

/// `2`, `2s` or `0.5`.
fn seconds(flag: &str, text: &str) -> Result<Duration, String> {
    let value: f64 = number(flag, text.trim_end_matches('s'))?;
    Duration::try_from_secs_f64(value).map_err(|_| format!("-{flag}: {text:?} is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &str) -> Result<ServerConfig, String> {
        let Request::Run(flags) = parse(args.split_whitespace().map(str::to_owned))? else {
            panic!("{args}")
        };
        let mut config = ServerConfig { debug: true, ..ServerConfig::default() };
        flags.apply(&mut config).map(|()| config)
    }

    #[test]
    fn flags_come_in_all_forms() {
        let config = config(
            "-p -1 --addr=1.2.3.4 -m 8222 --user u --pass p -D=false -V -l log --client_advertise h:1",
        )
        .unwrap();
        let options = &config.options;
        assert_eq!((options.host.as_str(), options.port), ("1.2.3.4", 0));
        let monitor = options.monitor.as_ref().unwrap();
        assert_eq!((monitor.host.as_str(), monitor.port), ("1.2.3.4", 8222));
        assert!(options.users[0].name == "u" && !config.debug && config.trace);
        assert!(options.client_advertise == Some(Advertise::parse("h:1")) && config.log_file.is_some());
    }

    #[test]
    fn the_default_port_and_no_monitor() {
        assert_eq!(config("-p 0").unwrap().options.port, 4222);
        assert!(config("-m 0").unwrap().options.monitor.is_none());
        assert!(config("").unwrap().debug, "the file counts where flags say nothing");
    }

    #[test]
    fn tls_flags() {
        let tls = config("--tlsverify --tlscert c --tlskey k --tlscacert a").unwrap().options.tls.unwrap();
        assert!(tls.verify && tls.ca_file.is_some() && tls.cert_file == std::path::Path::new("c"));
        assert!(config("--tls").is_err());
        assert!(config("--tlscert c").unwrap().options.tls.is_none());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for args in
            ["--foo", "-p x", "-p 70000", "-p", "x", "--user u", "--routes nats://a:1", "-D=x", "-ms 1"]
        {
            assert!(config(args).is_err(), "{args}");
        }
        let problem = config("--cluster nats://a:1").err().unwrap();
        assert!(problem.contains("not supported"), "{problem}");
    }

    #[test]
    fn other_requests() {
        let ask = |args: &[&str]| parse(args.iter().map(|arg| (*arg).to_owned())).unwrap();
        assert!(matches!(ask(&["-v"]), Request::Version) && matches!(ask(&["help"]), Request::Help));
        assert!(matches!(ask(&["--signal", "ldm=5"]), Request::Signal(order) if order == "ldm=5"));
        let Request::Run(flags) = ask(&["-js", "-sd=/tmp/x", "-t", "-c", "f"]) else { panic!() };
        assert!(flags.test && flags.warnings.len() == 2 && flags.config.is_some());
    }
}
