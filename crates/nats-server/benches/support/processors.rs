//! Who runs where: attackers would be on other machines, so they get a processor of their own and the measured server
//! and its clients the others. What attackers do inside the kernel cannot be interrupted, niceness or not; on a shared
//! processor a client that the server has woken waits for that, and the bench would measure the attackers' program.

use super::Outcome;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this program may use, in two parts.
pub struct Processors {
    attackers: CpuSet,
    others: CpuSet,
}

impl Processors {
    /// All in both parts where there is only one.
    pub fn split() -> Outcome<Processors> {
        let all = sched_getaffinity(None)?;
        let first =
            (0..CpuSet::MAX_CPU).find(|&number| all.is_set(number)).ok_or("no processor may be used")?;
        let (mut attackers, mut others) = (CpuSet::new(), all);
        attackers.set(first);
        others.unset(first);
        if others.count() == 0 {
            return Ok(Processors { attackers: all, others: all });
        }
        Ok(Processors { attackers, others })
    }

    /// The calling thread attacks from now on.
    pub fn attack_here(&self) -> Outcome<()> {
        Ok(sched_setaffinity(None, &self.attackers)?)
    }

    /// The calling thread, and the threads and processes that it starts, are measured from now on.
    pub fn measure_here(&self) -> Outcome<()> {
        Ok(sched_setaffinity(None, &self.others)?)
    }
}
