//! Who gets which port.

use super::search::can_bind;
use super::*;
use crate::executor::WorkFolder;
use bacalhau_model::PortMapping;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

fn port(name: &str, fixed: i64, target: i64) -> PortMapping {
    PortMapping { name: name.into(), r#static: fixed, target, ..PortMapping::default() }
}

fn network(r#type: NetworkType, ports: Vec<PortMapping>) -> NetworkConfig {
    NetworkConfig { r#type, ports, ..NetworkConfig::default() }
}

/// A table with `count` ports that nothing listens on, as far as the machine holds still. Each looks for them in a place of
/// its own: who looks whether a port is free holds it for a moment, and tests run at the same time.
fn table(count: u16) -> PortTable {
    const PLACE: u16 = 64;
    static PLACES: AtomicU16 = AtomicU16::new(0);
    let free = |first: u16| (first..first + count).all(|port| can_bind(port, "").is_ok());
    // Far from where the kernel chooses ports, and each test process begins elsewhere.
    let start = 10_000 + u16::try_from(std::process::id() % 8_000).unwrap();
    let start = start + PLACES.fetch_add(1, Ordering::Relaxed) * PLACE;
    let first =
        (start..start + PLACE - count).step_by(usize::from(count)).find(|first| free(*first)).unwrap();
    alone(first..=first + count - 1)
}

/// A node that is alone on its machine: tests run at the same time.
fn alone(range: RangeInclusive<u16>) -> PortTable {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let group = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    PortTable::among(Claims::of(&group), range, Path::new("/"))
}

fn hosts(lease: &PortLease) -> Vec<u16> {
    lease.ports().iter().map(|port| port.host).collect()
}

#[tokio::test]
async fn every_port_has_one_owner_and_comes_back() {
    let table = table(3);
    let wanted = network(NetworkType::Host, vec![port("a", 0, 0), port("b", 0, 0)]);
    let one = table.allocate("e-1", &wanted).await.unwrap();
    assert_ne!(hosts(&one)[0], hosts(&one)[1]);
    assert!(one.ports().iter().all(|port| port.target == port.host), "host network");
    let error = table.allocate("e-2", &wanted).await.unwrap_err();
    assert!(error.message.starts_with("no free port for \"b\": all from "), "{error}");
    assert!(error.retryable);
    let single = network(NetworkType::Bridge, vec![port("a", 0, 80)]);
    let two = table.allocate("e-2", &single).await.unwrap();
    assert!(!hosts(&one).contains(&hosts(&two)[0]) && two.ports()[0].target == 80);
    let before = hosts(&one);
    drop(one);
    assert_eq!(table.state().count(), 1, "given back");
    let again = table.allocate("e-3", &wanted).await.unwrap();
    assert_eq!(hosts(&again).iter().collect::<std::collections::BTreeSet<_>>(), before.iter().collect());
}

#[tokio::test]
async fn ports_go_round() {
    let table = table(4);
    let wanted = network(NetworkType::Full, vec![port("a", 0, 0)]);
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..4 {
        seen.extend(hosts(&table.allocate(&format!("e-{n}"), &wanted).await.unwrap()));
    }
    assert_eq!(seen.len(), 4, "a port that was just given back is the last to be given away");
}

#[tokio::test]
async fn a_fixed_port_is_waited_for() {
    let table = table(1);
    let fixed = i64::from(*table.inner.range.start());
    let wanted = network(NetworkType::Bridge, vec![port("a", fixed, 0)]);
    let first = table.allocate("e-1", &wanted).await.unwrap();
    assert_eq!(first.ports()[0].target, first.ports()[0].host, "the target is the host's port by default");
    let waiting = tokio::spawn({
        let (table, wanted) = (table.clone(), wanted.clone());
        async move { table.allocate("e-2", &wanted).await }
    });
    tokio::task::yield_now().await;
    drop(first);
    assert_eq!(hosts(&waiting.await.unwrap().unwrap()), [u16::try_from(fixed).unwrap()]);
}

#[tokio::test]
async fn what_others_listen_on_is_not_free() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    let table = alone(taken..=taken);
    let fixed = network(NetworkType::Host, vec![port("a", i64::from(taken), 0)]);
    let error = table.allocate("e-1", &fixed).await.unwrap_err();
    assert_eq!(error.message, format!("port {taken} of this node is in use by a program that is no job"));
    let any = network(NetworkType::Host, vec![port("a", 0, 0)]);
    assert!(table.allocate("e-1", &any).await.unwrap_err().message.starts_with("no free port"));
    let mut elsewhere = any.clone();
    elsewhere.ports[0].host_network = "192.0.2.1".into();
    let error = table.allocate("e-1", &elsewhere).await.unwrap_err();
    assert!(error.message.contains("cannot be bound on 192.0.2.1"), "{error}");
    assert_eq!(table.state().count(), 0);
}

#[tokio::test]
async fn only_some_networks_have_ports() {
    let table = table(1);
    for kind in [NetworkType::None, NetworkType::Default, NetworkType::Http] {
        let lease = table.allocate("e-1", &network(kind, vec![port("a", 0, 0)])).await.unwrap();
        assert!(lease.ports().is_empty());
    }
}

#[tokio::test]
async fn the_next_life_knows_them() {
    let dir = tempfile::tempdir().unwrap();
    let work = Arc::new(WorkFolder::new(dir.path().join("e-1")));
    let before = table(2);
    let after = alone(before.inner.range.clone());
    let wanted = network(NetworkType::Bridge, vec![port("a", 0, 80), port("b", 0, 0)]);
    let lease = before.allocate("e-1", &wanted).await.unwrap();
    note(&work, &lease).await.unwrap();
    let adopted = after.take_over("e-1", work.path());
    assert_eq!(adopted.ports(), lease.ports());
    assert!(hosts(&lease).iter().all(|port| after.state().owner(*port) == Some("e-1")));
    drop(adopted);
    assert_eq!(after.state().count(), 0);
    assert!(after.take_over("e-2", &dir.path().join("e-2")).ports().is_empty());
}

#[tokio::test]
async fn nodes_of_one_machine_pass_over_each_others_ports() {
    let one = table(2);
    let range = one.inner.range.clone();
    let claims = Claims::of(&format!("{}-two-nodes", std::process::id()));
    let node = || PortTable::among(claims.clone(), range.clone(), Path::new("/"));
    let (one, two) = (node(), node());
    let any = network(NetworkType::Host, vec![port("a", 0, 0)]);
    // Nothing listens: the tasks have not bound them yet.
    let first = one.allocate("e-1", &any).await.unwrap();
    let second = two.allocate("e-2", &any).await.unwrap();
    assert_ne!(hosts(&first), hosts(&second));
    let error = two.allocate("e-3", &any).await.unwrap_err();
    assert!(error.message.starts_with("no free port for \"a\"") && error.retryable, "{error}");
    let taken = hosts(&first)[0];
    let fixed = network(NetworkType::Host, vec![port("a", i64::from(taken), 0)]);
    let error = two.allocate("e-3", &fixed).await.unwrap_err();
    let words = format!("port {taken} is taken by an execution of another node of this machine");
    assert!(error.message == words && error.retryable, "{error}");

    // A node that comes back has what its executions had, and the other sees it.
    let dir = tempfile::tempdir().unwrap();
    let work = Arc::new(WorkFolder::new(dir.path().join("e-1")));
    note(&work, &first).await.unwrap();
    drop((first, one));
    let one = node();
    let adopted = one.take_over("e-1", work.path());
    assert_eq!(two.allocate("e-3", &fixed).await.unwrap_err().message, words);
    drop(adopted);
    assert_eq!(hosts(&two.allocate("e-3", &fixed).await.unwrap()), [taken]);
}
