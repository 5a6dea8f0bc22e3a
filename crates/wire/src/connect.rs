//! The compute node's way to an orchestrator: tries every address until one takes it in, and again when it breaks.
//!
//! Trouble is told once, when it begins or changes, and not at every attempt. Tokens are never printed.

use crate::address::{Address, Credentials};
use crate::bus::Bus;
use crate::bus_client::{ClientBus, DialError, TlsOptions};
use crate::pool::{Backoff, LONGEST_PAUSE, Pool};
use bacalhau_model::Error;
use bacalhau_model::error::code;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// Who connects, and whereto.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// ID of this node; the name of its connection.
    pub node_id: String,
    /// At least one; see [`crate::address::parse_addresses`].
    pub addresses: Vec<Address>,
    /// Where to look for corrected addresses and credentials after a refusal.
    pub reread: Option<Reread>,
    /// TLS settings.
    pub tls: TlsOptions,
    /// Seed for the order of addresses and the jitter of pauses; different on every node.
    pub seed: u64,
}

/// Gives the configured addresses anew, or why it cannot. Called from the connector's task, at most once per round; it
/// may read small files.
#[derive(Clone)]
pub struct Reread(Arc<dyn Fn() -> Result<Vec<Address>, Error> + Send + Sync>);

impl Reread {
    /// Asks `read` each time.
    pub fn new(read: impl Fn() -> Result<Vec<Address>, Error> + Send + Sync + 'static) -> Reread {
        Reread(Arc::new(read))
    }
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reread")
    }
}

/// How the connection stands, for `agent debug`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Status {
    /// Address of the orchestrator while connected.
    pub connected_to: Option<String>,
    /// Rounds through all addresses that failed since it was last connected.
    pub failed_rounds: u32,
    /// Why the last round failed; empty while connected.
    pub last_error: String,
}

/// A connection that stands.
pub struct Connected {
    /// The bus over it.
    pub bus: Arc<dyn Bus>,
    /// Where it leads, `host:port`.
    pub address: String,
    client: Arc<ClientBus>,
}

impl Connected {
    /// Completes when the connection is lost.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.client.lost()
    }
}

/// Makes connections, one after the other.
pub struct Connector {
    options: ConnectOptions,
    pool: Pool,
    backoff: Backoff,
    random: fastrand::Rng,
    status: watch::Sender<Status>,
    /// The trouble that was told last, until it is over.
    told: Option<String>,
    /// Why the configuration could not be read again, as it was told last.
    unreadable: Option<String>,
}

impl Connector {
    /// A connector that has not tried anything yet.
    pub fn new(options: ConnectOptions) -> Connector {
        Connector {
            pool: Pool::new(options.addresses.clone()),
            backoff: Backoff::default(),
            random: fastrand::Rng::with_seed(options.seed),
            status: watch::Sender::new(Status::default()),
            told: None,
            unreadable: None,
            options,
        }
    }

    /// How the connection stands, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Connects, however long it takes. Dropping the future gives up; calling again goes on where it was.
    pub async fn connect(&mut self) -> Connected {
        self.status.send_modify(|status| status.connected_to = None);
        loop {
            match self.round().await {
                Ok(connected) => return connected,
                Err(error) => {
                    let pause = self.backoff.next(&mut self.random);
                    self.failed(&error);
                    tokio::time::sleep(pause).await;
                    if error.code == code::UNAUTHORIZED {
                        self.reread();
                    }
                }
            }
        }
    }

    /// A token that was corrected since it was refused works without a restart.
    fn reread(&mut self) {
        let Some(Reread(read)) = &self.options.reread else { return };
        match read() {
            Ok(addresses) => {
                self.unreadable = None;
                if self.pool.reconfigure(addresses) {
                    tracing::info!("addresses or credentials of the orchestrators changed, trying these");
                }
            }
            Err(error) => {
                if self.unreadable.as_ref() != Some(&error.message) {
                    tracing::warn!(%error, "the configuration cannot be read again, going on with what it was");
                    self.unreadable = Some(error.message);
                }
            }
        }
    }

