//! What the embedding program can learn about connections as it happens.
//!
//! Observers run on the server's loop thread between two batches of traffic: they must return at once (push into a
//! bounded channel, set a flag) and must not call [`Server::shutdown`](crate::Server::shutdown). A panic in one is caught and logged.

use std::net::SocketAddr;
use std::sync::Arc;

/// Who a socket connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnInfo {
    /// Number of the connection, unique while the server runs. The client sees it as `client_id`.
    pub cid: u64,
    /// The name given in CONNECT; empty if none was given. It is a claim of the client, not a proof.
    pub name: Arc<str>,
    /// The peer's address.
    pub addr: SocketAddr,
    /// User name or public nkey that it has proved; empty if it had nothing to prove, or a token.
    pub user: Arc<str>,
}

/// Why a connection ended. `Display` gives the words that NATS monitoring uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed the connection.
    ClientClosed,
    /// No valid CONNECT in time.
    AuthenticationTimeout,
    /// Wrong or missing credentials.
    AuthenticationFailure,
    /// The JWT of the user or its account has expired.
    AuthenticationExpired,
    /// The JWT of the user was revoked, or its account has changed what it may do.
    Revocation,
    /// More connections than the account may have.
    MaxAccountConnectionsExceeded,
    /// More than `max_pending` bytes waited for the peer.
    SlowConsumerPendingBytes,
    /// What waits for all clients together, or came from them unfinished, was above `max_buffered`, and this one had most.
    MaxBufferedExceeded,
    /// The peer accepted nothing for `write_deadline`.
    SlowConsumerWriteDeadline,
    /// Writing to the socket failed.
    WriteError,
    /// Reading from the socket failed.
    ReadError,
    /// The peer does not speak TLS, or has no certificate that is trusted.
    TlsHandshakeFailure,
    /// Bytes that are not the NATS protocol.
    ParseError,
    /// The peer did not answer PING.
    StaleConnection,
    /// A well-formed but forbidden request (for example no_responders without headers).
    ProtocolViolation,
    /// `max_connections` was reached.
    MaxConnectionsExceeded,
    /// A message above `max_payload`.
    MaxPayloadExceeded,
    /// A line above `max_control_line`.
    MaxControlLineExceeded,
    /// A user of the system account asked for it.
    Kicked,
    /// The server shut down.
    ServerShutdown,
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ClientClosed => "Client Closed",
            Self::AuthenticationTimeout => "Authentication Timeout",
            Self::AuthenticationFailure => "Authentication Failure",
            Self::AuthenticationExpired => "Authentication Expired",
            Self::Revocation => "Credentials Revoked",
            Self::MaxAccountConnectionsExceeded => "Maximum Account Connections Exceeded",
            Self::SlowConsumerPendingBytes => "Slow Consumer (Pending Bytes)",
            Self::MaxBufferedExceeded => "Maximum Buffered Bytes Exceeded",
            Self::SlowConsumerWriteDeadline => "Slow Consumer (Write Deadline)",
            Self::WriteError => "Write Error",
            Self::ReadError => "Read Error",
            Self::TlsHandshakeFailure => "TLS Handshake Failure",
            Self::ParseError => "Parse Error",
            Self::StaleConnection => "Stale Connection",
            Self::ProtocolViolation => "Protocol Violation",
            Self::MaxConnectionsExceeded => "Maximum Connections Exceeded",
            Self::MaxPayloadExceeded => "Maximum Message Payload Exceeded",
            Self::MaxControlLineExceeded => "Maximum Control Line Exceeded",
            Self::Kicked => "Kicked",
            Self::ServerShutdown => "Server Shutdown",
        })
    }
}

/// An observer of connections. All methods have empty defaults.
pub trait Events: Send + Sync {
    /// A client sent a CONNECT that was accepted.
    fn connected(&self, _conn: &ConnInfo) {}

    /// A connection that had been reported as connected is gone.
    fn disconnected(&self, _conn: &ConnInfo, _reason: CloseReason) {}

    /// A client was refused. What it offered is never passed on.
    fn auth_failed(&self, _addr: SocketAddr, _reason: CloseReason) {}
}
