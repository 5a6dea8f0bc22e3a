//! `urlDownload`: a file fetched over http or https, streamed to disk.
//!
//! Tries again only where that can help: transport errors, 5xx and 429. Each attempt starts over with an empty file.

use super::{Mount, MountData, Source, failed, invalid, normalise_guest_path};
use crate::executor::LazyFolder;
use bacalhau_model::{Error, InputSource};
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Longest file name taken from a server; file systems allow 255 bytes.
const MAX_NAME: usize = 200;

/// Longest wait between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Bounds of a download.
#[derive(Clone, Copy, Debug)]
pub struct DownloadLimits {
    /// Time without a byte after which an attempt is given up.
    pub read_timeout: Duration,
    /// Attempts after the first.
    pub max_retries: u32,
    /// Bytes of one file at most.
    pub max_bytes: u64,
}

impl Default for DownloadLimits {
    /// 5 minutes, 3 retries (Bacalhau 1.9's defaults), 100 GiB.
    fn default() -> DownloadLimits {
        DownloadLimits { read_timeout: Duration::from_secs(300), max_retries: 3, max_bytes: 100 << 30 }
    }
}

/// The `urlDownload` source.
#[derive(Debug)]
pub struct UrlDownload {
    limits: DownloadLimits,
    /// Made with the first download: it loads the machine's certificates.
    client: Mutex<Option<Client>>,
}

/// Why an attempt failed.
enum Attempt {
    /// Another may help; the server may have said when.
    Retry(String, Option<Duration>),
    Fatal(Error),
}

impl UrlDownload {
    /// A source with these bounds.
    pub fn new(limits: DownloadLimits) -> UrlDownload {
        UrlDownload { limits, client: Mutex::new(None) }
    }

    fn client(&self) -> Result<Client, Error> {
        let mut slot = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        // Fails when another part of the process has installed it already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(30).min(self.limits.read_timeout))
            .read_timeout(self.limits.read_timeout)
            .redirect(reqwest::redirect::Policy::limited(10))
            .user_agent("bacalhau")
            .build()
            .map_err(|e| failed(format!("cannot set up HTTP downloads: {}", chain(&e))))?;
        *slot = Some(client.clone());
        Ok(client)
    }

    async fn head(&self, url: &Url) -> Result<u64, Error> {
        let client = self.client()?;
        let mut attempt = 0;
        loop {
            match client.head(url.clone()).send().await {
                Ok(response) if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::GONE) => {
                    return Err(status_error(url, response.status()));
                }
                // Many servers refuse HEAD or do not know the length; the download itself is bounded.
                Ok(response) if response.status().is_success() => {
                    return Ok(content_length(&response).unwrap_or(0));
                }
                Ok(_) => return Ok(0),
                Err(error) if attempt >= self.limits.max_retries => {
                    return Err(failed(format!("cannot reach {}: {}", shown(url), chain(&error))).retryable());
                }
                Err(_) => tokio::time::sleep(pause(attempt, None)).await,
            }
            attempt += 1;
        }
    }

    async fn download(&self, url: &Url, folder: &Path) -> Result<String, Error> {
        let client = self.client()?;
        let mut attempt = 0;
        loop {
            match self.attempt(&client, url, folder).await {
                Ok(name) => return Ok(name),
                Err(Attempt::Fatal(error)) => return Err(error),
                Err(Attempt::Retry(reason, _)) if attempt >= self.limits.max_retries => {
                    let tries = attempt + 1;
                    let message = format!("cannot download {} after {tries} attempts: {reason}", shown(url));
                    return Err(failed(message).retryable());
                }
                Err(Attempt::Retry(reason, wait)) => {
                    tracing::debug!(url = %shown(url), %reason, attempt, "download failed, trying again");
                    tokio::time::sleep(pause(attempt, wait)).await;
                }
            }
            attempt += 1;
        }
    }

    async fn attempt(&self, client: &Client, url: &Url, folder: &Path) -> Result<String, Attempt> {
        let response = client.get(url.clone()).send().await.map_err(|e| {
            if e.is_redirect() || e.is_builder() {
                Attempt::Fatal(failed(format!("cannot download {}: {}", shown(url), chain(&e))))
            } else {
                Attempt::Retry(chain(&e), None)
            }
        })?;
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let wait = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
            return Err(Attempt::Retry(
                format!("the server answered {status}"),
                wait.map(Duration::from_secs),
            ));
        }
        if !status.is_success() {
            return Err(Attempt::Fatal(status_error(url, status)));
        }
        if content_length(&response).is_some_and(|length| length > self.limits.max_bytes) {
            return Err(Attempt::Fatal(self.too_big(url)));
        }
        let name = file_name(url, &response);
        self.save(url, response, &folder.join(&name)).await?;
        Ok(name)
    }

    async fn save(&self, url: &Url, mut response: Response, path: &Path) -> Result<(), Attempt> {
        let disk = |e: std::io::Error| {
            Attempt::Fatal(
                failed(format!("cannot store {} at {}: {e}", shown(url), path.display())).retryable(),
            )
        };
        let mut file = tokio::fs::File::create(path).await.map_err(disk)?;
        let mut received = 0u64;
        while let Some(chunk) = response.chunk().await.map_err(|e| Attempt::Retry(chain(&e), None))? {
            received = received.saturating_add(chunk.len() as u64);
            if received > self.limits.max_bytes {
                return Err(Attempt::Fatal(self.too_big(url)));
            }
            file.write_all(&chunk).await.map_err(disk)?;
        }
        file.flush().await.map_err(disk)
    }

    fn too_big(&self, url: &Url) -> Error {
        failed(format!("{} is larger than this node downloads ({} bytes)", shown(url), self.limits.max_bytes))
    }
}

