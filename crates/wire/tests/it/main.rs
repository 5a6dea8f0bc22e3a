//! Integration tests: recorded traffic of the original, and both sides over a NATS server.

mod golden;
