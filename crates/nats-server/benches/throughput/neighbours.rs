//! Many publishers and somebody who asks, on a machine that other programs use as well.

use super::Outcome;
use super::support::client::Connection;
use super::workload::joined;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

/// Threads that never rest, as programs of jobs do.
const NEIGHBOURS: usize = 3;
/// Messages that a publisher sends in one go.
const CHUNK: usize = 500;

/// Ends the neighbours when it goes, also when something fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Messages per second that reach one subscriber from all publishers; each sends `each` of `size` bytes.
pub fn run(address: SocketAddr, publishers: usize, each: usize, size: usize) -> Outcome<f64> {
    let frame = format!("PUB bench {size}\r\n{}\r\n", "x".repeat(size));
    let delivered = format!("MSG bench 1 {size}\r\n").len() + size + 2;
    let chunk = frame.repeat(CHUNK);
    let mut reader = Connection::open(address)?;
    reader.send(b"SUB bench 1\r\n")?;
    reader.settle()?;
    let mut asker = Connection::open(address)?;
    let mut senders = (0..publishers).map(|_| Connection::open(address)).collect::<Outcome<Vec<_>>>()?;
    let messages = publishers * (each / CHUNK) * CHUNK;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = End(&stop);
        let stop = &stop;
        for _ in 0..NEIGHBOURS {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        scope.spawn(move || -> Outcome<()> {
            while !stop.load(Ordering::Relaxed) {
                asker.settle()?;
            }
            Ok(())
        });
        let started = Instant::now();
        let chunk = chunk.as_bytes();
        let all: Vec<_> = senders
            .iter_mut()
            .map(|sender| scope.spawn(move || (0..each / CHUNK).try_for_each(|_| sender.send(chunk))))
            .collect();
        reader.skim(messages * delivered)?;
        let took = started.elapsed();
        all.into_iter().try_for_each(joined)?;
        Ok(messages as f64 / took.as_secs_f64())
    })
}