impl Source for UrlDownload {
    fn names(&self) -> &'static [&'static str] {
        &["urldownload"]
    }

    fn validate(&self, input: &InputSource) -> Result<(), Error> {
        url_of(input).map(|_| ())
    }

    fn is_local(&self, _input: &InputSource) -> bool {
        false
    }

    fn size<'a>(&'a self, input: &'a InputSource) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move { self.head(&url_of(input)?).await })
    }

    fn prepare<'a>(
        &'a self,
        input: &'a InputSource,
        folder: LazyFolder,
    ) -> BoxFuture<'a, Result<Mount, Error>> {
        Box::pin(async move {
            let url = url_of(input)?;
            let path = folder
                .create()
                .map_err(|e| failed(format!("cannot create a folder for {}: {e}", shown(&url))))?;
            let name = self.download(&url, &path).await?;
            let target = normalise_guest_path(&format!("{}/{name}", input.target))?;
            Ok(Mount { data: MountData::File(path.join(name)), target, read_only: false })
        })
    }
}

fn url_of(input: &InputSource) -> Result<Url, Error> {
    let text = input.source.param("URL").and_then(|v| v.as_str()).unwrap_or_default().trim();
    if text.is_empty() {
        return Err(invalid("invalid url storage params: url cannot be empty"));
    }
    let url = Url::parse(text)
        .map_err(|e| invalid(format!("invalid url storage params: '{text}' is no URL: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        let message = format!("invalid url storage params: unsupported scheme '{}'", url.scheme());
        return Err(invalid(message).hint("Use http or https"));
    }
    Ok(url)
}

/// The URL without what may be secret: user, password and query (signed links carry their key there).
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // These fail only for URLs without a host, which have been refused.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(url.query().map(|_| "..."));
    url.to_string()
}

fn status_error(url: &Url, status: StatusCode) -> Error {
    let error = failed(format!("cannot download {}: the server answered {status}", shown(url)));
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => error.hint("Check the URL of the input"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            error.hint("The server wants credentials: use a public or a signed URL")
        }
        _ => error,
    }
}

/// The length the server announces; of a compressed or chunked answer there is none.
fn content_length(response: &Response) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// After a redirect the name of Content-Disposition, else the last part of the final URL's path, else a random one.
fn file_name(asked: &Url, response: &Response) -> String {
    let last = response.url();
    let disposition = (last != asked)
        .then(|| response.headers().get(CONTENT_DISPOSITION)?.to_str().ok())
        .flatten()
        .and_then(disposition_name);
    let of_path = || last.path_segments()?.next_back().map(percent_decoded);
    disposition
        .or_else(of_path)
        .and_then(|name| usable_name(&name))
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
}

/// `filename="x"` or `filename=x` of a Content-Disposition header.
fn disposition_name(header: &str) -> Option<String> {
    header.split(';').map(str::trim).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("filename").then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn percent_decoded(text: &str) -> String {
    // A query string decodes the same escapes; '+' must stay what it is.
    let text = text.replace('+', "%2B");
    url::form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// The last path component of a name from outside, if it is a harmless file name.
fn usable_name(name: &str) -> Option<String> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    let harmless =
        !matches!(name, "" | "." | "..") && !name.chars().any(char::is_control) && name.len() <= MAX_NAME;
    harmless.then(|| name.to_owned())
}

/// 0.2, 0.4, 0.8, ... seconds, or what the server asked for; never more than [`MAX_PAUSE`].
fn pause(attempt: u32, asked: Option<Duration>) -> Duration {
    asked.unwrap_or_else(|| Duration::from_millis(200 << attempt.min(8))).min(MAX_PAUSE)
}

/// An error with its causes, without the URL that reqwest adds (it may carry secrets).
fn chain(error: &reqwest::Error) -> String {
    let mut text = match error {
        e if e.is_timeout() => "timed out".to_owned(),
        e if e.is_connect() => "cannot connect".to_owned(),
        e if e.is_redirect() => "too many redirects".to_owned(),
        _ => "the connection failed".to_owned(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_model::SpecConfig;

    fn input(url: &str) -> InputSource {
        InputSource { source: SpecConfig::new("urlDownload").with("url", url), ..InputSource::default() }
    }

    #[test]
    fn only_http_urls() {
        let source = UrlDownload::new(DownloadLimits::default());
        source.validate(&input("https://example.org/x")).unwrap();
        assert_eq!(
            source.validate(&input(" ")).unwrap_err().message,
            "invalid url storage params: url cannot be empty"
        );
        assert!(source.validate(&input("file:///etc/passwd")).unwrap_err().message.contains("scheme 'file'"));
        assert!(source.validate(&input("/etc")).unwrap_err().message.contains("no URL"));
    }

    #[test]
    fn names_from_outside_are_harmless() {
        assert_eq!(usable_name("../../x.txt").as_deref(), Some("x.txt"));
        assert_eq!(usable_name("..\\y").as_deref(), Some("y"));
        for bad in ["", "..", "a/..", "x\ny", &"n".repeat(300)] {
            assert_eq!(usable_name(bad), None, "{bad:?}");
        }
        assert_eq!(disposition_name(r#"attachment; filename="a b.csv""#).as_deref(), Some("a b.csv"));
        assert_eq!(disposition_name("inline"), None);
        assert_eq!(percent_decoded("a%20b+c&d"), "a b+c");
    }

    #[test]
    fn secrets_are_not_shown() {
        let url = Url::parse("https://user:pw@h.example/x?X-Amz-Signature=secret").unwrap();
        assert_eq!(shown(&url), "https://h.example/x?...");
    }
}
