//! HTTP: routes, request and response types, authentication, and the client that the CLI uses.

pub mod client;
pub mod credentials;
pub mod server;
