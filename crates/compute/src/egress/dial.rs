//! From a listed host to a connection: resolve once, check each address, connect to a checked one.

use super::address;
use super::domains::{DomainList, Host};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinError;
use tokio::time::timeout;

/// Time for a name and for all of its addresses together.
const TIME: Duration = Duration::from_secs(30);

/// Time for one address, so that one that is silent does not eat the time of the others.
const TIME_PER_ADDRESS: Duration = Duration::from_secs(10);

/// Addresses tried at most.
const MAX_ADDRESSES: usize = 16;

/// Names resolved at the same time by the whole process. Each takes a thread of the pool that others need as well, and
/// keeps it when nobody waits any more.
static LOOKUPS: Semaphore = Semaphore::const_new(32);

/// Why there is no connection.
#[derive(Debug)]
pub enum Refusal {
    /// The text is no host.
    NotAHost(String),
    /// The list does not have it.
    NotListed(String),
    /// It leads to an address that only an entry of its own allows.
    Forbidden {
        /// The host as it is compared.
        host: String,
        /// Where it leads.
        address: IpAddr,
        /// What that is.
        what: &'static str,
    },
    /// The name could not be resolved, or nobody answers.
    Unreachable(String),
    /// Neither an answer nor a refusal in time.
    Slow(String),
}

impl Refusal {
    /// True when the list is the reason, not the network.
    pub fn is_denial(&self) -> bool {
        matches!(self, Refusal::NotAHost(_) | Refusal::NotListed(_) | Refusal::Forbidden { .. })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotAHost(text) => write!(f, "{text:?} is no host name and no address"),
            Refusal::NotListed(host) => write!(
                f,
                "access to \"{host}\" is not allowed: the job does not list it. Add \"{host}\" to Network.Domains of the task"
            ),
            Refusal::Forbidden { host, address, what } => write!(
                f,
                "access to \"{host}\" is not allowed: it leads to {address}, which is {what}. Add \"{address}\" to Network.Domains of the task if that is meant"
            ),
            Refusal::Unreachable(text) => f.write_str(text),
            Refusal::Slow(host) => write!(f, "\"{host}\" does not answer within {} s", TIME.as_secs()),
        }
    }
}

impl std::error::Error for Refusal {}

/// Connects to a host the list allows.
///
/// # Errors
/// See [`Refusal`].
pub async fn dial(domains: &DomainList, host: &str, port: u16) -> Result<TcpStream, Refusal> {
    let host = Host::parse(host).ok_or_else(|| Refusal::NotAHost(shortened(host)))?;
    dial_host(domains, &host, port).await
}

/// The same for a host that has been read.
pub(super) async fn dial_host(domains: &DomainList, host: &Host, port: u16) -> Result<TcpStream, Refusal> {
    if !domains.allows_host(host) {
        return Err(Refusal::NotListed(host.to_string()));
    }
    timeout(TIME, connect(domains, host, port)).await.unwrap_or_else(|_| Err(Refusal::Slow(host.to_string())))
}

async fn connect(domains: &DomainList, host: &Host, port: u16) -> Result<TcpStream, Refusal> {
    let mut refusal = Refusal::Unreachable(format!("\"{host}\" has no address"));
    for address in allowed(domains, host, port).await? {
        match timeout(TIME_PER_ADDRESS, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Delays small messages otherwise; a proxy must add none. Fails only on a dead connection.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => refusal = unreachable(host, address, &error),
            Err(_) => refusal = unreachable(host, address, &io::ErrorKind::TimedOut.into()),
        }
    }
    Err(refusal)
}

/// The addresses a listed host leads to and may lead to, for a client that connects by itself, and only to these. Their
/// port is 0.
///
/// # Errors
/// See [`Refusal`].
pub async fn addresses(domains: &DomainList, host: &str) -> Result<Vec<SocketAddr>, Refusal> {
    let host = Host::parse(host).ok_or_else(|| Refusal::NotAHost(shortened(host)))?;
    if !domains.allows_host(&host) {
        return Err(Refusal::NotListed(host.to_string()));
    }
    timeout(TIME, allowed(domains, &host, 0)).await.unwrap_or_else(|_| Err(Refusal::Slow(host.to_string())))
}

/// Resolves a listed host and leaves out where it must not lead. Never empty.
async fn allowed(domains: &DomainList, host: &Host, port: u16) -> Result<Vec<SocketAddr>, Refusal> {
    let mut refusal = Refusal::Unreachable(format!("\"{host}\" has no address"));
    let mut allowed = Vec::new();
    for address in resolve(host, port).await?.into_iter().take(MAX_ADDRESSES) {
        match check(domains, host, address.ip()) {
            Ok(()) => allowed.push(address),
            Err(denied) => refusal = denied,
        }
    }
    if allowed.is_empty() { Err(refusal) } else { Ok(allowed) }
}

fn unreachable(host: &Host, address: SocketAddr, error: &io::Error) -> Refusal {
    Refusal::Unreachable(format!("cannot connect to \"{host}\" at {address}: {error}"))
}

async fn resolve(host: &Host, port: u16) -> Result<Vec<SocketAddr>, Refusal> {
    let name = match host {
        Host::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
        Host::Name(name) => name,
    };
    let cannot =
        |error: &dyn fmt::Display| Refusal::Unreachable(format!("cannot resolve \"{name}\": {error}"));
    let permit = LOOKUPS.acquire().await.map_err(|e| cannot(&e))?;
    let wanted = (name.clone(), port);
    let lookup = async move { Ok(tokio::net::lookup_host(wanted).await?.collect()) };
    let found: io::Result<Vec<SocketAddr>> = to_its_end(permit, lookup).await.map_err(|e| cannot(&e))?;
    found.map_err(|e| cannot(&e))
}

/// Keeps the permit of a lookup until it is over, even if nobody waits any more: until then it has its thread.
async fn to_its_end<T: Send + 'static>(
    permit: SemaphorePermit<'static>,
    lookup: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinError> {
    tokio::spawn(async move {
        let found = lookup.await;
        drop(permit);
        found
    })
    .await
}

/// An address is fine if it is listed itself, or if a listed name may lead there.
fn check(domains: &DomainList, host: &Host, found: IpAddr) -> Result<(), Refusal> {
    let found = found.to_canonical();
    if domains.lists_address(found) {
        return Ok(());
    }
    let what = address::forbidden(found)
        .or_else(|| address::is_own(found).unwrap_or(false).then_some("the compute node itself"));
    match what {
        Some(what) => Err(Refusal::Forbidden { host: host.to_string(), address: found, what }),
        None => Ok(()),
    }
}

/// What a task sent, short enough for a message.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn whoever_gives_up_a_lookup_does_not_make_room_for_another() {
        static PERMITS: Semaphore = Semaphore::const_new(1);
        let (answer, answered) = oneshot::channel::<()>();
        let permit = PERMITS.acquire().await.unwrap();
        let mut lookup = Box::pin(to_its_end(permit, answered));
        assert!(futures_util::poll!(&mut lookup).is_pending());
        drop(lookup);
        assert!(PERMITS.try_acquire().is_err(), "its thread still runs");
        answer.send(()).unwrap();
        drop(PERMITS.acquire().await.unwrap());
    }
}
