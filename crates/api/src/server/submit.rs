//! What changes jobs: submit, diff, stop, rerun.

use super::App;
use super::input::Input;
use super::jobs::{orchestrator, resolve};
use super::reply::{Answer, Failure, Json, bad_request};
use axum::extract::{Path, State};
use bacalhau_model::error::code;
use bacalhau_model::job_file::job_from_value;
use bacalhau_model::{Error, Job};
use bacalhau_orchestrator::SubmitOptions;
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Submitted {
    #[serde(rename = "JobID")]
    job_id: String,
    #[serde(rename = "EvaluationID")]
    evaluation_id: String,
    warnings: Option<Vec<String>>,
}

/// No warnings travel as `null`.
fn or_null(warnings: Vec<String>) -> Option<Vec<String>> {
    (!warnings.is_empty()).then_some(warnings)
}

pub(super) async fn submit(State(app): State<App>, mut input: Input) -> Answer {
    let job = job_of(&mut input)?;
    let options = SubmitOptions {
        force: input.boolean("Force")?,
        client_instance_id: input.header("x-bacalhau-instanceid").to_owned(),
        client_installation_id: input.header("x-bacalhau-installationid").to_owned(),
    };
    let done = orchestrator(&app)?.submit(job, options).await?;
    let warnings = or_null(done.warnings);
    Json::of(&Submitted { job_id: done.job_id, evaluation_id: done.evaluation_id, warnings })
}

fn job_of(input: &mut Input) -> Result<Job, Failure> {
    match input.take("Job") {
        None | Some(Value::Null) => Err(bad_request("empty/nil job")),
        Some(value) => job_from_value(value).map_err(|e| {
            let (field, expected, found) = (&e.path, &e.expected, &e.found);
            if expected.is_empty() {
                return bad_request(format!("code=400, message={e}"));
            }
            bad_request(format!(
                "code=400, message=Unmarshal type error: expected={expected}, got={found}, field={field}"
            ))
        }),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Diff {
    diff: String,
    warnings: Option<Vec<String>>,
}

pub(super) async fn diff(State(app): State<App>, mut input: Input) -> Answer {
    let job = job_of(&mut input)?;
    if job.name.is_empty() {
        return Err(bad_request("invalid job spec: name is missing"));
    }
    let found = orchestrator(&app)?.diff(job).await?;
    Json::of(&Diff { diff: found.diff, warnings: or_null(found.warnings) })
}

#[derive(Serialize)]
struct Stopped {
    #[serde(rename = "EvaluationID")]
    evaluation_id: String,
}

pub(super) async fn stop(State(app): State<App>, Path(id): Path<String>, input: Input) -> Answer {
    let job = resolve(&app, &id, &input)?;
    let reason = input.text("reason")?;
    let evaluation_id = orchestrator(&app)?.stop(&job.id, &reason).await?;
    Json::of(&Stopped { evaluation_id })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Rerun {
    #[serde(rename = "EvaluationID")]
    evaluation_id: String,
    #[serde(rename = "JobID")]
    job_id: String,
    job_version: u64,
    warnings: Option<Vec<String>>,
}

pub(super) async fn rerun(State(app): State<App>, Path(id): Path<String>, input: Input) -> Answer {
    let job = resolve(&app, &id, &input)?;
    let version = input.number("JobVersion")?;
    if version > job.version {
        let text = format!("job version {version} not found for job {}", job.id);
        return Err(Failure(Error::new(code::NOT_FOUND, text).component("JobStore")));
    }
    let done = orchestrator(&app)?.rerun(&job.id, version).await?;
    Json::of(&Rerun {
        evaluation_id: done.evaluation_id,
        job_id: job.id,
        job_version: done.job_version,
        warnings: None,
    })
}
