//! The embeddable server as a program, for conformance suites and load generators that start a `nats-server`. It takes
//! the flags that those pass; a real deployment embeds the library.
#![allow(
    clippy::print_stderr,
    reason = "its log lines are what test suites wait for; there is no subscriber here"
)]

use std::process::ExitCode;
use std::str::FromStr;

use bacalhau_nats_server::{Options, Server, User};

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("nats-server: {problem}");
            return ExitCode::from(2);
        }
    };
    match Server::start(options) {
        Ok(server) => {
            eprintln!("[INF] Listening for client connections on {}", server.addr());
            eprintln!("[INF] Server is ready");
            // Runs until a signal ends the process.
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            eprintln!("nats-server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the flags: `-p 4222`, `-p=4222`, `--port 4222`, with one or two dashes.
fn options(args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    let (mut user, mut password) = (None, None);
    let mut args = args;
    while let Some(arg) = args.next() {
        let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            return Err(format!("unexpected argument {arg:?}"));
        };
        let (flag, inline) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (flag, None),
        };
        if matches!(flag, "D" | "V" | "DV" | "js" | "jetstream") {
            continue;
        }
        let mut value =
            || inline.clone().or_else(|| args.next()).ok_or_else(|| format!("-{flag} needs a value"));
        match flag {
            "p" | "port" => {
                let port: i32 = number(flag, &value()?)?;
                // Suites say -1 for "any free port".
                options.port =
                    u16::try_from(port.max(0)).map_err(|_| format!("port {port} is above 65535"))?;
            }
            "a" | "addr" | "net" => options.host = value()?,
            "n" | "name" | "server_name" => options.server_name = Some(value()?),
            "auth" => options.token = Some(value()?),
            "user" => user = Some(value()?),
            "pass" => password = Some(value()?),
            "client_advertise" => options.connect_urls = vec![value()?],
            "max_payload" => options.max_payload = number(flag, &value()?)?,
            "max_pending" => options.max_pending = number(flag, &value()?)?,
            "max_control_line" => options.max_control_line = number(flag, &value()?)?,
            "max_connections" => options.max_connections = number(flag, &value()?)?,
            "max_subscriptions" => options.max_subscriptions = number(flag, &value()?)?,
            "ping_interval" => options.ping_interval = seconds(flag, &value()?)?,
            "ping_max" => options.ping_max = number(flag, &value()?)?,
            "write_deadline" => options.write_deadline = seconds(flag, &value()?)?,
            "auth_timeout" => options.auth_timeout = seconds(flag, &value()?)?,
            // The monitoring port, and files that other servers write.
            "m" | "http_port" | "l" | "log" | "P" | "pid" | "sd" | "store_dir" => drop(value()?),
            _ => return Err(format!("flag {arg:?} is not known here")),
        }
    }
    match (user, password) {
        (Some(name), Some(password)) => options.users.push(User::new(name, password)),
        (None, None) => {}
        _ => return Err("--user and --pass go together".to_owned()),
    }
    Ok(options)
}

fn number<T: FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("-{flag}: {text:?} is not a number in range"))
}

/// `2`, `2s` or `0.5`.
fn seconds(flag: &str, text: &str) -> Result<std::time::Duration, String> {
    let value: f64 = number(flag, text.trim_end_matches('s'))?;
    std::time::Duration::try_from_secs_f64(value).map_err(|_| format!("-{flag}: {text:?} is out of range"))
}
