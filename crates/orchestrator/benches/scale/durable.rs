//! One job of 100,000 partitions on 1,000 nodes: placed, stored, asked, answered and approved, all of it durable.

use crate::cluster::Cluster;
use crate::jobs;
use crate::measure::{line, median};
use bacalhau_orchestrator::SubmitOptions;
use bacalhau_wire::bus::Bus;
use bacalhau_wire::control::ControlClient;
use bacalhau_wire::headers::Headers;
use bacalhau_wire::messages::{HandshakeRequest, OrchestratorMessage, bid_result};
use bacalhau_wire::{data, subjects};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const NODES: usize = 1_000;
const PARTITIONS: usize = 100_000;
const ROUNDS: usize = 3;

/// What the nodes got.
#[derive(Default)]
struct Seen {
    asked: AtomicUsize,
    accepted: AtomicUsize,
}

pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (asked, accepted): (Vec<f64>, Vec<f64>) =
        (0..ROUNDS).map(|_| runtime.block_on(Box::pin(once()))).unzip();
    let rate = |seconds: Vec<f64>| format!("{:.0}/s", PARTITIONS as f64 / median(seconds));
    line("durable, 100,000 partitions on 1,000 nodes: asks received", &rate(asked), ">= 5,000/s");
    line("durable, the same until the last node was told to run it", &rate(accepted), "");
}

/// Seconds until the last partition was placed and asked for, and until the last bid was accepted.
async fn once() -> (f64, f64) {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(dir.path()).await;
    let bus = cluster.bus();
    let seen = Arc::new(Seen::default());
    tokio::spawn(nodes(bus.clone(), Arc::clone(&seen)));
    for n in 0..NODES {
        let node_info = jobs::node(n);
        let client = ControlClient::new(bus.clone(), node_info.node_id.clone());
        let request = HandshakeRequest { node_info, ..HandshakeRequest::default() };
        assert!(client.handshake(request).await.expect("an answer").accepted);
    }
    let job = jobs::plain(String::new(), PARTITIONS as i64, "0.25", "256mb");
    let started = Instant::now();
    cluster.orchestrator.submit(job, SubmitOptions::default()).await.expect("a job");
    reach(&seen.asked).await;
    let asked = started.elapsed();
    reach(&seen.accepted).await;
    let accepted = started.elapsed();
    assert_eq!(cluster.orchestrator.census().await.expect("a census").live_executions, PARTITIONS);
    cluster.stop().await;
    (asked.as_secs_f64(), accepted.as_secs_f64())
}

async fn reach(count: &AtomicUsize) {
    while count.load(Ordering::Relaxed) < PARTITIONS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// All nodes at once: they acknowledge everything and bid for everything.
async fn nodes(bus: Arc<dyn Bus>, seen: Arc<Seen>) {
    let mut messages = bus.subscribe(&subjects::messages("*")).await.expect("a subscription");
    while let Some(message) = messages.next().await {
        let node_id = subjects::node_of(&message.subject).expect("a node").to_owned();
        let incoming = data::from_orchestrator(&message.payload).expect("a message");
        let ack = message.reply.expect("where to acknowledge");
        bus.publish(&ack, None, &Headers::NONE, Bytes::from_static(data::ACK)).await.expect("sent");
        match incoming.message {
            OrchestratorMessage::AskForBid(ask) => {
                let report = bid_result(&ask.execution.expect("an execution"), true, None);
                let out = data::to_orchestrator(&node_id, incoming.seq, 1, &report).expect("a report");
                let reply = Some("bench.acks");
                bus.publish(&out.subject, reply, &out.headers, out.payload).await.expect("sent");
                seen.asked.fetch_add(1, Ordering::Relaxed);
            }
            OrchestratorMessage::BidAccepted(_) => {
                seen.accepted.fetch_add(1, Ordering::Relaxed);
            }
            _ => panic!("nothing is cancelled"),
        }
    }
}
