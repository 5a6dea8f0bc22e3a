//! Container images and artifacts: registries, credentials, and the store of unpacked layers.
//!
//! [`Registry`] talks to registries: it finds what a tag stands for and fetches manifests, blobs and small artifacts,
//! every answer bounded and every blob checked against its digest. [`ImageStore`] keeps images unpacked on disk,
//! one folder per layer, and lends them to whoever runs them. [`Pinner`] notes at submit which image a tag stands for.
//!
//! Nothing here runs containers, and nothing of what comes from a registry is believed before it is checked.

mod credentials;
mod digest;
mod error;
mod manifest;
mod pin;
mod reference;
mod registry;
mod store;
mod tree;

pub use credentials::{Credentials, Login};
pub use digest::Digest;
pub use manifest::{Descriptor, ImageConfig, Platform, RunConfig};
pub use oci_client::Reference;
pub use pin::{Pinner, PinnerConfig, pinned};
pub use reference::parse as parse_reference;
pub use registry::{Artifact, Described, Registry, RegistryConfig};
pub use store::{HeldLayers, Image, ImageStore, Progress, Root, StoreConfig};
pub use tree::remove_tree;
