//! What users and operators do in a run, and how the tasks they ask for behave.

use crate::{HOUR, MINUTE, MS, SECOND};
use bacalhau_model::policy::{Dependency, Schedule};
use bacalhau_model::{Job, Requirement, RetryPolicy, SpecConfig, Task, Timeouts, UpdatePolicy};
use std::fmt;

/// One thing a user or an operator does. A new one needs a variant here, its place in [`plan`], and its input in
/// `orchestrator.rs`.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Submits a job.
    Submit(Box<Job>),
    /// Stops the n-th job.
    Stop(usize),
    /// Submits a new version of the n-th job.
    Update(usize, Box<Job>),
    /// Runs a version of the n-th job again; the number counts back from the latest.
    Rerun(usize, u64),
    /// Deletes the record of the n-th job.
    Forget(usize),
    /// Housekeeping comes around.
    Tidy,
    /// Lets the n-th node work.
    Approve(usize),
    /// Does not let it work.
    Reject(usize),
    /// Forgets it.
    Delete(usize),
    /// Gives it no new work.
    Cordon(usize),
    /// Gives it work again.
    Uncordon(usize),
    /// Empties it; batch and ops executions have this many nanoseconds.
    Drain(usize, i64),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Submit(job) => write!(f, "submit {} {} count {}", job.id, job.r#type, job.count),
            Action::Stop(n) => write!(f, "stop j-{n}"),
            Action::Update(n, job) => write!(f, "update j-{n} count {}", job.count),
            Action::Rerun(n, back) => write!(f, "rerun j-{n} version latest-{back}"),
            Action::Forget(n) => write!(f, "delete the record of j-{n}"),
            Action::Tidy => f.write_str("housekeeping"),
            Action::Approve(n) => write!(f, "approve n-{n}"),
            Action::Reject(n) => write!(f, "reject n-{n}"),
            Action::Delete(n) => write!(f, "delete n-{n}"),
            Action::Cordon(n) => write!(f, "cordon n-{n}"),
            Action::Uncordon(n) => write!(f, "uncordon n-{n}"),
            Action::Drain(n, deadline) => write!(f, "drain n-{n} within {} s", deadline / SECOND),
        }
    }
}

/// ID of the n-th job.
pub(crate) fn job_id(n: usize) -> String {
    format!("j-{n}")
}

/// ID of the n-th node.
pub(crate) fn node_id(n: usize) -> String {
    format!("n-{n}")
}

/// Where nodes can be.
const ZONES: [&str; 3] = ["north", "south", "west"];

/// A zone for a node.
pub(crate) fn zone(random: &mut fastrand::Rng) -> &'static str {
    random.choice(ZONES).unwrap_or("north")
}

/// How long users and faults act in a run: minutes, sometimes hours.
pub(crate) fn storm(random: &mut fastrand::Rng) -> i64 {
    match random.u32(0..20) {
        0..=13 => random.i64(2 * MINUTE..6 * MINUTE),
        14..=18 => random.i64(6 * MINUTE..40 * MINUTE),
        _ => random.i64(HOUR..4 * HOUR),
    }
}

