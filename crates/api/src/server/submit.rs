//! What changes jobs: submit, diff, stop, delete, rerun.

use super::input::{Id, Input};
use super::reply::{Answer, Failure, Json, bad_request};
use super::{App, Length};
use axum::extract::State;
use bacalhau_model::Job;
use bacalhau_model::job_file::job_and_warnings;
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
    let (job, mut warnings) = job_of(&mut input)?;
    let options = SubmitOptions {
        force: input.boolean("Force")?,
        client_instance_id: input.header("x-bacalhau-instanceid").to_owned(),
        client_installation_id: input.header("x-bacalhau-installationid").to_owned(),
    };
    let done = app.backend()?.submit(job, options).await?;
    warnings.extend(done.warnings);
    Json::of(&Submitted {
        job_id: done.job_id,
        evaluation_id: done.evaluation_id,
        warnings: or_null(warnings),
    })
}

/// The job in the body, and warnings for fields that it has no place for.
pub(super) fn job_of(input: &mut Input) -> Result<(Job, Vec<String>), Failure> {
    match input.take("Job") {
        None | Some(Value::Null) => Err(bad_request("empty/nil job")),
        Some(value) => job_and_warnings(value).map_err(|e| {
            let (field, expected, found) = (&e.path, &e.expected, &e.found);
            if expected.is_empty() {
                return bad_request(format!("code=400, message={e}, internal={e}"));
            }
            bad_request(format!(
                "code=400, message=Unmarshal type error: expected={expected}, got={found}, field={field}, internal={e}"
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
    let (job, mut warnings) = job_of(&mut input)?;
    if job.name.is_empty() {
        return Err(bad_request("invalid job spec: name is missing"));
    }
    let found = app.backend()?.diff(job).await?;
    warnings.extend(found.warnings);
    Json::of(&Diff { diff: found.diff, warnings: or_null(warnings) })
}

#[derive(Serialize)]
struct Stopped {
    #[serde(rename = "EvaluationID")]
    evaluation_id: String,
}

pub(super) async fn stop(State(app): State<App>, Id(id): Id, input: Input) -> Answer {
    let reason = input.text("reason")?;
    // The Python client's way of giving none.
    let reason = if reason == "None" { "" } else { reason.as_str() };
    let job = resolve(&app, id, &input).await?;
    let evaluation_id = app.backend()?.stop(&job.id, reason).await?;
    Json::of(&Stopped { evaluation_id })
}

/// A job called `diff` can be stopped too.
pub(super) async fn stop_diff(state: State<App>, input: Input) -> Answer {
    stop(state, Id("diff".to_owned()), input).await
}

#[derive(Serialize)]
struct Deleted {
    #[serde(rename = "JobID")]
    job_id: String,
}

/// Deletes a finished job with everything that is known of it.
pub(super) async fn delete(State(app): State<App>, Id(id): Id, input: Input) -> Answer {
    let job = resolve(&app, id, &input).await?;
    app.backend()?.delete(&job.id).await?;
    Json::of(&Deleted { job_id: job.id })
}

async fn resolve(app: &App, id: String, input: &Input) -> Result<Job, Failure> {
    let namespace = input.text("namespace")?;
    app.read(Length::Short, move |records| Ok(records.resolve(&namespace, &id)?)).await
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

pub(super) async fn rerun(State(app): State<App>, Id(id): Id, input: Input) -> Answer {
    let (namespace, version) = (input.text("Namespace")?, input.number("JobVersion")?);
    let job = app.read(Length::Short, move |records| {
        let job = records.resolve(&namespace, &id)?;
        // An unknown version is an error of the reader's.
        Ok(records.job(&job.id, version)?)
    });
    let job = job.await?;
    let done = app.backend()?.rerun(&job.id, version).await?;
    Json::of(&Rerun {
        evaluation_id: done.evaluation_id,
        job_id: done.run.unwrap_or(job.id),
        job_version: done.job_version,
        warnings: None,
    })
}
