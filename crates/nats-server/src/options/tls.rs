//! How connections are encrypted.

use std::path::PathBuf;
use std::time::Duration;

/// TLS of a listener. Files are PEM; they are read at start and at each reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The server's certificate, its issuers after it.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Certificates of those who issue client certificates; needed for `verify` and `verify_and_map`.
    pub ca_file: Option<PathBuf>,
    /// Clients must show a certificate.
    pub verify: bool,
    /// The certificate also says which user the client is: an e-mail address, DNS name or URI of it, or its whole subject
    /// (`CN=...,O=...`, in any order) is the name of a user. Implies `verify`.
    pub verify_and_map: bool,
    /// Time for the handshake. Default 2 s.
    pub timeout: Duration,
    /// Does the handshake come before INFO?
    pub handshake_first: HandshakeFirst,
    /// Clients without TLS are served too.
    pub allow_non_tls: bool,
}

impl TlsOptions {
    /// The usual time for a log-in over TLS, as the NATS server has it: a second more than for the handshake.
    pub fn usual_auth_timeout(&self) -> Duration {
        self.timeout.saturating_add(Duration::from_secs(1))
    }

    /// TLS with a certificate and its key, and defaults for the rest.
    pub fn new(cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> TlsOptions {
        TlsOptions {
            cert_file: cert_file.into(),
            key_file: key_file.into(),
            ca_file: None,
            verify: false,
            verify_and_map: false,
            timeout: Duration::from_secs(2),
            handshake_first: HandshakeFirst::Never,
            allow_non_tls: false,
        }
    }
}

/// NATS sends INFO in the clear and encrypts after it. A client that starts with the handshake hides that it is NATS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandshakeFirst {
    /// INFO, then the handshake.
    #[default]
    Never,
    /// The handshake, then INFO.
    Always,
    /// The handshake first if the client begins it within this time; INFO first otherwise.
    Auto(Duration),
}
