//! The server seen from outside: in-process client, public clients, raw bytes.

mod clients;
mod differential;
mod limits;
mod local;
mod support;
mod wire;
