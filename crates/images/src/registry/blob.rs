//! Blobs that go to disk: streamed, never longer than announced, checked at the end.

use super::{Registry, blob_path, registry_name};
use crate::digest::Digest;
use crate::error;
use crate::manifest::Descriptor;
use crate::reference;
use bacalhau_model::Error;
use oci_client::Reference;
use reqwest::Method;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt};

impl Registry {
    /// Writes a blob. `received` is told how many bytes came, piece by piece.
    ///
    /// # Errors
    /// As [`Registry::resolve`]; it is longer or other than announced; `to` cannot be written.
    pub async fn blob(
        &self,
        image: &Reference,
        blob: &Descriptor,
        to: &mut (impl AsyncWrite + Unpin + Send),
        received: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Error> {
        let name = image.to_string();
        let path = blob_path(image, &blob.digest);
        let mut response = self.inner.transport.request(image, Method::GET, &path, "*/*").await?;
        let (mut hasher, mut length) = (Sha256::new(), 0u64);
        loop {
            let part = response.chunk().await;
            let part = part.map_err(|e| {
                error::unreachable(
                    registry_name(image),
                    format!("a layer broke off: {}", super::transport::sentence(&e)),
                )
            })?;
            let Some(part) = part else { break };
            length += part.len() as u64;
            if length > blob.size {
                return Err(error::broken(
                    &name,
                    format!("{} is longer than its manifest says", blob.digest),
                ));
            }
            hasher.update(&part);
            to.write_all(&part).await.map_err(|e| error::failed(format!("cannot store a layer: {e}")))?;
            received(part.len() as u64);
        }
        to.flush().await.map_err(|e| error::failed(format!("cannot store a layer: {e}")))?;
        if Digest::from_hasher(hasher) != blob.digest {
            let registry = reference::host(image);
            return Err(
                error::broken(&name, format!("{} came damaged from {registry}", blob.digest)).retryable()
            );
        }
        Ok(())
    }
}
