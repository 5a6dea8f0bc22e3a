//! CONNECT: bytes both ways between a task and a listed host, never looked at.

use axum::http::Request;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;

/// Buffer of one direction. The slower side holds the faster one back.
const BUFFER: usize = 32 * 1024;

/// Where a connection's tunnel waits until the answer to CONNECT has been sent.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Tunnel>>>);

struct Tunnel {
    task: OnUpgrade,
    server: TcpStream,
}

/// Has the connection of `request` become a tunnel to `server` once it is answered.
pub(super) fn open(slot: &Slot, request: Request<Incoming>, server: TcpStream) {
    let tunnel = Tunnel { task: hyper::upgrade::on(request), server };
    *slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
}

impl Slot {
    /// Runs the tunnel, if the connection became one, until both sides are done.
    pub(super) async fn run(self) {
        let Some(Tunnel { task, mut server }) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
        else {
            return;
        };
        // Either side going away is an end like any other.
        let Ok(upgraded) = task.await else { return };
        let _ = tokio::io::copy_bidirectional_with_sizes(
            &mut TokioIo::new(upgraded),
            &mut server,
            BUFFER,
            BUFFER,
        )
        .await;
    }
}