    /// Tries every address once.
    async fn round(&mut self) -> Result<Connected, Error> {
        let (mut refused, mut failed, mut hints) = (Vec::new(), Vec::new(), BTreeSet::new());
        for address in self.pool.round(&mut self.random) {
            match ClientBus::dial(&address, &self.options.node_id, &self.options.tls).await {
                Ok(client) => return Ok(self.succeeded(address, client)),
                Err(DialError::Refused) => refused.push(address),
                Err(DialError::Failed(why)) => failed.push(format!("{address} ({why})")),
                Err(DialError::Encryption { why, hint }) => {
                    failed.push(format!("{address} ({why})"));
                    hints.insert(hint);
                }
            }
        }
        // The order of a round is random; what is told must not change with it.
        refused.sort_by_key(Address::to_string);
        failed.sort();
        Err(if refused.is_empty() { unreachable(&failed, &hints) } else { not_let_in(&refused) })
    }

    fn succeeded(&mut self, address: Address, client: ClientBus) -> Connected {
        let client = Arc::new(client);
        self.backoff.reset();
        self.told = None;
        self.pool.learn(&client.announced(), &address);
        tracing::info!("connected to orchestrator {address}");
        self.status.send_replace(Status { connected_to: Some(address.to_string()), ..Status::default() });
        Connected { bus: Arc::clone(&client) as Arc<dyn Bus>, address: address.to_string(), client }
    }

    /// Tells of trouble when it is new. Nobody reachable is one trouble, whatever the reasons in detail.
    fn failed(&mut self, error: &Error) {
        let trouble = match error.code == code::UNAUTHORIZED {
            true => error.message.clone(),
            false => format!("{} {}", error.code, error.hint),
        };
        if self.told.as_ref() != Some(&trouble) {
            let every = LONGEST_PAUSE.as_secs();
            tracing::warn!("{}; {} (retrying every {every}s)", error.message, error.hint);
            self.told = Some(trouble);
        }
        let (failed_rounds, last_error) = (self.backoff.failed(), error.message.clone());
        self.status.send_replace(Status { connected_to: None, failed_rounds, last_error });
    }
}

/// `hints` are about those who are there, but with whom encryption fails.
fn unreachable(failed: &[String], hints: &BTreeSet<&str>) -> Error {
    const NOBODY: &str =
        "check that the orchestrator runs and is reachable, and that Compute.Orchestrators has its address";
    let message = format!("no orchestrator available for connection at {}", failed.join(", "));
    let hint = match hints.is_empty() {
        true => NOBODY.to_owned(),
        false => hints.iter().copied().collect::<Vec<_>>().join("; "),
    };
    Error::new(code::SERVICE_UNAVAILABLE, message).hint(hint).retryable()
}

/// Somebody is there and does not want this node: more worth telling than that another address is dead.
fn not_let_in(refused: &[Address]) -> Error {
    let places: Vec<String> = refused.iter().map(Address::to_string).collect();
    let places = places.join(", ");
    let shared = "set Compute.Auth.Token to the value of Orchestrator.Auth.Token on the orchestrator";
    let (message, hint) = match refused.first().map(|address| &address.credentials) {
        Some(Credentials::User { .. }) => (
            format!("orchestrator {places} refused this node's user name and password"),
            format!("correct them in Compute.Orchestrators, or remove them and {shared}"),
        ),
        Some(Credentials::Token(_)) => {
            (format!("orchestrator {places} refused this node's token"), shared.to_owned())
        }
        Some(Credentials::Node(node)) => (
            format!("orchestrator {places} refused the credentials of node {}", node.node_id()),
            format!(
                "they may have been revoked: make new ones with `bacalhau node credentials create {}` and set \
                 Compute.Auth.Credentials",
                node.node_id()
            ),
        ),
        _ => (
            format!("orchestrator {places} wants a token or credentials and this node has none"),
            format!(
                "{shared}, or Compute.Auth.Credentials to a file made by `bacalhau node credentials create`"
            ),
        ),
    };
    Error::new(code::UNAUTHORIZED, message).hint(hint).retryable()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::parse_addresses;

    #[test]
    fn a_refusal_says_what_to_set_and_never_the_secret() {
        for (address, says) in [
            ("hush@h", "refused this node's token"),
            ("u:hush@h", "user name and password"),
            ("h", "has none"),
        ] {
            let error = not_let_in(&parse_addresses(&[address], &Credentials::token("")).unwrap());
            assert!(error.message.contains(says), "{}", error.message);
            assert!(error.hint.contains("Compute.Auth.Token"));
            assert!(!format!("{error:?}").contains("hush"));
        }
    }
}
