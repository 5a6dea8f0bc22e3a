//! The embeddable server as a program, for conformance suites, load generators and trials: the flags, configuration
//! file, log lines, signals and files of a NATS server. What the library does not do (clusters, JetStream) is refused.

mod files;
mod flags;
mod log;
mod settings;
mod signals;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;

use bacalhau_nats_server::{Server, conf};

use flags::{Flags, Request};
use log::Log;
use settings::{Files, Settings};
use signals::{Signal, Signals};

/// The version whose behaviour clients may expect; suites compare it.
const VERSION: &str = "2.15.1";

fn main() -> ExitCode {
    let result = match flags::parse(std::env::args().skip(1)) {
        Ok(Request::Help) => {
            say(flags::HELP);
            Ok(true)
        }
        Ok(Request::Version) => {
            say(&format!("nats-server: v{VERSION}\n"));
            Ok(true)
        }
        Ok(Request::Signal(order)) => signals::send(&order).map(|()| true),
        Ok(Request::Run(flags)) => run(&flags),
        Err(problem) => Err(problem),
    };
    if let Err(problem) = &result {
        complain(problem);
    }
    if result == Ok(true) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// To standard output. Nobody is left to tell if that is closed.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// To standard error, where the log is not open yet or was the problem.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "nats-server: {text}");
}

/// Runs a server until it is told to stop. `Ok(false)`: it failed, and the log says why.
fn run(flags: &Flags) -> Result<bool, String> {
    if let Err(problem) = bacalhau_nats_server::raise_file_limit() {
        complain(&format!("the limit of open files stays: {problem}"));
    }
    let config = settings::start(flags)?;
    if flags.test {
        let path = flags.config.as_ref().ok_or("-t needs -c FILE, the configuration to test")?;
        complain(&format!("configuration file {} is valid", path.display()));
        return Ok(true);
    }
    let log = Arc::new(Settings::new(&config).open_log()?);
    let served = serve(flags, config, &log).inspect_err(|problem| log.line("FTL", problem));
    Ok(served.is_ok())
}

fn serve(flags: &Flags, config: conf::ServerConfig, log: &Arc<Log>) -> Result<(), String> {
    tracing::subscriber::set_global_default(log::Events::new(log.clone()))
        .map_err(|error| error.to_string())?;
    log.line("INF", "Starting nats-server");
    log.line("INF", &format!("  Version:  {VERSION}"));
    if let Some(path) = &flags.config {
        log.line("INF", &format!("Using configuration file: {}", path.display()));
    }
    for warning in flags.warnings.iter().chain(&config.warnings) {
        log.line("WRN", warning);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|error| format!("cannot watch for signals: {error}"))?;
    // From here on a signal is an orderly end, with the files removed.
    let signals = runtime.block_on(async { Signals::new() });
    let mut signals = signals.map_err(|error| format!("cannot watch for signals: {error}"))?;
    let mut files = Files::new(Settings::new(&config))?;
    let server = Arc::new(Server::start(config.options).map_err(|error| error.to_string())?);
    if let Some(addr) = server.monitor_addr() {
        log.line("INF", &format!("Starting http monitor on {addr}"));
    }
    if let Some(addr) = server.websocket_addr() {
        log.line("INF", &format!("Listening for websocket clients on {addr}"));
    }
    log.line("INF", &format!("Listening for client connections on {}", server.addr()));
    log.line("INF", "Server is ready");
    files.write_ports(&server)?;
    let (tell_end, ended) = tokio::sync::oneshot::channel();
    let waiter = wait(Arc::clone(&server), tell_end)?;
    let mut ended = std::pin::pin!(ended);
    loop {
        let signal = runtime.block_on(async {
            tokio::select! {
                signal = signals.next() => Some(signal),
                _ = &mut ended => None,
            }
        });
        // Lame duck mode has come to its end.
        let Some(signal) = signal else { break };
        match signal {
            Signal::Stop(name) => {
                log.line("INF", &format!("Trapped \"{name}\" signal"));
                break;
            }
            Signal::LameDuck => {
                log.line("INF", "Entering lame duck mode, stop accepting new clients");
                server.lame_duck();
            }
            Signal::Reopen => match log.reopen() {
                Ok(()) => log.line("INF", "File log re-opened"),
                Err(problem) => log.line("ERR", &problem),
            },
            Signal::Reload => {
                log.line("INF", "Trapped \"hangup\" signal");
                match files.reload(flags, &server, log) {
                    Ok(()) => log.line("INF", "Reloaded server configuration"),
                    Err(problem) => {
                        log.line("ERR", &format!("Failed to reload server configuration: {problem}"));
                    }
                }
            }
        }
    }
    log.line("INF", "Initiating Shutdown...");
    server.shutdown();
    if waiter.join().is_err() {
        log.line("ERR", "the thread that waited for the server panicked");
    }
    log.line("INF", "Server Exiting..");
    Ok(())
}

/// Tells when the server has ended by itself.
fn wait(server: Arc<Server>, tell: tokio::sync::oneshot::Sender<()>) -> Result<JoinHandle<()>, String> {
    let wait = move || {
        server.wait();
        // Nobody listens any more when a signal came first.
        let _ = tell.send(());
    };
    std::thread::Builder::new()
        .name("waiter".to_owned())
        .spawn(wait)
        .map_err(|error| format!("cannot start a thread: {error}"))
}
