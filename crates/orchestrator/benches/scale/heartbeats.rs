//! What 5,000 connected nodes cost an orchestrator that has nothing else to do.

use crate::measure::{line, processor_time, resident_mb};
use crate::socket::{Node, Server};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

const NODES: usize = 5_000;
/// `Compute.Heartbeat.Interval`.
const INTERVAL: Duration = Duration::from_secs(15);
/// Three rounds of heartbeats.
const WINDOW: Duration = Duration::from_secs(45);

pub fn run() {
    crate::cluster::raise_limit();
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let joined = Arc::new(Semaphore::new(0));
        let started = Instant::now();
        for number in 0..NODES {
            // One after the other, a little faster than the heartbeats will be: this is not about joining.
            tokio::spawn(live(server.port, number, Arc::clone(&joined)));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let all = joined.acquire_many(u32::try_from(NODES).expect("few")).await.expect("open");
        all.forget();
        let join = started.elapsed();
        tokio::time::sleep(INTERVAL).await;
        let (before, since) = (processor_time(server.child.id()), Instant::now());
        tokio::time::sleep(WINDOW).await;
        let used = processor_time(server.child.id()) - before;
        let share = used.as_secs_f64() / since.elapsed().as_secs_f64() * 100.0;
        line(
            "heartbeats, 5,000 nodes every 15 s: processor time",
            &format!("{share:.1} % of a core"),
            "<= 25 %",
        );
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).expect("/proc");
        let resident = status.lines().find(|l| l.starts_with("VmRSS")).unwrap_or_default().to_owned();
        println!("    joined within {join:.1?}; server {resident}; this process {:.0} MB", resident_mb());
    });
}

/// A node that lives on, its heartbeats spread like those of nodes that joined at different times.
async fn live(port: u16, number: usize, joined: Arc<Semaphore>) {
    let mut node = Node::join(port, number).await;
    joined.add_permits(1);
    let offset = INTERVAL.mul_f64(number as f64 / NODES as f64);
    let mut beats = tokio::time::interval_at(tokio::time::Instant::now() + offset, INTERVAL);
    loop {
        tokio::select! {
            _ = beats.tick() => node.heartbeat().await,
            told = node.next() => drop(told),
        }
    }
}
