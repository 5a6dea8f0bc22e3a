//! Ports for what tests start. Tests of other crates include this file.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// A port for this test alone, until its process ends. It is below those that the system gives to outgoing connections and
/// to whoever asks for any port, so that nobody takes it by chance before it is used; and it is claimed, so that no other
/// test that runs at the same time takes it. A node claims ports by other names, and can give this one to its task.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    loop {
        let number = TAKEN.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(101));
        let port = 10_000 + u16::try_from(number % 20_000).unwrap();
        let claim = SocketAddr::from_abstract_name(format!("bacalhau-test-port-{port}")).unwrap();
        let Ok(claim) = UnixListener::bind_addr(&claim) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            CLAIMS.lock().unwrap().push(claim);
            return port;
        }
    }
}
