//! One HTTP request and its answer: addresses, headers, TLS options, size limits.

use super::errors;
use bacalhau_model::error::code;
use bacalhau_model::{BuildVersion, Error, json, lenient};
use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Longest wait for a TCP and TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a whole answer; the server itself gives up after 30 seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// Largest answer read into memory.
const MAX_ANSWER: usize = 256 << 20;
/// Largest error answer read into memory.
const MAX_ERROR: usize = 1 << 20;

/// Where the server is and how to trust it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// `http(s)://host[:port]`, no path.
    pub url: String,
    /// Certificate authorities to trust besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate.
    pub insecure: bool,
}

/// What proves who is asking. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// `Authorization: Bearer <token>`.
    Bearer(String),
    /// `Authorization: Basic <user:password>`.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

impl Credential {
    fn header(&self) -> Result<HeaderValue, Error> {
        let text = match self {
            Credential::Bearer(token) => format!("Bearer {token}"),
            Credential::Basic { username, password } => {
                let pair = format!("{username}:{password}");
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            errors::unbuildable(
                "authentication error",
                &"the credential has characters that no header may carry",
            )
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Who is asking: build and installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// This program's build; the version must be at least 1.4.0 for servers of Bacalhau 1.9 to answer.
    pub version: BuildVersion,
    /// ID of the data directory, empty when unknown.
    pub instance_id: String,
    /// ID of the installation, empty when unknown.
    pub installation_id: String,
}

impl Identity {
    fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        let mut add = |name: &'static str, value: &str| -> Result<(), Error> {
            if !value.is_empty() {
                let value = HeaderValue::from_str(value).map_err(|e| errors::unbuildable(name, &e))?;
                headers.insert(HeaderName::from_static(name), value);
            }
            Ok(())
        };
        add("x-bacalhau-git-version", &self.version.git_version)?;
        add("x-bacalhau-git-commit", &self.version.git_commit)?;
        add("x-bacalhau-build-date", &self.version.build_date.to_string())?;
        add("x-bacalhau-build-os", &self.version.goos)?;
        add("x-bacalhau-arch", &self.version.goarch)?;
        add("x-bacalhau-instanceid", &self.instance_id)?;
        add("x-bacalhau-installationid", &self.installation_id)?;
        Ok(headers)
    }
}

/// The client. Cheap to clone; connections are shared.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    shown: String,
}

impl Client {
    /// A client for one server. Nothing is sent yet.
    ///
    /// # Errors
    /// When the address is no `http(s)` URL, the authority file cannot be read, or a credential cannot be sent.
    pub fn new(
        endpoint: &Endpoint,
        identity: &Identity,
        credential: Option<&Credential>,
    ) -> Result<Client, Error> {
        let base = base_url(&endpoint.url)?;
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails only when somebody else was faster, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let mut headers = identity.headers()?;
        if let Some(credential) = credential {
            headers.insert(AUTHORIZATION, credential.header()?);
        }
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http1_only();
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        builder = if base.scheme() == "http" {
            // Loading the system's authorities takes time and is of no use here.
            builder.tls_certs_only([])
        } else {
            builder.tls_certs_merge(authorities(endpoint)?).tls_danger_accept_invalid_certs(endpoint.insecure)
        };
        let http = builder.build().map_err(|e| errors::unbuildable("cannot set up the HTTP client", &e))?;
        Ok(Client { http, base, shown: without_user(&endpoint.url) })
    }

    /// The server's address as it was given.
    pub fn address(&self) -> &str {
        &self.shown
    }

    pub(super) fn url(&self, path: &[&str], query: &[(&str, String)]) -> Result<Url, Error> {
        // A URL cannot carry these as names: they would lead to another path.
        if let Some(name) = path.iter().find(|name| matches!(**name, "" | "." | "..")) {
            return Err(Error::new(
                code::NOT_FOUND,
                format!("there is nothing with the name or ID {name:?}"),
            ));
        }
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.clear().extend(["api", "v1"]).extend(path);
            }
            Err(()) => return Err(errors::unbuildable("bad server address", &self.shown)),
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Error> {
        self.call(Method::GET, path, query, None::<&()>).await
    }

