//! An embeddable NATS server: client protocol, subject routing, authentication, limits.
//!
//! It speaks the NATS client protocol to any NATS client and gives the program around it an in-process client that costs
//! no socket. One thread of its own routes all traffic; the embedding program's runtime is never in the way of a message.
//!
//! ```
//! # fn main() -> Result<(), bacalhau_nats_server::Error> {
//! use bacalhau_nats_server::{Options, Server};
//! let server = Server::start(Options { host: "127.0.0.1".into(), port: 0, ..Options::default() })?;
//! let mut orders = server.local_client("embedder").subscribe("orders.>")?;
//! server.local_client("shop").publish("orders.new", None, None, "one lamp")?;
//! # let _ = orders.try_next();
//! # Ok(())
//! # }
//! ```
//!
//! # Promises
//! - Messages of one publisher reach one subscriber in the order of publishing.
//! - Every queue is bounded. A receiver near its bound slows its publishers down; beyond it the receiver is dropped (a
//!   socket) or its subscription ends with an error (a local reader), and a counter tells.
//! - Bytes from a client can end that client's connection and nothing else.
//!
//! # How the inside is laid out
//! `proto` reads and writes bytes, `router` knows who is interested in what, `fabric` delivers, `reactor` does sockets and
//! time, `auth` decides who may connect (`jwt` reads and makes the documents for that), `permissions` what they may do,
//! `local` is the in-process client, `hub` joins it to the loop thread, `monitor` shows over HTTP what goes on, `system`
//! tells of it on `$SYS` subjects, `conf` reads options from a file, `reload` finds out which of them may change while the
//! server runs.

mod auth;
mod certs;
pub mod conf;
mod error;
mod events;
mod fabric;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod hash;
mod hub;
pub mod jwt;
mod local;
mod monitor;
mod options;
mod outbound;
mod peer;
mod permissions;
mod proto;
mod reactor;
mod reload;
mod router;
mod server;
mod slab;
mod stats;
mod subject;
mod system;
mod transport;
mod users;

pub use error::Error;
pub use events::{CloseReason, ConnInfo, Events};
pub use files::raise_file_limit;
pub use local::{HeaderBlock, LocalClient, LocalSubscription, Message, Subject, SubscriptionEnd};
pub use options::{
    Advertise, HandshakeFirst, MonitorOptions, OperatorOptions, Options, TlsOptions, WebSocketOptions,
};
pub use reload::{Changed, Reloaded};
pub use server::Server;
pub use stats::Stats;
pub use users::{Account, AllowResponses, NkeyUser, Permissions, Rules, User};
