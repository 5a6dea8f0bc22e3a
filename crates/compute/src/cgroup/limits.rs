//! Limits as the kernel's files want them. Pure.

use super::{Controller, Limits};

/// Microseconds over which a share of the cores is measured; the kernel's default.
const PERIOD: u64 = 100_000;

/// The least the kernel takes: 1 ms.
const LEAST_QUOTA: u64 = 1_000;

/// A file to write. One that the kernel may not have is optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) file: &'static str,
    pub(super) value: String,
    pub(super) optional: bool,
}

fn set(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), optional: false }
}

fn try_set(file: &'static str, value: impl ToString) -> Setting {
    Setting { optional: true, ..set(file, value) }
}

/// Microseconds on cores per period.
fn quota(cpu: f64) -> u64 {
    // Saturates where nobody has that many cores.
    ((cpu * PERIOD as f64).round() as u64).max(LEAST_QUOTA)
}

/// Files of version 2 for one controller, in the order in which they are to be written.
pub(super) fn unified(controller: Controller, limits: &Limits) -> Vec<Setting> {
    match controller {
        Controller::Cpu if limits.cpu > 0.0 => {
            vec![set("cpu.max", format!("{} {PERIOD}", quota(limits.cpu)))]
        }
        Controller::Memory if limits.memory > 0 => vec![
            set("memory.max", limits.memory),
            // Swap would make the limit a wish. A task that was half killed is of no use.
            try_set("memory.swap.max", 0),
            try_set("memory.oom.group", 1),
        ],
        Controller::Pids if limits.pids > 0 => vec![set("pids.max", limits.pids)],
        _ => Vec::new(),
    }
}

/// The same for version 1.
pub(super) fn legacy(controller: Controller, limits: &Limits) -> Vec<Setting> {
    match controller {
        Controller::Cpu if limits.cpu > 0.0 => {
            vec![set("cpu.cfs_period_us", PERIOD), set("cpu.cfs_quota_us", quota(limits.cpu))]
        }
        Controller::Memory if limits.memory > 0 => vec![
            set("memory.limit_in_bytes", limits.memory),
            // Memory and swap together. Kernels without accounting of swap do not have it.
            try_set("memory.memsw.limit_in_bytes", limits.memory),
        ],
        Controller::Pids if limits.pids > 0 => vec![set("pids.max", limits.pids)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(settings: Vec<Setting>) -> Vec<String> {
        settings.into_iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    }

    #[test]
    fn what_the_kernel_reads() {
        let limits = Limits { cpu: 1.5, memory: 1 << 30, pids: 100 };
        assert_eq!(lines(unified(Controller::Cpu, &limits)), ["cpu.max=150000 100000"]);
        assert_eq!(
            lines(unified(Controller::Memory, &limits)),
            ["memory.max=1073741824", "memory.swap.max=0", "memory.oom.group=1"]
        );
        assert_eq!(lines(unified(Controller::Pids, &limits)), ["pids.max=100"]);
        assert_eq!(
            lines(legacy(Controller::Cpu, &limits)),
            ["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=150000"]
        );
        assert_eq!(
            lines(legacy(Controller::Memory, &limits)),
            ["memory.limit_in_bytes=1073741824", "memory.memsw.limit_in_bytes=1073741824"]
        );
        assert_eq!(lines(legacy(Controller::Pids, &limits)), ["pids.max=100"]);
    }

    #[test]
    fn nothing_means_no_limit_and_little_means_the_least() {
        for controller in Controller::LIMITING {
            assert!(unified(controller, &Limits::default()).is_empty());
            assert!(legacy(controller, &Limits::default()).is_empty());
        }
        let little = Limits { cpu: 0.000_1, ..Limits::default() };
        assert_eq!(lines(unified(Controller::Cpu, &little)), ["cpu.max=1000 100000"]);
        assert!(unified(Controller::Freezer, &little).is_empty());
    }
}
