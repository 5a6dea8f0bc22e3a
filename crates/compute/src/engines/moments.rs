//! Points in time that a task's run waits for, some of which never come.

use std::future::pending;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A time from now; one that no clock can hold never comes.
pub(super) fn later(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)))
}

/// Waits for it; for ever when there is none.
pub(super) async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
