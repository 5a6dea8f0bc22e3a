//! A listener for clients that speak NATS inside WebSocket frames.

use std::time::Duration;

use super::tls::TlsOptions;

/// The WebSocket listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketOptions {
    /// Address to listen on. Default `0.0.0.0`.
    pub host: String,
    /// Port to listen on; 0 lets the system choose. Default 443.
    pub port: u16,
    /// Encryption. `None`: none, which is for tests and for listeners behind a proxy that encrypts.
    pub tls: Option<TlsOptions>,
    /// Only pages from these origins (`https://host:port`) may connect; empty: any. Clients that are not browsers send no
    /// origin and are not asked for one.
    pub allowed_origins: Vec<String>,
    /// Only pages from the host that they connect to.
    pub same_origin: bool,
    /// Time for the HTTP request. Default 2 s.
    pub handshake_timeout: Duration,
}

impl Default for WebSocketOptions {
    fn default() -> Self {
        WebSocketOptions {
            host: "0.0.0.0".to_owned(),
            port: 443,
            tls: None,
            allowed_origins: Vec::new(),
            same_origin: false,
            handshake_timeout: Duration::from_secs(2),
        }
    }
}
