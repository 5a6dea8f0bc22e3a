//! Accepts connections: never more at once than there is room for, and none once it is told to stop. What a connection
//! is for is the business of whoever serves it.

use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves connections at the same time until `stop` fires, which cuts those that are open. Those for which `room` has no
/// permit wait to be accepted; several listeners may share it. `who` says in the node's log whose they are.
pub(crate) async fn accept<Serving: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    room: Arc<Semaphore>,
    stop: CancellationToken,
    who: String,
    serve: impl Fn(TcpStream) -> Serving,
) {
    let next = async || {
        let permit = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
        Ok::<_, io::Error>((permit, listener.accept().await?.0))
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = next() => accepted,
        };
        let (permit, stream) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others must finish first.
                tracing::warn!(%error, "{who} cannot accept a connection");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => continue,
                }
            }
        };
        // Small messages must not be held up. Fails only on a dead connection.
        let _ = stream.set_nodelay(true);
        let (stop, serving) = (stop.clone(), serve(stream));
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serving => {}
            }
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn more_than_there_is_room_for_wait_and_the_end_cuts_all() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        // Says a word, then waits for one.
        let serve = |mut stream: TcpStream| async move {
            stream.write_all(b"!").await.unwrap();
            let _ = stream.read_u8().await;
        };
        let room = Arc::new(Semaphore::new(2));
        let accepting =
            tokio::spawn(accept(listener, Arc::clone(&room), stop.clone(), "a test".to_owned(), serve));
        let connect = || async { TcpStream::connect(address).await.unwrap() };
        let (mut one, mut two, mut three) = (connect().await, connect().await, connect().await);
        assert_eq!((one.read_u8().await.unwrap(), two.read_u8().await.unwrap()), (b'!', b'!'));
        assert_eq!(room.available_permits(), 0);
        assert_eq!(three.try_read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        one.write_all(b"?").await.unwrap();
        assert_eq!(three.read_u8().await.unwrap(), b'!');
        stop.cancel();
        accepting.await.unwrap();
        for mut stream in [two, three] {
            assert!(stream.read_u8().await.is_err(), "cut");
        }
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    }
}
