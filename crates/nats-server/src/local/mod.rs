//! The in-process client: the embedding program publishes and subscribes without a socket.

mod client;
mod message;
pub(crate) mod queue;
pub(crate) mod subscription;

pub use client::LocalClient;
pub use message::{HeaderBlock, Message, Subject};
pub use subscription::{LocalSubscription, SubscriptionEnd};
