//! Why a job runs where it runs, and where one would run.

use super::input::{Id, Input};
use super::reply::{Answer, Json};
use super::submit::job_of;
use super::{App, Length};
use axum::extract::State;
use bacalhau_model::explain::Explanation;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Explained {
    explanation: Explanation,
}

pub(super) async fn stored(State(app): State<App>, Id(id): Id, input: Input) -> Answer {
    let namespace = input.text("namespace")?;
    let job = app.read(Length::Short, move |records| Ok(records.resolve(&namespace, &id)?)).await?;
    Json::of(&Explained { explanation: app.backend()?.explain(job).await? })
}

pub(super) async fn new(State(app): State<App>, mut input: Input) -> Answer {
    let (job, _) = job_of(&mut input)?;
    Json::of(&Explained { explanation: app.backend()?.explain_new(job).await? })
}
