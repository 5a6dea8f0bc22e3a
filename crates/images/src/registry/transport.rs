//! HTTP to registries: encryption, credentials, and answers that are read only as far as they may be long.

use super::auth::{Challenge, Proof, Tokens, prove};
use super::{RegistryConfig, registry_name};
use crate::credentials::{Credentials, Login};
use crate::{error, reference};
use bacalhau_model::Error;
use bytes::{Bytes, BytesMut};
use oci_client::Reference;
use reqwest::{Client, Method, Response, StatusCode, header};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Bytes of an error that are looked at.
const LARGEST_ERROR: u64 = 64 << 10;

/// Registries whose way is remembered at most.
const MOST_WAYS: usize = 1_000;

pub(super) struct Transport {
    /// Encrypted, certificates checked.
    strict: Client,
    /// For insecure registries.
    lax: Client,
    insecure: Vec<String>,
    credentials: Credentials,
    tokens: Mutex<Tokens>,
    /// What insecure registries were found to speak.
    ways: Mutex<BTreeMap<String, &'static str>>,
}

impl Transport {
    pub(super) fn new(config: RegistryConfig) -> Result<Transport, Error> {
        // Fails where one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .user_agent(concat!("bacalhau/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(config.connect_timeout)
                .read_timeout(config.read_timeout)
        };
        let explain =
            |e: reqwest::Error| error::failed(format!("cannot set up the client for registries: {e}"));
        Ok(Transport {
            strict: builder().https_only(true).build().map_err(explain)?,
            lax: builder().danger_accept_invalid_certs(true).build().map_err(explain)?,
            insecure: config.insecure.iter().map(|name| name.trim().to_ascii_lowercase()).collect(),
            credentials: config.credentials,
            tokens: Mutex::default(),
            ways: Mutex::default(),
        })
    }

    /// Asks for `path` below `/v2/`. The answer is a success.
    pub(super) async fn request(
        &self,
        image: &Reference,
        method: Method,
        path: &str,
        accept: &str,
    ) -> Result<Response, Error> {
        let registry = reference::host(image);
        let (client, scheme) = self.way(registry).await?;
        let url = format!("{scheme}://{registry}/v2/{path}");
        let login = self.credentials.login(image).await?;
        let known = self.lock_tokens().get(registry, image.repository(), &login);
        let send = |proof: Option<Proof>| {
            let request = client.request(method.clone(), &url).header(header::ACCEPT, accept);
            let request = match proof {
                Some(proof) => proof.apply(request),
                None => request,
            };
            request.send()
        };
        let unreachable = |e: reqwest::Error| error::unreachable(registry, sentence(&e));
        let mut response = send(known).await.map_err(unreachable)?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(challenge) = challenge(&response)
        {
            let proof = self.prove(client, &challenge, image, login).await?;
            response = send(Some(proof)).await.map_err(unreachable)?;
        }
        if response.status().is_success() { Ok(response) } else { Err(refusal(image, response).await) }
    }

    async fn prove(
        &self,
        client: &Client,
        challenge: &Challenge,
        image: &Reference,
        login: Login,
    ) -> Result<Proof, Error> {
        let proved = prove(client, challenge, image.repository(), &login).await;
        let (proof, validity) = proved.map_err(|reason| {
            error::not_available(
                &image.to_string(),
                format!("{} lets nobody in: {reason}", registry_name(image)),
            )
        })?;
        let kept = (proof.clone(), validity);
        self.lock_tokens().put(reference::host(image), image.repository(), login, kept);
        Ok(proof)
    }

    fn lock_tokens(&self) -> std::sync::MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Client and scheme for a registry.
    async fn way(&self, registry: &str) -> Result<(&Client, &'static str), Error> {
        if !is_loopback(registry) && !self.is_insecure(registry) {
            return Ok((&self.strict, "https"));
        }
        let known = self.ways.lock().unwrap_or_else(PoisonError::into_inner).get(registry).copied();
        if let Some(scheme) = known {
            return Ok((&self.lax, scheme));
        }
        // As Docker does it: encrypted if it can be, whoever it is.
        let mut last = String::new();
        for scheme in ["https", "http"] {
            match self.lax.get(format!("{scheme}://{registry}/v2/")).send().await {
                Ok(_) => {
                    let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
                    if ways.len() >= MOST_WAYS {
                        ways.clear();
                    }
                    ways.insert(registry.to_owned(), scheme);
                    return Ok((&self.lax, scheme));
                }
                Err(e) => last = sentence(&e),
            }
        }
        Err(error::unreachable(registry, last))
    }

    fn is_insecure(&self, registry: &str) -> bool {
        let registry = registry.to_ascii_lowercase();
        self.insecure.iter().any(|name| *name == registry || *name == host_of(&registry))
    }

    /// The whole body, if it is not longer than `most` bytes.
    pub(super) async fn bounded(
        &self,
        image: &Reference,
        response: Response,
        most: u64,
    ) -> Result<Bytes, Error> {
        read_bounded(response, most).await.map_err(|reason| error::unreachable(registry_name(image), reason))
    }
}

