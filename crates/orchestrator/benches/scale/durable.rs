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
    let rounds: Vec<Times> = (0..rounds()).map(|_| runtime.block_on(Box::pin(once()))).collect();
    let rate = |of: fn(&Times) -> f64| {
        format!("{:.0}/s", PARTITIONS as f64 / median(rounds.iter().map(of).collect()))
    };
    line("durable, 100,000 partitions on 1,000 nodes: placed and on disk", &rate(|t| t.stored), ">= 5,000/s");
    line("durable, the same, received by the nodes as asks for a bid", &rate(|t| t.asked), "");
    line("durable, the same, bids back, approved and received by the nodes", &rate(|t| t.accepted), "");
}

/// `ROUNDS` in the environment changes how often it is measured.
fn rounds() -> usize {
    std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// Seconds since the submission.
struct Times {
    stored: f64,
    asked: f64,
    accepted: f64,
}

async fn once() -> Times {
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
    while cluster.orchestrator.census().await.expect("a census").live_executions < PARTITIONS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A later job is acknowledged when everything before it is on disk.
    let last = jobs::plain(String::new(), 1, "9999", "1gb");
    cluster.orchestrator.submit(last, SubmitOptions::default()).await.expect("a job");
    let stored = started.elapsed().as_secs_f64();
    reach(&seen.asked).await;
    let asked = started.elapsed().as_secs_f64();
    reach(&seen.accepted).await;
    let accepted = started.elapsed().as_secs_f64();
    assert_eq!(cluster.orchestrator.census().await.expect("a census").live_executions, PARTITIONS);
    cluster.stop().await;
    Times { stored, asked, accepted }
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
