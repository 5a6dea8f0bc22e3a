//! The same bytes to this server and to the reference server named by `NATS_SERVER_BIN`; both must say the same.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::reload::ports;
use crate::support::{Raw, eventually, server};
use crate::wire::conversations;

/// A running reference server that nobody has connected to yet.
pub(crate) struct Reference {
    child: Child,
    pub(crate) addr: SocketAddr,
    /// Where it answers questions over HTTP, if its arguments ask for that.
    pub(crate) monitor: Option<SocketAddr>,
}

impl Reference {
    pub(crate) fn start(binary: &str, more: &[&str]) -> Self {
        // It chooses the port itself: one that is only free now may be another test's when it starts.
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new(binary)
            .args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", folder.path().to_str().unwrap()])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut found = None;
        eventually("reference server listens", || {
            found = ports(folder.path(), &child);
            found.is_some()
        });
        let found = found.unwrap();
        // `nats://`, `tls://` or `http://`.
        let first = |kind: &str| Some(found[kind][0].as_str()?.split_once("://")?.1.parse().unwrap());
        let addr = first("nats").unwrap();
        let monitor = first("monitoring");
        Self { child, addr, monitor }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server says up to a final PONG, or to the end.
fn listen(addr: SocketAddr, connect: &str, send: &[u8]) -> String {
    let mut raw = Raw::connected(addr, connect);
    raw.send(send);
    raw.send("PING\r\n");
    let _ = raw.stream.shutdown(std::net::Shutdown::Write);
    raw.rest()
}

#[test]
fn same_words_as_the_reference_server() {
    let Ok(binary) = std::env::var("NATS_SERVER_BIN") else {
        println!("skipped: NATS_SERVER_BIN names no reference server");
        return;
    };
    let (ours, reference) = (server(), Reference::start(&binary, &[]));
    for (connect, send, ..) in conversations() {
        let expected = listen(reference.addr, connect, &send);
        assert_eq!(
            listen(ours.addr(), connect, &send),
            expected,
            "{connect} {:?}",
            String::from_utf8_lossy(&send)
        );
    }
}
