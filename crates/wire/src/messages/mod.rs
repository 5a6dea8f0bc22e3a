//! The messages of the protocol `ncl/v1`: their names and fields as Bacalhau 1.9 prints them.
//!
//! Lists that Go leaves nil are `None` here and travel as `null`. Readers accept `null` and missing fields
//! everywhere; what a message must at least contain is checked by whoever acts on it.

mod ask;
mod bac_error;
mod build;
mod control;
mod execution;
mod presign;

pub use ask::{check_fits, sanitized};
pub use bac_error::{BacError, HANDSHAKE_REQUIRED};
pub use build::{
    ask_for_bid, bid_accepted, bid_rejected, bid_result, cancel_execution, compute_error, execution_progress,
    run_result,
};
pub use control::{
    ControlRequest, ControlResponse, HandshakeRequest, HandshakeResponse, HeartbeatRequest,
    HeartbeatResponse, ShutdownNoticeRequest, ShutdownNoticeResponse, UpdateNodeInfoRequest,
    UpdateNodeInfoResponse,
};
pub use execution::{
    AskForBid, BidAccepted, BidRejected, BidResult, CancelExecution, ComputeError, ExecutionProgress,
    MOST_PROGRESS_EVENTS, NodeMessage, NodeMessageKind, OrchestratorMessage, RunResult,
};
pub use presign::{PreSignUrlRequest, PreSignUrlResponse};

use crate::envelope::{Envelope, EnvelopeError};
use crate::metadata::Metadata;
use bytes::Bytes;

/// A group of messages that may arrive at the same place.
pub trait Family: Sized {
    /// Decodes whichever member the envelope holds; any other type is an error.
    fn from_envelope(envelope: Envelope) -> Result<Self, EnvelopeError>;

    /// Name of the member's type.
    fn type_name(&self) -> &'static str;

    /// Writes the member into an envelope with this metadata.
    fn encode(&self, metadata: &Metadata) -> Result<Bytes, EnvelopeError>;
}

/// Implements [`Family`] for an enum whose variants each hold one payload type of the same name.
macro_rules! family {
    ($name:ident, $expected:literal, { $($variant:ident($payload:ty)),* $(,)? }) => {
        impl Family for $name {
            fn from_envelope(envelope: Envelope) -> Result<Self, EnvelopeError> {
                match envelope.message_type() {
                    $(<$payload as Payload>::TYPE => envelope.payload().map($name::$variant),)*
                    other => Err(EnvelopeError::Type { found: other.to_owned(), expected: $expected }),
                }
            }

            fn type_name(&self) -> &'static str {
                match self { $($name::$variant(_) => <$payload as Payload>::TYPE,)* }
            }

            fn encode(&self, metadata: &Metadata) -> Result<Bytes, EnvelopeError> {
                match self { $($name::$variant(payload) => envelope::encode(metadata, payload),)* }
            }
        }
    };
}
pub(crate) use family;
