//! A network namespace without a name: it lives as long as somebody holds it open or a process is in it.

use super::netlink;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;

/// An open namespace.
#[derive(Clone, Debug)]
pub(super) struct Netns {
    file: Arc<File>,
}

impl Netns {
    /// A new one, its loopback up.
    pub(super) async fn new() -> io::Result<Netns> {
        let file = on_a_thread(|| {
            // Only the unsharing of file descriptors is unsafe.
            #[allow(deprecated)]
            rustix::thread::unshare(UnshareFlags::NEWNET)?;
            netlink::loopback_up()?;
            File::open("/proc/thread-self/ns/net")
        });
        Ok(Netns { file: Arc::new(file.await?) })
    }

    /// Where others find it while this is held.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// Does something inside, on a thread of its own.
    pub(super) async fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = Arc::clone(&self.file);
        on_a_thread(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        })
        .await
    }
}

/// A thread that ends afterwards: those of the runtime must stay where they are.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
        // Nobody waits any more: what was made is dropped.
        let _ = tell.send(work());
    })?;
    told.await.map_err(io::Error::other)?
}
