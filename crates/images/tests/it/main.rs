//! Images against a real registry: Debian's `docker-registry` on the loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests
#![allow(clippy::print_stderr)] // what is skipped is said aloud

mod layers;
mod pinning;
mod registries;
mod store;
#[path = "../support/registry.rs"]
#[allow(dead_code)] // shared with other crates
mod support;

use bacalhau_images::{Credentials, Platform, Registry, RegistryConfig};

/// A client without credentials.
fn client() -> Registry {
    client_with(Credentials::none())
}

fn client_with(credentials: Credentials) -> Registry {
    Registry::new(RegistryConfig { credentials, ..RegistryConfig::default() }).unwrap()
}

fn architecture() -> String {
    Platform::this().architecture
}
