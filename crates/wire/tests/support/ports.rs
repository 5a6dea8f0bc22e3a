//! Ports for what tests start. Tests of other crates include this file.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// A port that was free a moment ago. It is below those that the system gives to outgoing connections and to whoever asks
/// for any port, so that nobody takes it by chance before it is used.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = TAKEN.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(101));
        let port = 10_000 + u16::try_from(number % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
