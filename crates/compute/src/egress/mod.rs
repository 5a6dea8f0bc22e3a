//! The way out for tasks of network type HTTP: a proxy in the node's process, for one execution, to listed domains.
//!
//! A task of that type has no other way out, so what this refuses it cannot reach. Plain requests and CONNECT tunnels
//! are forwarded; the content of tunnels is never looked at. Names are resolved here, once, and the address that was
//! checked is the one connected to, so a name cannot lead back into the node or its neighbourhood.

mod activity;
mod address;
mod answer;
mod dial;
mod domains;
mod forward;
mod headers;
mod listen;
mod proxy;
mod tunnel;

pub use dial::{Refusal, addresses, dial};
pub use domains::DomainList;
pub use listen::listen_inside;
pub use proxy::{Counts, Names, Proxy, variables};

/// Component named in errors.
const COMPONENT: &str = "Network";
