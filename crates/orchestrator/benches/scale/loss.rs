//! How long it takes until the work of a node whose connection broke is asked of another one.

use crate::cluster::Cluster;
use crate::jobs;
use crate::measure::{line, median};
use crate::socket::Node;
use bacalhau_orchestrator::SubmitOptions;
use bacalhau_wire::data;
use bacalhau_wire::headers::Headers;
use bacalhau_wire::messages::{OrchestratorMessage, bid_result};
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;

pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let times = (0..ROUNDS).map(|_| runtime.block_on(Box::pin(once())).as_secs_f64()).collect();
    line(
        "loss, connection closed until the other node is asked",
        &format!("{:.2} s", median(times)),
        "<= 2 s",
    );
}

async fn once() -> Duration {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start(dir.path()).await;
    let port = cluster.server.addr().port();
    let mut first = Node::join(port, 0).await;
    let job = jobs::plain(String::new(), 1, "1", "1gb");
    cluster.orchestrator.submit(job, SubmitOptions::default()).await.expect("a job");
    answer(&mut first).await;
    let mut second = Node::join(port, 1).await;
    let lost = Instant::now();
    drop(first);
    answer(&mut second).await;
    let took = lost.elapsed();
    cluster.stop().await;
    took
}

/// Waits for an ask and bids.
async fn answer(node: &mut Node) {
    loop {
        let told = node.next().await;
        if !told.subject.ends_with(".in.msgs") {
            continue;
        }
        if let Some(reply) = &told.reply {
            node.publish(reply, None, &Headers::NONE, data::ACK).await;
        }
        let incoming = data::from_orchestrator(&told.payload).expect("a message");
        if let OrchestratorMessage::AskForBid(ask) = incoming.message {
            let report = bid_result(&ask.execution.expect("an execution"), true, None);
            let out = data::to_orchestrator(&node.id, incoming.seq, 1, &report).expect("a report");
            node.publish(&out.subject, None, &out.headers, &out.payload).await;
            return;
        }
    }
}
