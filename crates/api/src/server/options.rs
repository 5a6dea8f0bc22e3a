//! How much the server takes from its clients, and for how long it waits for them.

use std::net::SocketAddr;
use std::time::Duration;

/// Where to listen.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// When the port is in use, take a free one instead of failing.
    pub port_may_change: bool,
}

/// Bounds on what clients can ask of the server. The defaults of time and body size are Bacalhau 1.9's.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest time to send the head of a request; also how long an idle connection is kept.
    pub head_time: Duration,
    /// Longest time from the head of a request to its answer, the body's arrival included.
    pub request_time: Duration,
    /// Longest time in which a client takes nothing of what is sent to it.
    pub stalled_write: Duration,
    /// Longest wait for open requests when the server stops.
    pub drain: Duration,
    /// Connections served at the same time; more wait in the kernel's queue.
    pub connections: usize,
    /// Streams of logs and of events open at the same time; more are refused with 503.
    pub log_streams: usize,
    /// Largest body of a request, bytes.
    pub body: usize,
    /// Bodies of all requests in work together, bytes; more are refused with 503. Parsed they take up to 16 times that.
    pub all_bodies: usize,
    /// Database reads at the same time; more wait.
    pub reads: usize,
    /// Of these, reads of unknown length such as lists. Less than the store has connections, which is four.
    pub long_reads: usize,
    /// Requests per client address; `None` means unlimited.
    pub rate: Option<Rate>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_time: Duration::from_secs(5),
            request_time: Duration::from_secs(30),
            stalled_write: Duration::from_secs(45),
            drain: Duration::from_secs(3),
            connections: 4096,
            log_streams: 3072,
            body: 10_000_000,
            all_bodies: 64 << 20,
            reads: 8,
            long_reads: 2,
            rate: Some(Rate::default()),
        }
    }
}

/// Requests that one client address may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many per second in the long run.
    pub per_second: u32,
    /// So many at once.
    pub burst: u32,
    /// Applies to clients on this machine too. They are trusted by default: they could use up its cores anyway, and
    /// proxies and load tests run here.
    pub loopback: bool,
}

impl Default for Rate {
    fn default() -> Rate {
        Rate { per_second: 1000, burst: 1000, loopback: false }
    }
}
