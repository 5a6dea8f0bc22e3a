//! `poll_oneoff` of WASI preview 1: waiting for clocks, and for streams, which are always ready here.
//!
//! wasmtime's own puts the thread to sleep when file operations may block it, and a sleeping thread cannot be told to
//! stop. This one waits asynchronously, so that files are fast and a sleeping guest ends at once.

use super::guest::Guest;
use std::time::{Duration, Instant, SystemTime};
use wasmtime::{Caller, Extern, Memory};
use wasmtime_wasi::HostMonotonicClock;

/// Subscriptions in one call at most.
const MAX_SUBSCRIPTIONS: u32 = 1 << 16;

/// Sizes and offsets of the ABI.
const SUBSCRIPTION: u32 = 48;
const EVENT: usize = 32;

const SUCCESS: i32 = 0;
const FAULT: i32 = 21;
const INVALID: i32 = 28;

const CLOCK: u8 = 0;
const REALTIME: u32 = 0;
const MONOTONIC: u32 = 1;
const ABSOLUTE: u16 = 1;

/// Shorter waits block the thread: the runtime's timer counts in milliseconds.
const SHORT: Duration = Duration::from_millis(2);

/// The guest's monotonic clock: nanoseconds since the guest was set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Monotonic(pub(super) Instant);

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// One entry of the guest's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subscription {
    user_data: u64,
    kind: u8,
    /// How long to wait from now; `None` for a stream.
    wait: Option<Duration>,
}

/// `poll_oneoff(subscriptions, events, count, events_written) -> errno`. Returns when at least one has happened.
pub(super) async fn poll_oneoff(
    mut caller: Caller<'_, Guest>,
    list: u32,
    events: u32,
    count: u32,
    written: u32,
) -> i32 {
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return INVALID;
    }
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { return FAULT };
    let subscriptions = match read_list(&caller, memory, list, count) {
        Ok(subscriptions) => subscriptions,
        Err(errno) => return errno,
    };
    let shortest = subscriptions.iter().map(|s| s.wait.unwrap_or_default()).min().unwrap_or_default();
    sleep(shortest).await;
    let happened = subscriptions.iter().filter(|s| s.wait.unwrap_or_default() <= shortest);
    let mut number = 0u32;
    for subscription in happened {
        let address = index(events).saturating_add(EVENT.saturating_mul(index(number)));
        if memory.write(&mut caller, address, &event(subscription)).is_err() {
            return FAULT;
        }
        number += 1;
    }
    match memory.write(&mut caller, index(written), &number.to_le_bytes()) {
        Ok(()) => SUCCESS,
        Err(_) => FAULT,
    }
}

async fn sleep(wait: Duration) {
    if wait > SHORT {
        tokio::time::sleep(wait).await;
    } else if !wait.is_zero() {
        std::thread::sleep(wait);
    }
}

fn read_list(
    caller: &Caller<'_, Guest>,
    memory: Memory,
    list: u32,
    count: u32,
) -> Result<Vec<Subscription>, i32> {
    let data = memory.data(caller);
    let length = index(count).saturating_mul(index(SUBSCRIPTION));
    let start = index(list);
    let bytes = data.get(start..start.saturating_add(length)).ok_or(FAULT)?;
    let clock = caller.data().clock;
    bytes.chunks_exact(index(SUBSCRIPTION)).map(|entry| read(entry, &clock)).collect()
}

fn read(entry: &[u8], clock: &Monotonic) -> Result<Subscription, i32> {
    let user_data = u64::from_le_bytes(field(entry, 0)?);
    let [kind] = field(entry, 8)?;
    if kind != CLOCK {
        return if kind <= 2 { Ok(Subscription { user_data, kind, wait: None }) } else { Err(INVALID) };
    }
    let id = u32::from_le_bytes(field(entry, 16)?);
    let timeout = u64::from_le_bytes(field(entry, 24)?);
    let is_absolute = u16::from_le_bytes(field(entry, 40)?) & ABSOLUTE != 0;
    let now = match id {
        MONOTONIC => clock.now(),
        REALTIME => {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        }
        _ => return Err(INVALID),
    };
    let nanos = if is_absolute { timeout.saturating_sub(now) } else { timeout };
    Ok(Subscription { user_data, kind, wait: Some(Duration::from_nanos(nanos)) })
}

/// Event: user data, errno 0, kind, and for streams one byte that can be read or written.
fn event(subscription: &Subscription) -> [u8; EVENT] {
    let mut bytes = [0u8; EVENT];
    let kind = [0, 0, subscription.kind];
    let ready: u64 = if subscription.wait.is_some() { 0 } else { 1 };
    let content =
        subscription.user_data.to_le_bytes().into_iter().chain(kind).chain([0; 5]).chain(ready.to_le_bytes());
    bytes.iter_mut().zip(content).for_each(|(byte, value)| *byte = value);
    bytes
}

fn field<const N: usize>(entry: &[u8], offset: usize) -> Result<[u8; N], i32> {
    entry.get(offset..).and_then(|rest| rest.first_chunk()).copied().ok_or(FAULT)
}

fn index(value: u32) -> usize {
    value as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: u8, clock: u32, timeout: u64, flags: u16) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[..8].copy_from_slice(&7u64.to_le_bytes());
        bytes[8] = kind;
        bytes[16..20].copy_from_slice(&clock.to_le_bytes());
        bytes[24..32].copy_from_slice(&timeout.to_le_bytes());
        bytes[40..42].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    #[test]
    fn entries_are_read() {
        let clock = Monotonic(Instant::now());
        let wait = |kind, id, timeout, flags| read(&entry(kind, id, timeout, flags), &clock).map(|s| s.wait);
        assert_eq!(wait(0, 1, 5_000, 0), Ok(Some(Duration::from_micros(5))));
        assert_eq!(wait(0, 0, 1, 1), Ok(Some(Duration::ZERO)));
        let hour = 3_600_000_000_000;
        assert!(matches!(wait(0, 1, hour, 1), Ok(Some(w)) if w <= Duration::from_nanos(hour)));
        assert_eq!(wait(1, 0, 0, 0), Ok(None));
        assert_eq!(wait(0, 2, 0, 0), Err(INVALID));
        assert_eq!(wait(9, 0, 0, 0), Err(INVALID));
    }

    #[test]
    fn events_have_their_layout() {
        let stream = event(&Subscription { user_data: 0x0102, kind: 2, wait: None });
        assert_eq!(stream[..12], [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(stream[16..24], 1u64.to_le_bytes());
    }
}
