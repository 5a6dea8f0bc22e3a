//! Figures of a process, and how they are printed.

use std::time::Duration;

/// Memory in RAM, MB (10^6 bytes).
pub fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kib: f64 = line.split_whitespace().nth(1).expect("a value").parse().expect("a number");
    kib * 1024.0 / 1e6
}

/// Processor time that a process has used, user and system, in ticks of 10 ms.
pub fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("/proc");
    let (_, fields) = stat.rsplit_once(')').expect("a command");
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|f| f.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

/// Processor time of the calling thread. Unlike the time on the wall it does not depend on what else the machine does.
pub fn own_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("/proc");
    Duration::from_nanos(stat.split_whitespace().next().expect("a time").parse().expect("a number"))
}

/// One line: what was measured, the figure, the goal.
pub fn line(what: &str, figure: &str, goal: &str) {
    println!("{what:<72} {figure:>16}   goal {goal}");
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