fn challenge(response: &Response) -> Option<Challenge> {
    let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
    let parsed = headers.iter().filter_map(|value| Challenge::parse(value.to_str().ok()?));
    // A registry that takes both is asked for a token.
    parsed.max_by_key(|challenge| matches!(challenge, Challenge::Bearer { .. }))
}

/// The whole body, if it is not longer than `most` bytes.
pub(super) async fn read_bounded(mut response: Response, most: u64) -> Result<Bytes, String> {
    let too_long = || format!("its answer has more than {most} bytes");
    if response.content_length().is_some_and(|length| length > most) {
        return Err(too_long());
    }
    let mut body = BytesMut::new();
    while let Some(part) = response.chunk().await.map_err(|e| sentence(&e))? {
        if (body.len() + part.len()) as u64 > most {
            return Err(too_long());
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

/// What a registry's error means.
async fn refusal(image: &Reference, response: Response) -> Error {
    let (name, status) = (image.to_string(), response.status());
    let said = read_bounded(response, LARGEST_ERROR).await.unwrap_or_default();
    let said = first_message(&said).map(|text| format!(": {text}")).unwrap_or_default();
    match status {
        StatusCode::NOT_FOUND => error::not_available(&name, format!("the registry does not have it{said}")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => error::not_available(
            &name,
            format!("the registry does not show it to this node ({status}){said}"),
        ),
        StatusCode::TOO_MANY_REQUESTS => {
            error::unreachable(registry_name(image), format!("it was asked too often ({status}){said}"))
        }
        status => error::unreachable(registry_name(image), format!("it answers {status}{said}")),
    }
}

/// The first error of an answer in the form of the distribution specification, shortened.
fn first_message(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = value.get("errors")?.get(0)?.get("message")?.as_str()?;
    Some(text.chars().filter(|c| !c.is_control()).take(200).collect())
}

/// An error with its causes and without its URL, which may hold a signature.
pub(super) fn sentence(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    match causes.last() {
        Some(last) => last.clone(),
        None if error.is_timeout() => "it does not answer".to_owned(),
        None => "the request failed".to_owned(),
    }
}

fn host_of(registry: &str) -> &str {
    match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => registry,
    }
}

fn is_loopback(registry: &str) -> bool {
    let host = host_of(registry);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback() {
        for name in ["localhost", "LOCALHOST:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback(name), "{name}");
        }
        for name in ["localhost.example", "10.0.0.1:5000", "registry-1.docker.io", "127.0.0.1.example"] {
            assert!(!is_loopback(name), "{name}");
        }
    }

    #[test]
    fn messages_of_registries_are_short_and_plain() {
        let long = format!(r#"{{"errors":[{{"code":"X","message":"a\u001b{}"}}]}}"#, "b".repeat(1000));
        let text = first_message(long.as_bytes()).unwrap();
        assert!(text.starts_with("ab") && text.len() == 200);
        assert_eq!(first_message(b"<html>"), None);
    }
}
