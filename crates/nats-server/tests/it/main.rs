//! The server seen from outside: in-process client, public clients, raw bytes.

mod local;
mod support;
