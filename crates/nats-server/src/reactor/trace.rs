//! What clients subscribe to, in the log, in the words of other NATS servers: suites count these lines. Messages are not
//! traced; that would be all of the traffic.

use tracing::Level;

use super::Reactor;

/// Traces `SUB`.
pub(super) fn sub(reactor: &mut Reactor, key: u32, pattern: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
    if tracing::event_enabled!(Level::TRACE) {
        let queue = queue.map(|queue| format!(" {}", String::from_utf8_lossy(queue))).unwrap_or_default();
        let (pattern, sid) = (String::from_utf8_lossy(pattern), String::from_utf8_lossy(sid));
        received(reactor, key, &format!("SUB {pattern}{queue} {sid}"));
    }
}

/// Traces `UNSUB`.
pub(super) fn unsub(reactor: &mut Reactor, key: u32, sid: &[u8], max: Option<u64>) {
    if tracing::event_enabled!(Level::TRACE) {
        let max = max.map(|max| format!(" {max}")).unwrap_or_default();
        received(reactor, key, &format!("UNSUB {}{max}", String::from_utf8_lossy(sid)));
    }
}

fn received(reactor: &mut Reactor, key: u32, line: &str) {
    if let Some(conn) = reactor.fabric.conn(key) {
        tracing::trace!("{} - cid:{} - <<- [{line}]", conn.addr, conn.cid);
    }
}
