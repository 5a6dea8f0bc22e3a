//! HTTP requests of guests. Every request goes through [`Http::send`], which knows what the guest may reach.
//!
//! Each guest has a client of its own, made with its first request, so that no connection outlives a guest or is
//! shared by two. What costs time to load, the machine's certificates, is shared.

pub(super) mod host_module;
pub(super) mod outgoing;

use super::network::Access;
use crate::egress;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Request, Response};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Time to connect, TLS included, unless the guest asks for less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests of one guest at the same time, each counted until its response has been read.
const MAX_REQUESTS: usize = 64;

/// Redirects followed for one request, as in Bacalhau 1.9.
const MAX_REDIRECTS: usize = 10;

/// TLS settings shared by the guests of a node, loaded when first needed.
#[derive(Clone, Default)]
pub(super) struct Tls(Arc<OnceLock<Result<ClientConfig, String>>>);

impl Tls {
    /// Reads the machine's certificates: blocks for some milliseconds the first time.
    fn config(&self) -> Result<ClientConfig, String> {
        self.0.get_or_init(load).clone()
    }
}

fn load() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_platform_verifier())
        .map_err(|e| format!("cannot set up TLS: {e}"))?;
    Ok(config.with_no_client_auth())
}

/// Why a request was not answered.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The job may not reach that host.
    NotAllowed,
    /// Too many requests at the same time.
    TooMany,
    /// The client cannot be set up.
    Setup(String),
    /// The network, the server or TLS.
    Failed(reqwest::Error),
}

/// Who follows redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redirects {
    /// The guest, if it likes.
    Guest,
    /// The client, as far as the guest may reach where they lead; one that leads elsewhere is the response.
    Client,
}

/// The HTTP client of one guest. Clones are the same client.
#[derive(Clone)]
pub(super) struct Http {
    access: Arc<Access>,
    redirects: Redirects,
    tls: Tls,
    client: Arc<OnceLock<Result<Client, String>>>,
    permits: Arc<Semaphore>,
}

impl Http {
    pub(super) fn new(access: Arc<Access>, redirects: Redirects, tls: Tls) -> Http {
        Http {
            access,
            redirects,
            tls,
            client: Arc::default(),
            permits: Arc::new(Semaphore::new(MAX_REQUESTS)),
        }
    }

    /// Sends a request if the guest may reach its host. The permit is to be held while the response is read.
    pub(super) async fn send(&self, request: Request) -> Result<(Response, OwnedSemaphorePermit), Refusal> {
        if !allows(&self.access, request.url()) {
            return Err(Refusal::NotAllowed);
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| Refusal::TooMany)?;
        let client =
            self.client.get_or_init(|| self.build()).as_ref().map_err(|e| Refusal::Setup(e.clone()))?;
        let response = client.execute(request).await;
        let response =
            response.map_err(|e| if is_denied(&e) { Refusal::NotAllowed } else { Refusal::Failed(e) })?;
        Ok((response, permit))
    }

    fn build(&self) -> Result<Client, String> {
        let redirects = match self.redirects {
            Redirects::Guest => Policy::none(),
            Redirects::Client => {
                let access = Arc::clone(&self.access);
                Policy::custom(move |attempt| {
                    if attempt.previous().len() > MAX_REDIRECTS {
                        attempt.error("too many redirects")
                    } else if allows(&access, attempt.url()) {
                        attempt.follow()
                    } else {
                        attempt.stop()
                    }
                })
            }
        };
        let mut client = Client::builder().tls_backend_preconfigured(self.tls.config()?);
        if matches!(*self.access, Access::Domains(_)) {
            // What a listed name leads to is checked here, so nobody else may resolve it.
            client = client.no_proxy().dns_resolver(Arc::new(Names(Arc::clone(&self.access))));
        }
        let client = client.connect_timeout(CONNECT_TIMEOUT).redirect(redirects).referer(false);
        client.user_agent("bacalhau").build().map_err(|e| format!("cannot set up HTTP: {e}"))
    }
}

/// Resolves listed names to addresses they may lead to.
struct Names(Arc<Access>);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let access = Arc::clone(&self.0);
        Box::pin(async move {
            let Access::Domains(domains) = &*access else {
                return Err(egress::Refusal::NotListed(name.as_str().to_owned()).into());
            };
            let addresses = egress::addresses(domains, name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Whether an error says that a listed name leads where it may not.
fn is_denied(error: &reqwest::Error) -> bool {
    let first: Option<&(dyn std::error::Error + 'static)> = Some(error);
    std::iter::successors(first, |error| error.source())
        .any(|error| error.downcast_ref().is_some_and(egress::Refusal::is_denial))
}

/// Whether the rules let a request to this address pass: http or https to an allowed host.
fn allows(access: &Access, url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    // Addresses of version 6 come in brackets.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    matches!(url.scheme(), "http" | "https") && !host.is_empty() && access.allows(host)
}
