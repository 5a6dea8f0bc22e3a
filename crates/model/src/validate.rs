//! Whether a job makes sense. Texts are Bacalhau 1.9's, which scripts and users know.

mod env;
mod network;
mod policy;

use crate::exec;
use crate::job::{Job, JobType};
use crate::spec::SpecConfig;
use crate::task::Task;
use std::collections::BTreeSet;

/// Longest job ID, bytes.
pub const MAX_ID: usize = 255;

/// Checks a submission before defaults are filled in. All problems, not just the first.
pub fn submission(job: &Job) -> Result<(), Vec<String>> {
    let mut errors = Vec::new();
    match JobType::parse(&job.r#type) {
        None if job.r#type.is_empty() => errors.push("missing job type".to_owned()),
        None => errors.push(format!("invalid job type: {:?}", job.r#type)),
        Some(known) if known.is_on_all_nodes() && job.count > 1 => {
            let kind = known.as_str();
            errors.push(format!("{kind} jobs cannot specify count > 1 as they run on all matching nodes"));
        }
        Some(_) => {}
    }
    if job.count < 0 {
        errors.push("job count must be >= 0".to_owned());
    }
    // An ID is part of URLs; Bacalhau 1.9 takes IDs that it cannot find again.
    let is_odd = |c: char| c == '/' || c.is_control();
    if matches!(job.id.as_str(), "." | "..") || job.id.len() > MAX_ID || job.id.contains(is_odd) {
        errors.push(format!(
            "job ID {:?} cannot be used: it is part of URLs, so it must not be . or .., contain / or control \
             characters, or have more than {MAX_ID} bytes",
            job.id
        ));
    }
    for (what, text) in [("Name", &job.name), ("Namespace", &job.namespace)] {
        if text.contains('\0') {
            errors.push(format!("job {what} contains a null character"));
        }
    }
    for (number, constraint) in (1..).zip(&job.constraints) {
        if let Err(why) = constraint.validate() {
            errors.push(format!("constraint {number} validation failed: {why}"));
        }
    }
    errors.extend(policy::problems(job));
    match job.tasks.first() {
        None => errors.push("missing job tasks".to_owned()),
        Some(task) => {
            let problems = task_problems(task);
            errors.extend(
                problems.into_iter().map(|why| format!("task {} validation failed: {why}", task.name)),
            );
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Checks what only makes sense once defaults are filled in and the ID is settled.
pub fn complete(job: &Job) -> Result<(), Vec<String>> {
    let mut errors = Vec::new();
    if job.id.is_empty() {
        errors.push("missing job ID".to_owned());
    }
    if job.id.contains('\0') {
        errors.push("job ID contains a null character".to_owned());
    }
    if job.id.chars().any(char::is_whitespace) {
        errors.push("job ID contains a space".to_owned());
    }
    if let Some(task) = job.task() {
        if !task.result_paths.is_empty() && task.publisher.is_empty() {
            errors.push(format!(
                "task {} validation failed: publisher must be set if result paths are set",
                task.name
            ));
        }
        let t = &task.timeouts;
        if t.total_timeout > 0 && t.execution_timeout.saturating_add(t.queue_timeout) > t.total_timeout {
            errors.push(format!(
                "task timeouts validation failed: execution timeout {} and queue timeout {} should be less than total timeout {}",
                seconds(t.execution_timeout),
                seconds(t.queue_timeout),
                seconds(t.total_timeout)
            ));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn task_problems(task: &Task) -> Vec<String> {
    let mut errors = Vec::new();
    if task.name.is_empty() {
        errors.push("missing task name".to_owned());
    }
    if task.name.contains('\0') {
        errors.push("task name cannot contain null characters".to_owned());
    }
    errors.extend(env::problem(&task.env));
    errors.extend(spec_problem(&task.engine).map(|why| format!("invalid engine: {why}")));
    if task.engine.is_type(exec::ENGINE) {
        errors.extend(exec::ExecParams::read(&task.engine).err());
    }
    let t = &task.timeouts;
    for (what, value) in
        [("execution", t.execution_timeout), ("queue", t.queue_timeout), ("total", t.total_timeout)]
    {
        if value < 0 {
            errors.push(format!("invalid timeouts: invalid {what} timeout value: {}", seconds(value)));
        }
    }
    if let Err(why) = task.resources.parse() {
        errors.push(format!("invalid resources: {why}"));
    }
    errors.extend(input_problems(task));
    errors.extend(result_problems(task));
    errors
        .extend(network::problems(&task.network()).into_iter().map(|why| format!("invalid network: {why}")));
    errors
}

/// A section that is absent decodes to an empty one, and "nil" is what Bacalhau 1.9 calls it.
fn spec_problem(spec: &SpecConfig) -> Option<&'static str> {
    let problem = if *spec == SpecConfig::default() { "nil spec config" } else { "missing spec type" };
    spec.is_empty().then_some(problem)
}

fn input_problems(task: &Task) -> Vec<String> {
    let (mut errors, mut aliases, mut targets) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for input in &task.input_sources {
        if input.target.trim().is_empty() {
            errors.push("invalid input sources: input source is missing a target".to_owned());
        } else if !targets.insert(&input.target) {
            errors.push(format!("input source with target '{}' already exists", input.target));
        }
        if !input.alias.is_empty() && !aliases.insert(&input.alias) {
            errors.push(format!("input source with alias '{}' already exists", input.alias));
        }
        let problem = spec_problem(&input.source);
        errors.extend(problem.map(|why| format!("invalid input sources: invalid input source: {why}")));
    }
    errors
}

fn result_problems(task: &Task) -> Vec<String> {
    let (mut errors, mut names, mut paths) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for result in &task.result_paths {
        if result.path.is_empty() {
            errors.push("invalid output: missing path".to_owned());
        } else if !result.path.starts_with('/') {
            errors.push(format!("invalid output: result path `{}` must be absolute", result.path));
        } else if !paths.insert(&result.path) {
            errors.push(format!("result path '{}' already exists", result.path));
        }
        if result.name.is_empty() {
            errors.push("invalid output: missing name".to_owned());
        } else if !names.insert(&result.name) {
            errors.push(format!("result path with name '{}' already exists", result.name));
        }
    }
    errors
}

/// Seconds as Go prints a duration: `0s`, `2m0s`, `1h0m0s`.
fn seconds(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let value = value.unsigned_abs();
    let (h, m, s) = (value / 3600, value / 60 % 60, value % 60);
    match (h, m) {
        (0, 0) => format!("{sign}{s}s"),
        (0, _) => format!("{sign}{m}m{s}s"),
        _ => format!("{sign}{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests;
