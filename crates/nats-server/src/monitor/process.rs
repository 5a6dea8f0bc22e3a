//! What the system says about this process. The server may be one part of a larger program; these figures are then
//! those of the whole program.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::hub::lock;

/// Clock ticks per second in `/proc`: the same on all machines that Linux runs on today.
const TICKS: f64 = 100.0;
/// Shorter times than this say little about the use of processors.
const SHORTEST: Duration = Duration::from_secs(1);

/// Memory in RAM, bytes; 0 where the system does not tell.
pub(super) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    kib * 1024
}

/// Processors that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Measures the use of processors between requests.
#[derive(Default)]
pub(super) struct Meter {
    last: Mutex<Option<Reading>>,
}

struct Reading {
    at: Instant,
    ticks: f64,
    percent: f64,
}

impl Meter {
    /// Percent of one processor since the reading before; the first time, 0.
    pub(super) fn percent(&self) -> f64 {
        let (at, ticks) = (Instant::now(), ticks());
        let mut last = lock(&self.last);
        let percent = match &*last {
            Some(reading) if at.duration_since(reading.at) < SHORTEST => return reading.percent,
            Some(reading) => {
                let seconds = at.duration_since(reading.at).as_secs_f64();
                ((ticks - reading.ticks) / TICKS / seconds * 100.0 * 10.0).round().max(0.0) / 10.0
            }
            None => 0.0,
        };
        *last = Some(Reading { at, ticks, percent });
        percent
    }
}

/// Processor time used so far, in ticks; 0 where the system does not tell.
fn ticks() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name, in brackets, may hold anything; user and system time are fields 14 and 15 of all.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells() {
        assert!(resident() > 100_000 && cores() > 0);
        let until = Instant::now() + Duration::from_millis(60);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        assert!(ticks() > 0.0);
        assert!(Meter::default().percent() < 1e-9);
    }
}
