//! Logs of servers, on standard error.

use bacalhau_config::Config;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Libraries whose news at info level nobody wants; async_nats reports what we report better ourselves.
const QUIET: &str = "async_nats=off,hyper=warn,reqwest=warn,wasmtime=warn,cranelift=warn,regalloc2=warn";

/// Sets logging up once for the process, by `Logging.Level` and `Logging.Mode`.
pub(super) fn start(config: &Config) {
    let level = match config.text("Logging.Level").to_ascii_lowercase().as_str() {
        "trace" => "trace",
        "debug" => "debug",
        "warn" => "warn",
        "error" | "fatal" | "panic" => "error",
        "disabled" => "off",
        _ => "info",
    };
    let filter = EnvFilter::new(format!("{level},{QUIET}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(level == "debug" || level == "trace");
    let result = match config.text("Logging.Mode") {
        "json" => builder.json().try_init(),
        _ => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    // It fails only when logging is set up already, as for the second node of a devstack.
    drop(result);
}
