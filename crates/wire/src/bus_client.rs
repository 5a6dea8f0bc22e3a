//! The bus over a TCP or TLS connection to a NATS server, by `async-nats`.
//!
//! One value is one connection. It is never mended behind the caller's back: when it breaks, every call fails with
//! [`BusError::Closed`], subscriptions end and [`ClientBus::lost`] completes; [`crate::connect`] makes the next one.

use crate::address::{Address, Credentials};
use crate::bus::{BoxFuture, Bus, BusError, BusMessage, Subscription};
use crate::headers::Headers;
use crate::requests::Requests;
use crate::subjects;
use crate::tls_trouble::{self, TlsTrouble};
use async_nats::client::PublishErrorKind;
use async_nats::{Auth, AuthError, ConnectErrorKind, Event, HeaderMap};
use bytes::Bytes;
use futures_util::StreamExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tracing::instrument::WithSubscriber;

/// For TCP, TLS, INFO, CONNECT and PONG together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The connection counts as lost when three of these pass without an answer.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Messages that may wait in one subscription; more are dropped, with a warning.
const MOST_WAITING: usize = 16_384;
/// IP addresses of one host that are tried.
const MOST_IPS: usize = 8;

/// TLS as the node's configuration has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// PEM file with the certificate authority; the system's own when there is none.
    pub ca_cert: Option<PathBuf>,
    /// Do the TLS handshake before the server says anything.
    pub handshake_first: bool,
}

/// Why a connection could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DialError {
    /// The server does not accept the credentials.
    Refused,
    /// Anything else, in words.
    Failed(String),
    /// There is somebody, but no encryption that both sides can agree on.
    Encryption { why: String, hint: &'static str },
}

/// A connection to a NATS server.
pub struct ClientBus {
    client: async_nats::Client,
    requests: Requests,
    node_id: String,
    lost: watch::Receiver<bool>,
}

