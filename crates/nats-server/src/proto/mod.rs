//! The NATS client protocol as bytes: reading operations, writing messages, the two JSON documents, the error texts.
//! No sockets, no subscriptions: everything here is a function of its input.

pub(crate) mod connect;
pub(crate) mod inbound;
pub(crate) mod info;
mod json;
pub(crate) mod parser;
pub(crate) mod text;
pub(crate) mod told;
mod usual;
pub(crate) mod write;
