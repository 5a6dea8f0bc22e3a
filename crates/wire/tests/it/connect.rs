//! The connection manager: tokens, orchestrators that come and go, addresses that are learnt, and what it says.

use crate::servers::{TestServer, connect, connector, kinds, within};
use bacalhau_wire::bus::BusError;
use bacalhau_wire::headers::Headers;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

/// Collects what is logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<(Level, String)>>>);

impl Log {
    pub(crate) fn warnings(&self) -> Vec<String> {
        let log = self.0.lock().unwrap();
        log.iter().filter(|(level, _)| *level <= Level::WARN).map(|(_, text)| text.clone()).collect()
    }

    fn all(&self) -> String {
        self.0.lock().unwrap().iter().map(|(_, text)| text.clone() + "\n").collect()
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push((*event.metadata().level(), text.0));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_wrong_token_is_told_once_and_the_right_one_lets_the_node_in() {
    for kind in kinds() {
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(log.clone());
        let server = TestServer::start(kind, "other-secret");
        let (addr, port) = (server.addr, server.addr.port());
        let mut connector = connector(&addr.to_string(), "node-secret");
        let mut status = connector.status();
        let connecting = tokio::spawn(async move { connector.connect().await });
        within(status.wait_for(|s| s.failed_rounds >= 3)).await.unwrap();
        let error = status.borrow().last_error.clone();
        assert!(error.contains(&format!("orchestrator {addr} refused this node's token")), "{error}");
        drop(server);
        let server = TestServer::start_at(kind, port, "node-secret", None);
        let connected = within(connecting).await.unwrap();
        assert_eq!(connected.address, addr.to_string());
        assert_eq!(status.borrow().connected_to.as_deref(), Some(connected.address.as_str()));
        assert_eq!((status.borrow().failed_rounds, status.borrow().last_error.as_str()), (0, ""));
        let warnings = log.warnings();
        let refusals = warnings.iter().filter(|text| text.contains("refused")).count();
        assert_eq!(refusals, 1, "{warnings:?}");
        assert!(warnings[0].contains("set Compute.Auth.Token to the value of Orchestrator.Auth.Token"));
        // One more at most: the moment between the servers, when nobody was there.
        assert!(warnings.len() <= 2, "{warnings:?}");
        assert!(!log.all().contains("secret"), "{}", log.all());
        drop(server);
    }
}

#[tokio::test]
async fn a_token_in_the_address_wins() {
    for kind in kinds() {
        let server = TestServer::start(kind, "right");
        let connected = connect(&format!("nats://right@{}", server.addr), "wrong").await;
        assert_eq!(connected.address, server.addr.to_string());
    }
}

#[tokio::test]
async fn a_missing_token_and_nobody_there_are_told_apart() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    for kind in kinds() {
        let server = TestServer::start(kind, "t");
        let mut connector = connector(&server.addr.to_string(), "");
        let mut status = connector.status();
        let connecting = tokio::spawn(async move { connector.connect().await });
        within(
            status.wait_for(|s| s.last_error.contains("wants a token or credentials and this node has none")),
        )
        .await
        .unwrap();
        drop(server);
        within(status.wait_for(|s| s.last_error.contains("no orchestrator available"))).await.unwrap();
        connecting.abort();
    }
    assert!(log.warnings().iter().any(|text| text.contains("Compute.Orchestrators")), "{:?}", log.warnings());
}

#[tokio::test]
async fn the_next_orchestrator_takes_over_when_one_is_gone() {
    for kind in kinds() {
        let mut servers = vec![TestServer::start(kind, "t"), TestServer::start(kind, "t")];
        let both = format!("{},{}", servers[0].addr, servers[1].addr);
        let mut connector = connector(&both, "t");
        let first = within(connector.connect()).await;
        let mut messages = first.bus.subscribe("x").await.unwrap();
        servers.retain(|server| server.addr.to_string() != first.address);
        assert_eq!(servers.len(), 1);
        within(first.lost()).await;
        assert!(within(messages.next()).await.is_none());
        let error = first.bus.publish("x", None, &Headers::NONE, "x".into()).await.unwrap_err();
        assert_eq!(error, BusError::Closed);
        let second = within(connector.connect()).await;
        assert_eq!(second.address, servers[0].addr.to_string());
    }
}

#[tokio::test]
async fn a_lost_connection_stays_lost_and_the_next_one_is_new() {
    for kind in kinds() {
        let server = TestServer::start(kind, "t");
        let port = server.addr.port();
        let mut connector = connector(&server.addr.to_string(), "t");
        let first = within(connector.connect()).await;
        drop(server);
        let server = TestServer::start_at(kind, port, "t", None);
        within(first.lost()).await;
        let second = within(connector.connect()).await;
        let mut messages = second.bus.subscribe("x").await.unwrap();
        assert_eq!(first.bus.publish("x", None, &Headers::NONE, "old".into()).await, Err(BusError::Closed));
        assert!(matches!(first.bus.subscribe("x").await, Err(BusError::Closed)));
        second.bus.publish("x", None, &Headers::NONE, "new".into()).await.unwrap();
        assert_eq!(&within(messages.next()).await.unwrap().payload[..], b"new");
        // The answers' inbox and "x", both of the new connection: the old one did not come back by itself.
        assert_eq!(server.subscriptions().unwrap_or(2), 2);
        drop(server);
    }
}

#[tokio::test]
async fn addresses_are_learnt_and_get_the_token_that_was_accepted() {
    for kind in kinds() {
        let hidden = TestServer::start(kind, "t");
        let port = TestServer::start(kind, "t").addr.port();
        let known = TestServer::start_at(kind, port, "t", Some(&hidden));
        let mut connector = connector(&format!("t@{}", known.addr), "");
        let first = within(connector.connect()).await;
        assert_eq!(first.address, known.addr.to_string());
        drop(known);
        within(first.lost()).await;
        assert_eq!(within(connector.connect()).await.address, hidden.addr.to_string());
    }
}