impl ClientBus {
    /// Connects once. `name`, the node's ID, is shown on the server and stands in the names of inboxes.
    ///
    /// A host with several IP addresses is tried address by address, and a server that refuses the credentials
    /// outweighs an address where nobody listens. With TLS the library does that, for it needs the host's name.
    pub(crate) async fn dial(
        address: &Address,
        name: &str,
        tls: &TlsOptions,
    ) -> Result<ClientBus, DialError> {
        // Whoever names an authority expects TLS, and a certificate is for a name.
        if address.tls || tls.handshake_first || tls.ca_cert.is_some() {
            return ClientBus::dial_url(&address.url(), address, name, tls).await;
        }
        let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
        let found = found.map_err(|e| DialError::Failed(format!("cannot resolve {}: {e}", address.host)))?;
        let mut failure = DialError::Failed(format!("{} has no IP address", address.host));
        for ip in found.take(MOST_IPS) {
            match ClientBus::dial_url(&format!("nats://{ip}"), address, name, tls).await {
                Ok(bus) => return Ok(bus),
                Err(DialError::Refused) => failure = DialError::Refused,
                // Somebody is there, which is more worth telling than an address where nobody is.
                Err(error) if matches!(failure, DialError::Failed(_)) => failure = error,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    async fn dial_url(
        url: &str,
        address: &Address,
        name: &str,
        tls: &TlsOptions,
    ) -> Result<ClientBus, DialError> {
        let (lost_sender, lost) = watch::channel(false);
        let lost_sender = Arc::new(lost_sender);
        let connected = Arc::new(AtomicBool::new(false));
        let mut options = until(Arc::clone(&connected), &address.credentials)
            .name(name)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .subscription_capacity(MOST_WAITING)
            .max_reconnects(1)
            .ignore_discovered_servers()
            .event_callback(move |event| note(event, Arc::clone(&lost_sender)));
        if let Some(path) = &tls.ca_cert {
            options = options.add_root_certificates(path.clone());
        }
        if tls.handshake_first {
            options = options.tls_first();
        }
        let options = options.require_tls(address.tls);
        // The library logs every failure itself; whoever dials knows better how often to say it.
        let quiet = tracing::subscriber::NoSubscriber::default();
        // The library's future is large, and everything that connects would carry it.
        let connecting = Box::pin(options.connect(url).with_subscriber(quiet));
        let client = connecting.await.map_err(|e| match e.kind() {
            ConnectErrorKind::AuthorizationViolation => DialError::Refused,
            _ => failure(&e),
        })?;
        connected.store(true, Ordering::Release);
        let requests = Requests::named(subjects::inbox(name));
        let bus = ClientBus { client, requests, node_id: name.to_owned(), lost };
        let answers = bus.subscribe(&bus.requests.subject()).await;
        bus.requests.read(answers.map_err(|e| DialError::Failed(e.to_string()))?);
        Ok(bus)
    }

    /// Completes when the connection is lost; never before.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut lost = self.lost.clone();
        async move {
            // An error means that the library is gone, and the connection with it.
            let _ = lost.wait_for(|lost| *lost).await;
        }
    }

    /// Other addresses of the same bus, as the server announced them (`host:port`).
    pub(crate) fn announced(&self) -> Vec<String> {
        self.client.try_server_info().map(|info| info.connect_urls).unwrap_or_default()
    }

    fn error(&self, subject: &str, size: usize, kind: PublishErrorKind) -> BusError {
        let subject = subject.to_owned();
        match kind {
            PublishErrorKind::MaxPayloadExceeded => {
                BusError::TooLarge { subject, size, limit: self.client.max_payload() }
            }
            PublishErrorKind::InvalidSubject => {
                BusError::Subject { subject, reason: "it has white space or is empty".to_owned() }
            }
            PublishErrorKind::Send => BusError::Closed,
        }
    }
}

/// Options that have credentials until the connection stands. The library always tries to mend a broken connection;
/// without credentials it gives up at once, and the connection ends as it should.
fn until(connected: Arc<AtomicBool>, credentials: &Credentials) -> async_nats::ConnectOptions {
    let credentials = credentials.clone();
    async_nats::ConnectOptions::with_auth_callback(move |nonce| {
        let auth = match (connected.load(Ordering::Acquire), &credentials) {
            (true, _) => Err(AuthError::new("connections are made anew elsewhere")),
            (false, Credentials::None) => Ok(Auth::new()),
            (false, Credentials::Token(token)) => {
                let mut auth = Auth::new();
                auth.token = Some(token.clone());
                Ok(auth)
            }
            (false, Credentials::User { name, password }) => {
                let mut auth = Auth::new();
                auth.username = Some(name.clone());
                auth.password = Some(password.clone());
                Ok(auth)
            }
            (false, Credentials::Node(node)) => {
                let mut auth = Auth::new();
                auth.nkey = Some(node.public_key().to_owned());
                auth.signature = Some(node.sign(&nonce));
                Ok(auth)
            }
        };
        std::future::ready(auth)
    })
}

async fn note(event: Event, lost: Arc<watch::Sender<bool>>) {
    match event {
        Event::Disconnected | Event::Closed => {
            lost.send_replace(true);
        }
        Event::SlowConsumer(subscription) => {
            tracing::warn!(subscription, "messages were lost: this process reads them too slowly");
        }
        Event::ServerError(error) => tracing::warn!("the message bus reports: {error}"),
        _ => {}
    }
}

fn failure(error: &(dyn std::error::Error + 'static)) -> DialError {
    let why = with_causes(error);
    match tls_trouble::find(error) {
        Some(TlsTrouble { what, hint }) => DialError::Encryption { why: format!("{what}: {why}"), hint },
        None => DialError::Failed(why),
    }
}

/// An error with its causes; the library's own text only names the kind.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn to_map(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter() {
        let name = async_nats::header::HeaderName::from_str(name);
        let value = async_nats::header::HeaderValue::from_str(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    map
}

fn from_message(message: async_nats::Message) -> BusMessage {
    let mut headers = Headers::default();
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        let name: &str = name.as_ref();
        values.iter().for_each(|value| headers.push(name, value.as_str()));
    }
    BusMessage {
        subject: message.subject.into_string(),
        reply: message.reply.map(async_nats::Subject::into_string),
        status: message.status.map(|status| status.as_u16()),
        headers,
        payload: message.payload,
    }
}

impl Bus for ClientBus {
    fn new_inbox(&self) -> String {
        subjects::inbox(&self.node_id)
    }

    fn publish<'a>(
        &'a self,
        subject: &'a str,
        reply: Option<&'a str>,
        headers: &'a Headers,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(async move {
            if *self.lost.borrow() {
                return Err(BusError::Closed);
            }
            let size = headers.wire_size() + payload.len();
            let (client, to) = (&self.client, subject.to_owned());
            let sent = async {
                match (reply.map(str::to_owned), headers.is_empty()) {
                    (None, true) => client.publish(to, payload).await,
                    (None, false) => client.publish_with_headers(to, to_map(headers), payload).await,
                    (Some(reply), true) => client.publish_with_reply(to, reply, payload).await,
                    (Some(reply), false) => {
                        client.publish_with_reply_and_headers(to, reply, to_map(headers), payload).await
                    }
                }
            };
            tokio::select! {
                sent = sent => sent.map_err(|e| self.error(subject, size, e.kind())),
                () = self.lost() => Err(BusError::Closed),
            }
        })
    }

    fn subscribe<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Subscription, BusError>> {
        Box::pin(async move {
            if *self.lost.borrow() {
                return Err(BusError::Closed);
            }
            match self.client.subscribe(subject.to_owned()).await {
                Ok(messages) => Ok(Subscription::new(messages.map(from_message).take_until(self.lost()))),
                Err(e) => Err(BusError::Subject { subject: subject.to_owned(), reason: with_causes(&e) }),
            }
        })
    }

    fn request<'a>(
        &'a self,
        subject: &'a str,
        headers: &'a Headers,
        payload: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<BusMessage, BusError>> {
        Box::pin(self.requests.ask(self, subject, headers, payload, timeout))
    }

    fn max_payload(&self) -> usize {
        self.client.max_payload()
    }
}
