//! What crosses NATS between orchestrator and compute node.
