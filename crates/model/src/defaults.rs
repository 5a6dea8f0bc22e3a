//! What an orchestrator fills into jobs that leave things open, and old ways to write wasm jobs.

use crate::job::{Job, JobType};
use crate::lenient;
use crate::spec::SpecConfig;
use crate::task::{InputSource, ResourcesConfig};
use serde_json::Value;

/// Defaults of one job type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TypeDefaults {
    /// Taken when the job's priority is 0.
    pub priority: i64,
    /// Each taken when the job's own is empty.
    pub resources: ResourcesConfig,
    /// Taken when the job has none. Unused for service and daemon jobs.
    pub publisher: SpecConfig,
    /// Seconds; taken when the job's own is 0. Unused for service and daemon jobs.
    pub total_timeout: i64,
    /// Seconds; taken when the job's own is 0. Unused for service and daemon jobs.
    pub execution_timeout: i64,
}

/// Defaults by job type (`JobDefaults.*`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobDefaults {
    /// Of batch jobs.
    pub batch: TypeDefaults,
    /// Of ops jobs.
    pub ops: TypeDefaults,
    /// Of service jobs.
    pub service: TypeDefaults,
    /// Of daemon jobs.
    pub daemon: TypeDefaults,
}

impl JobDefaults {
    /// Fills in what the job leaves open.
    pub fn apply(&self, job: &mut Job) {
        let Some(job_type) = job.job_type() else { return };
        let defaults = match job_type {
            JobType::Batch => &self.batch,
            JobType::Ops => &self.ops,
            JobType::Service => &self.service,
            JobType::Daemon => &self.daemon,
        };
        if job.priority == 0 {
            job.priority = defaults.priority;
        }
        for task in &mut job.tasks {
            let (own, other) = (&mut task.resources, defaults.resources.normalized());
            for (own, other) in [
                (&mut own.cpu, other.cpu),
                (&mut own.memory, other.memory),
                (&mut own.disk, other.disk),
                (&mut own.gpu, other.gpu),
            ] {
                if own.is_empty() {
                    *own = other;
                }
            }
            if !job_type.is_long_running() {
                if task.publisher.is_empty() {
                    task.publisher = defaults.publisher.clone();
                }
                let t = &mut task.timeouts;
                for (own, other) in [
                    (&mut t.total_timeout, defaults.total_timeout),
                    (&mut t.execution_timeout, defaults.execution_timeout),
                ] {
                    if *own == 0 {
                        *own = other;
                    }
                }
            }
            modernize_wasm(&mut task.engine, &mut task.input_sources);
        }
    }
}

/// Where the entry module of an old wasm job is put.
const ENTRY: &str = "/wasm/entry.wasm";

/// Rewrites wasm parameters that hold modules as input sources into plain inputs and their targets.
fn modernize_wasm(engine: &mut SpecConfig, inputs: &mut Vec<InputSource>) {
    if !engine.is_type("wasm") {
        return;
    }
    let key_of = |engine: &SpecConfig, name: &str| {
        engine.params.keys().find(|k| k.eq_ignore_ascii_case(name)).cloned()
    };
    let mut moved = |value: &mut Value, target: String| {
        if !value.is_object() {
            return;
        }
        let Ok(mut input) = lenient::from_value::<InputSource>(value.clone()) else { return };
        if input.target.is_empty() {
            input.target = target;
        }
        *value = Value::String(input.target.clone());
        if !inputs.contains(&input) {
            inputs.push(input);
        }
    };
    if let Some(entry) = key_of(engine, "EntryModule").and_then(|key| engine.params.get_mut(&key)) {
        moved(entry, ENTRY.to_owned());
    }
    let imports = key_of(engine, "ImportModules").and_then(|key| engine.params.get_mut(&key));
    if let Some(Value::Array(modules)) = imports {
        for (number, module) in modules.iter_mut().enumerate() {
            moved(module, format!("/wasm/imports/module_{number}.wasm"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Task;
    use serde_json::json;

    #[test]
    fn only_what_is_open_is_filled() {
        let mut defaults = JobDefaults::default();
        defaults.batch.resources =
            ResourcesConfig { cpu: "500m".into(), memory: "512Mb".into(), ..Default::default() };
        defaults.batch.publisher = SpecConfig::new("local");
        defaults.batch.priority = 7;
        defaults.batch.total_timeout = 60;
        let mut task = Task::default();
        task.resources.cpu = "1".into();
        let mut job = Job { r#type: "batch".into(), tasks: vec![task], ..Job::default() };
        defaults.apply(&mut job);
        let task = &job.tasks[0];
        assert_eq!((task.resources.cpu.as_str(), task.resources.memory.as_str()), ("1", "512mb"));
        assert_eq!(
            (job.priority, task.publisher.r#type.as_str(), task.timeouts.total_timeout),
            (7, "local", 60)
        );
    }

    #[test]
    fn old_wasm_jobs_become_new_ones() {
        let source = json!({"Source": {"Type": "inline", "Params": {"URL": "data:,"}}});
        let mut engine = SpecConfig::new("wasm")
            .with("EntryModule", source.clone())
            .with("ImportModules", json!([source]));
        let mut inputs = Vec::new();
        modernize_wasm(&mut engine, &mut inputs);
        assert_eq!(engine.param("EntryModule"), Some(&json!("/wasm/entry.wasm")));
        assert_eq!(engine.param("ImportModules"), Some(&json!(["/wasm/imports/module_0.wasm"])));
        assert_eq!(inputs.len(), 2);
        assert_eq!(inputs[0].source.r#type, "inline");
    }
}
