//! `inline`: the data travels inside the job as a `data:` URL; a gzip one is a packed folder.

use super::unpack::{self, Limits};
use super::{Mount, MountData, Source, data_url, failed, invalid, normalise_guest_path};
use crate::executor::LazyFolder;
use bacalhau_model::{Error, InputSource};
use bytes::Bytes;
use futures_util::future::BoxFuture;

/// Unpacked size of a packed folder at most: 1 GiB. The packed one is bounded by the size of a message.
const LIMITS: Limits = Limits { bytes: 1 << 30, entries: 100_000 };

/// Bytes of an archive's only file that is kept in memory at most.
const LARGEST_FILE: u64 = 64 << 20;

/// The `inline` source.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

impl Source for Inline {
    fn names(&self) -> &'static [&'static str] {
        &["inline"]
    }

    fn validate(&self, input: &InputSource) -> Result<(), Error> {
        decode(input).map(|_| ())
    }

    fn is_local(&self, _input: &InputSource) -> bool {
        true
    }

    fn size<'a>(&'a self, input: &'a InputSource) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let data = decode(input)?;
            if !is_packed(&data) {
                return Ok(data.bytes.len() as u64);
            }
            blocking(move || unpack::measure(data.bytes.as_slice(), LIMITS)).await
        })
    }

    fn prepare<'a>(
        &'a self,
        input: &'a InputSource,
        folder: LazyFolder,
    ) -> BoxFuture<'a, Result<Mount, Error>> {
        Box::pin(async move {
            let target = normalise_guest_path(&input.target)?;
            let data = decode(input)?;
            if !is_packed(&data) {
                return Ok(Mount {
                    data: MountData::Bytes(Bytes::from(data.bytes)),
                    target,
                    read_only: false,
                });
            }
            let path = blocking(move || {
                let path = folder.create().map_err(|e| format!("cannot create a folder for it: {e}"))?;
                unpack::unpack(data.bytes.as_slice(), &path, LIMITS)?;
                Ok(path)
            })
            .await?;
            Ok(Mount { data: MountData::Folder(path), target, read_only: false })
        })
    }

    fn file<'a>(&'a self, input: &'a InputSource) -> BoxFuture<'a, Result<Option<Mount>, Error>> {
        Box::pin(async move {
            let target = normalise_guest_path(&input.target)?;
            let data = decode(input)?;
            if !is_packed(&data) {
                let data = MountData::Bytes(Bytes::from(data.bytes));
                return Ok(Some(Mount { data, target, read_only: true }));
            }
            let only = blocking(move || Ok(unpack::only_file(data.bytes.as_slice(), LARGEST_FILE))).await?;
            Ok(only.map(|(name, content)| {
                let target = format!("{}/{name}", target.trim_end_matches('/'));
                Mount { data: MountData::Bytes(Bytes::from(content)), target, read_only: true }
            }))
        })
    }
}

fn is_packed(data: &data_url::DataUrl) -> bool {
    data.media_type == "application/gzip"
}

fn decode(input: &InputSource) -> Result<data_url::DataUrl, Error> {
    let url = input.source.param("URL").and_then(|v| v.as_str()).unwrap_or_default();
    if url.is_empty() {
        return Err(invalid("invalid inline params: url cannot be empty"));
    }
    data_url::parse(url)
        .map_err(|reason| invalid(format!("invalid inline params: the data URL cannot be read: {reason}")))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Error> {
    let result = tokio::task::spawn_blocking(work).await;
    result
        .map_err(|e| failed(format!("inline input: {e}")))?
        .map_err(|reason| invalid(format!("inline input: {reason}")))
}