    pub(super) async fn call<T: DeserializeOwned, B: Serialize>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&B>,
    ) -> Result<T, Error> {
        let url = self.url(path, query)?;
        let mut request = self.http.request(method, url).timeout(REQUEST_TIMEOUT);
        if let Some(body) = body {
            let bytes =
                json::to_vec(body).map_err(|e| errors::unbuildable("cannot encode the request", &e))?;
            request = request.header(CONTENT_TYPE, "application/json").body(bytes);
        }
        let response = request.send().await.map_err(|e| errors::transport(&self.shown, &e))?;
        let status = response.status().as_u16();
        let limit = if status == 200 { MAX_ANSWER } else { MAX_ERROR };
        let bytes = self.read(response, limit).await?;
        if status != 200 {
            return Err(errors::refused(status, &bytes));
        }
        lenient::from_slice(&bytes).map_err(|e| errors::undecodable(&path.join("/"), &e))
    }

    pub(super) async fn read(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| errors::transport(&self.shown, &e))? {
            if bytes.len() + chunk.len() > limit {
                return Err(errors::undecodable(
                    "the request",
                    &format!("it is larger than {limit} bytes; ask for fewer records with --limit"),
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    pub(super) fn raw(&self) -> &reqwest::Client {
        &self.http
    }
}

/// The address as it may be printed: what stands before an `@` can hold a password.
fn without_user(address: &str) -> String {
    let Some((before, host)) = address.rsplit_once('@') else { return address.to_owned() };
    let scheme = before.split_once("://").map(|(scheme, _)| format!("{scheme}://")).unwrap_or_default();
    format!("{scheme}********@{host}")
}

fn base_url(text: &str) -> Result<Url, Error> {
    let bad = |why: &dyn fmt::Display| {
        Error::new("BadRequest", format!("bad server address {:?}: {why}", without_user(text)))
            .component("HTTPClient")
            .hint("write it as http://host:port or https://host:port")
    };
    let url = Url::parse(text).map_err(|e| bad(&e))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(bad(&"it must start with http:// or https:// and name a host"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(bad(&"it must not have a path, a query or a fragment"));
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn authorities(endpoint: &Endpoint) -> Result<Vec<reqwest::Certificate>, Error> {
    let Some(file) = &endpoint.ca_file else { return Ok(Vec::new()) };
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|e| {
        let message = match e.kind() {
            std::io::ErrorKind::NotFound => format!("CA certificate file {shown:?} does not exist"),
            _ => format!("cannot read the CA certificate file {shown:?}: {e}"),
        };
        Error::new("ConfigurationError", message).hint("set API.TLS.CAFile to a readable PEM file")
    })?;
    let certificates = reqwest::Certificate::from_pem_bundle(&bytes)
        .map_err(|e| errors::unbuildable(&format!("the CA certificate file {shown:?} is not PEM"), &e))?;
    if certificates.is_empty() {
        return Err(errors::unbuildable(
            &format!("the CA certificate file {shown:?}"),
            &"it has no certificate",
        ));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_are_not_shown() {
        for (address, shown) in [
            ("http://host:1234", "http://host:1234"),
            ("http://u:hush@host:1", "http://********@host:1"),
            ("http://[u:hush@host:1]:1234", "http://********@host:1]:1234"),
            ("u:hu@sh@host", "********@host"),
        ] {
            assert_eq!(without_user(address), shown);
        }
        let error = base_url("http://[u:hush@host:1]:1234").unwrap_err();
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }

    #[test]
    fn addresses() {
        for good in ["http://127.0.0.1:1234", "https://[::1]:80/", "http://host"] {
            assert!(base_url(good).is_ok(), "{good}");
        }
        for bad in ["", "host:1234", "ftp://host", "http://host/path", "http://host?x=1", "http://"] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let credential = Credential::Bearer("hush".to_owned());
        assert!(!format!("{credential:?}").contains("hush"));
        assert!(credential.header().unwrap().is_sensitive());
        assert!(Credential::Bearer("a\nb".to_owned()).header().is_err());
    }
}
