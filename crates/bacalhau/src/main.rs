//! The bacalhau command.

fn main() {}