/// Draws what users and operators do until `until`.
pub(crate) fn plan(random: &mut fastrand::Rng, nodes: usize, manual: bool, until: i64) -> Vec<(i64, Action)> {
    let jobs = if until > HOUR { random.usize(5..30) } else { random.usize(1..12) };
    let mut actions = Vec::new();
    let mut earlier: Vec<Earlier> = Vec::new();
    for n in 0..jobs {
        let mut at = random.i64(0..until * 3 / 4);
        let r#type = job_type(random);
        let mut first = job(random, n, r#type);
        if random.u32(0..4) == 0 && !first.is_endless() {
            at = depend(random, &mut first, &earlier, at);
        } else if random.u32(0..5) == 0 && !first.is_endless() {
            first.schedule = Some(schedule(random, n, until));
            // In the end, later than anything that people try again, so that the runs come to an end; and once more, for
            // the orchestrator may die of the first time.
            let last = if until > MINUTE { LAST } else { MINUTE / 2 };
            actions.extend([last, last + MINUTE].map(|last| (until + last, Action::Stop(n))));
        }
        if !first.is_endless() && first.schedule.is_none() {
            earlier.push((n, at));
        }
        actions.push((at, Action::Submit(Box::new(first))));
        // Soon after, so that it meets the job alive, or any time later.
        let later = |random: &mut fastrand::Rng| match random.bool() {
            true => random.i64(at..(at + 10 * SECOND).min(until)),
            false => random.i64(at..until),
        };
        if random.u32(0..100) < 20 {
            actions.push((later(random), Action::Stop(n)));
        }
        for _ in 0..random.u32(0..100) / 70 {
            let mut change = job(random, n, r#type);
            if random.bool()
                && let Some((_, Action::Submit(first))) =
                    actions.iter().find(|(_, action)| is_submit(action, n))
            {
                // The same job, scaled.
                change = Job { count: change.count, ..(**first).clone() };
            }
            actions.push((later(random), Action::Update(n, Box::new(change))));
        }
        if random.u32(0..100) < 15 {
            actions.push((later(random), Action::Rerun(n, random.u64(0..2))));
        }
        if random.u32(0..100) < 10 {
            actions.push((later(random), Action::Forget(n)));
        }
    }
    if random.bool() {
        let rounds = random.usize(1..8);
        actions.extend((0..rounds).map(|_| (random.i64(0..until), Action::Tidy)));
    }
    for node in 0..nodes {
        if manual {
            actions.push((random.i64(0..until), Action::Approve(node)));
        }
        let at = random.i64(0..until);
        let later = random.i64(at..until);
        match random.u32(0..40) {
            3..=4 => actions.push((at, Action::Cordon(node))),
            5..=7 => actions.extend([(at, Action::Cordon(node)), (later, Action::Uncordon(node))]),
            8..=10 => actions.push((at, Action::Drain(node, random.i64(0..3 * MINUTE)))),
            11..=14 => {
                actions.push((at, Action::Drain(node, random.i64(0..3 * MINUTE))));
                actions.push((later, Action::Uncordon(node)));
            }
            0 => actions.push((at, Action::Reject(node))),
            1 => actions.push((at, Action::Delete(node))),
            2 => {
                actions.push((at, Action::Reject(node)));
                actions.push((later, Action::Approve(node)));
            }
            _ => {}
        }
    }
    actions.sort_by_key(|(at, _)| *at);
    actions
}

/// A job that others may wait for, and when it is submitted.
type Earlier = (usize, i64);

/// When schedules are stopped, after the faults: by then everybody who had to try again was heard. Sooner in runs with a
/// single crash, which last a minute.
const LAST: i64 = 11 * MINUTE;

trait Endless {
    /// It never ends by itself.
    fn is_endless(&self) -> bool;
}

impl Endless for Job {
    fn is_endless(&self) -> bool {
        matches!(self.r#type.as_str(), "service" | "daemon")
    }
}

/// Lets the job wait for some of its namespace. Gives when it is submitted: after those, nearly always.
fn depend(random: &mut fastrand::Rng, job: &mut Job, earlier: &[Earlier], mut at: i64) -> i64 {
    let same = earlier.iter().filter(|(n, _)| namespace(*n) == job.namespace).copied();
    for (n, submitted) in same.collect::<Vec<_>>() {
        if job.depends_on.len() == 3 || random.bool() {
            continue;
        }
        let on_failure = *random.choice(["", "fail", "stop", "run"].iter()).unwrap_or(&"");
        job.depends_on.push(Dependency { job: name(n), on_failure: on_failure.to_owned() });
        if random.u32(0..8) > 0 {
            at = at.max(submitted + random.i64(MS..3 * SECOND));
        }
    }
    at
}

/// When runs of the n-th job are due. What happens when they overlap depends on the job alone, so that updates keep it.
fn schedule(random: &mut fastrand::Rng, n: usize, until: i64) -> Schedule {
    let often: &[&str] = if until > HOUR { &["*/5 * * * *"] } else { &["* * * * *", "*/20 * * * * *"] };
    let mut text = |from: &[&str]| (*random.choice(from.iter()).unwrap_or(&"")).to_owned();
    Schedule {
        cron: text(often),
        time_zone: text(&["", "Europe/Berlin", "America/New_York"]),
        overlap: match n / 2 % 3 {
            0 => "skip",
            1 => "allow",
            _ => "replace",
        }
        .to_owned(),
    }
}

fn is_submit(action: &Action, n: usize) -> bool {
    matches!(action, Action::Submit(job) if job.id == job_id(n))
}

fn job_type(random: &mut fastrand::Rng) -> &'static str {
    match random.u32(0..20) {
        0..=8 => "batch",
        9..=11 => "ops",
        12..=16 => "service",
        _ => "daemon",
    }
}

fn job(random: &mut fastrand::Rng, n: usize, r#type: &str) -> Job {
    let everywhere = matches!(r#type, "ops" | "daemon");
    let mut task = Task { name: "main".into(), engine: SpecConfig::new("wasm"), ..Task::default() };
    task.resources.cpu = (*random.choice(["100m", "500m", "1", "2"].iter()).unwrap_or(&"1")).to_owned();
    task.timeouts = Timeouts {
        queue_timeout: if random.bool() { 600 } else { 0 },
        execution_timeout: if random.u32(0..4) == 0 { random.i64(1..20) } else { 0 },
        total_timeout: if random.u32(0..8) == 0 { random.i64(20..200) } else { 0 },
    };
    if random.u32(0..4) == 0 {
        task.retry = Some(RetryPolicy {
            max_attempts: random.i64(0..5),
            backoff: random.i64(0..5),
            max_backoff: random.i64(0..20),
            fail_on_exit_code: random.bool(),
        });
    }
    let long_running = matches!(r#type, "service" | "daemon");
    let update = (long_running && random.bool()).then(|| UpdatePolicy {
        max_parallel: random.i64(0..3),
        healthy_after: random.i64(0..20),
        auto_revert: random.bool(),
    });
    Job {
        id: job_id(n),
        update,
        name: name(n),
        namespace: namespace(n).into(),
        r#type: r#type.into(),
        priority: random.i64(0..3),
        count: if everywhere { 0 } else { random.i64(0..6) },
        constraints: constraints(random),
        tasks: vec![task],
        ..Job::default()
    }
}

fn name(n: usize) -> String {
    format!("job-{n}")
}

fn namespace(n: usize) -> &'static str {
    if n.is_multiple_of(3) { "other" } else { "default" }
}

fn constraints(random: &mut fastrand::Rng) -> Vec<Requirement> {
    let operator = match random.u32(0..10) {
        0..=5 => return Vec::new(),
        6..=7 => "=",
        8 => "!=",
        _ => "in",
    };
    vec![Requirement { key: "zone".into(), operator: operator.into(), values: vec![zone(random).into()] }]
}

/// How one run of the engine goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    /// How long it takes, nanoseconds; `None` for ever.
    pub(crate) length: Option<i64>,
    /// It ends with an error.
    pub(crate) fails: bool,
    /// Its exit code.
    pub(crate) exit_code: i64,
    /// How long its results take to publish, nanoseconds.
    pub(crate) publishing: i64,
}

/// Draws how a run of the engine goes. Without faults a service or daemon runs on and nothing fails.
pub(crate) fn course(random: &mut fastrand::Rng, long_running: bool, calm: bool) -> Course {
    let length = match random.u32(0..10) {
        0..=6 => random.i64(1..500),
        7..=8 => random.i64(500..10_000),
        _ => random.i64(10_000..60_000),
    };
    let for_ever = long_running && (calm || random.u32(0..3) > 0);
    Course {
        length: (!for_ever).then_some(length * MS),
        fails: !calm && random.u32(0..100) < 10,
        exit_code: if !calm && random.u32(0..10) == 0 { 3 } else { 0 },
        publishing: if random.bool() { 0 } else { random.i64(1..2_000) * MS },
    }
}
