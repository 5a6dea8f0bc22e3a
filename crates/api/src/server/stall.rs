//! A connection that ends when its peer takes nothing of what is written for too long.
//!
//! Without it a client that asks and never reads would keep its answer in memory for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Wraps a stream.
pub(super) struct Stalling<S> {
    inner: S,
    limit: Duration,
    /// Set while a write waits; kept afterwards, since making one costs more than resetting it.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl<S> Stalling<S> {
    pub(super) fn new(inner: S, limit: Duration) -> Stalling<S> {
        Stalling { inner, limit, timer: None, waiting: false }
    }

    /// Passes on how a write went; one that has been waiting too long is an error.
    fn watched<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.waiting = false;
            return poll;
        }
        let (limit, fresh) = (self.limit, !self.waiting);
        self.waiting = true;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if fresh {
            timer.as_mut().reset(Instant::now() + limit);
        }
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client does not read what it asked for",
            ))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watched(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.watched(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_left() {
        let (near, mut far) = tokio::io::duplex(8);
        let mut near = Stalling::new(near, Duration::from_millis(20));
        near.write_all(b"12345678").await.unwrap();
        let stalled = near.write_all(b"9").await.unwrap_err();
        assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
        // Reading again makes it well: only the waiting counts.
        far.read_exact(&mut [0; 8]).await.unwrap();
        near.write_all(b"9").await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'9');
    }
}
