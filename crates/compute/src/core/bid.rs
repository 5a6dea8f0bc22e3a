//! Whether this node wants an execution, as far as that can be told without IO.
//!
//! All semantic rules are asked and all refusals are named; only then the resources are compared.

use bacalhau_model::{Execution, NetworkType, Resources, Task};

/// What the node offers and refuses.
#[derive(Clone, Debug, Default)]
pub struct BidPolicy {
    /// Engines installed, lower-case.
    pub engines: Vec<String>,
    /// Those of all engines, available or not, whose tasks outlive the node's process; lower-case.
    pub outliving: Vec<String>,
    /// Publishers installed, lower-case.
    pub publishers: Vec<String>,
    /// Sources installed, lower-case.
    pub sources: Vec<String>,
    /// `JobAdmissionControl.RejectNetworkedJobs`.
    pub reject_networked: bool,
    /// `JobAdmissionControl.RejectStatelessJobs`.
    pub reject_stateless: bool,
    /// `JobAdmissionControl.Locality` is `local`.
    pub only_local_inputs: bool,
    /// Engines whose bids depend on what only IO can tell, lower-case.
    pub asking: Vec<String>,
    /// An external probe (`ProbeExec`, `ProbeHTTP`) must be asked.
    pub external_probe: bool,
    /// Taken when a job asks for nothing.
    pub default_resources: Resources,
    /// All the node may use.
    pub capacity: Resources,
}

/// Verdict without IO.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The node runs it and sets this aside.
    Accept(Resources),
    /// IO must tell more first.
    AskFurther,
    /// The whole reason, ready for the event.
    Refuse(String),
}

impl BidPolicy {
    /// Judges an execution. `disk` is what its inputs need, once known.
    pub fn judge(&self, execution: &Execution, disk: Option<u64>) -> Verdict {
        let Some(task) = execution.job.as_ref().and_then(|job| job.task()) else {
            return Verdict::Refuse(refusal(&["run jobs without a task".to_owned()]));
        };
        let refusals = self.refusals(task);
        if !refusals.is_empty() {
            return Verdict::Refuse(refusal(&refusals));
        }
        if disk.is_none() && self.needs_io(task) {
            return Verdict::AskFurther;
        }
        let asked = match task.resources.parse() {
            Ok(asked) => asked,
            Err(why) => return Verdict::Refuse(refusal(&[format!("understand the job's resources: {why}")])),
        };
        let usage = self.usage(&asked, disk.unwrap_or(0));
        if usage.fits_in(&self.capacity) {
            return Verdict::Accept(usage);
        }
        Verdict::Refuse(format!("rejected bid: {}", self.shortage(&usage)))
    }

    /// Says that the node as a whole has less than `usage`.
    pub(super) fn shortage(&self, usage: &Resources) -> String {
        format!(
            "insufficient resources - requested: {}, available: {}",
            amounts(usage),
            amounts(&self.capacity)
        )
    }

    fn refusals(&self, task: &Task) -> Vec<String> {
        let has = |offer: &[String], name: &str| offer.iter().any(|o| o.eq_ignore_ascii_case(name.trim()));
        let mut refusals = Vec::new();
        if !has(&self.engines, &task.engine.r#type) {
            refusals.push(format!("support {:?}", task.engine.r#type));
        }
        let network = task.network().r#type;
        if self.reject_networked && !matches!(network, NetworkType::None | NetworkType::Default) {
            refusals.push("run jobs that require network access".to_owned());
        }
        if self.reject_stateless && task.input_sources.is_empty() {
            refusals.push("accept jobs without any input volumes".to_owned());
        }
        if !task.publisher.is_empty() && !has(&self.publishers, &task.publisher.r#type) {
            refusals.push(format!("support {:?}", task.publisher.r#type));
        }
        for input in &task.input_sources {
            if !has(&self.sources, &input.source.r#type) {
                refusals.push(format!("support {:?}", input.source.r#type));
            }
        }
        let remote = task.input_sources.iter().filter(|i| !is_local(&i.source)).count();
        if self.only_local_inputs && remote > 0 {
            refusals.push(format!("have all input data locally ({remote} inputs require downloading)"));
        }
        refusals
    }

    /// Inputs other than inline ones have sizes and permissions that only IO can tell; so have host variables and
    /// programs from registries.
    fn needs_io(&self, task: &Task) -> bool {
        self.external_probe
            || self.asking.iter().any(|name| task.engine.is_type(name))
            || task.engine.params.values().any(is_in_registry)
            || task.input_sources.iter().any(|i| !i.source.is_type("inline"))
            || task.env.values().any(|value| value.starts_with("env:"))
    }

    fn usage(&self, asked: &Resources, disk: u64) -> Resources {
        let default = &self.default_resources;
        let or = |asked: u64, default: u64| if asked == 0 { default } else { asked };
        Resources {
            cpu: if asked.cpu == 0.0 { default.cpu } else { asked.cpu },
            memory: or(asked.memory, default.memory),
            disk: asked.disk.max(disk),
            gpu: asked.gpu,
            gpus: Vec::new(),
        }
    }
}

/// Inputs that need no download.
fn is_local(source: &bacalhau_model::SpecConfig) -> bool {
    ["inline", "local", "localDirectory"].iter().any(|name| source.is_type(name))
}

/// A parameter that names a module in a registry, or a list with such a name.
fn is_in_registry(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.starts_with("oci://"),
        serde_json::Value::Array(list) => list.iter().any(is_in_registry),
        _ => false,
    }
}

/// The text of a refused bid. Each reason goes on after "this node does not".
fn refusal(reasons: &[String]) -> String {
    let all: Vec<String> = reasons.iter().map(|r| format!("rejected bid: this node does not {r}")).collect();
    all.join("; ")
}

fn amounts(r: &Resources) -> String {
    let bytes = bacalhau_model::quantity::format_bytes;
    format!("{{CPU: {}, Memory: {}, Disk: {}, GPU: {}}}", r.cpu, bytes(r.memory), bytes(r.disk), r.gpu)
}
