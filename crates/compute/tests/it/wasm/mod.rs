//! The wasm engine: components, HTTP of guests, limits, real programs.

#[path = "../../support/c_programs.rs"]
mod c_programs;
mod components;
mod host_module;
mod limits;
mod outgoing;
mod programs;
mod pulled;
mod server;
mod sockets;
#[path = "../../support/components.rs"]
mod texts;

use crate::support::{Case, inline, wasm};
use bacalhau_model::{NetworkConfig, NetworkType};
use texts::{LOWERED, WIT, componentised, lowered};

/// A job that runs these bytes as `/main.wasm`.
fn program(bytes: &[u8]) -> Case {
    let mut case = wasm("(module)");
    case.task.input_sources = vec![inline(bytes, "/main.wasm")];
    case
}

impl Case {
    fn network(mut self, r#type: NetworkType, domains: &[&str]) -> Case {
        let domains = domains.iter().map(|&d| d.to_owned()).collect();
        self.task.network = Some(NetworkConfig { r#type, domains, ..NetworkConfig::default() });
        self
    }
}
