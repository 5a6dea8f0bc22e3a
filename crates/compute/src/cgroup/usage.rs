//! What a group used and whether the kernel had to kill for memory. Pure readers of the kernel's files.

use std::time::Duration;

/// What a group used until now. What the kernel does not tell is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on cores, all processes together.
    pub cpu_time: Duration,
    /// Most bytes of memory at once.
    pub memory_peak: u64,
    /// Processes killed because the memory limit was reached.
    pub oom_kills: u64,
}

/// The number after `key` in a file of lines `key number`.
pub(super) fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

/// A file with one number.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files() {
        let events = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 3\noom_group_kill 1\n";
        assert_eq!(field(events, "oom_kill"), Some(3));
        assert_eq!(field("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", "oom_kill"), Some(2));
        assert_eq!(field("usage_usec 1500\nuser_usec 1", "usage_usec"), Some(1500));
        assert_eq!(field("oom_kill x\n", "oom_kill"), None);
        assert_eq!(number("4096\n"), Some(4096));
        assert_eq!(number("max\n"), None);
    }
}
