//! Keys of compute nodes.

use super::App;
use super::input::{Id, Input};
use super::reply::{Answer, Failure, Json, bad_request};
use crate::credentials::{CredentialBook, NodeCredential};
use axum::extract::State;
use bacalhau_model::Error;
use bacalhau_model::error::code;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct All {
    credentials: Vec<NodeCredential>,
}

pub(super) async fn list(State(app): State<App>) -> Answer {
    let credentials = blocking(&app, |book| Ok(book.list())).await?;
    Json::of(&All { credentials })
}

pub(super) async fn create(State(app): State<App>, Id(name): Id, input: Input) -> Answer {
    let public_key = input.text("PublicKey")?;
    if public_key.is_empty() {
        return Err(bad_request("PublicKey must not be empty"));
    }
    let made = blocking(&app, move |book| book.create(&name, &public_key)).await?;
    Json::of(&made)
}

pub(super) async fn revoke(State(app): State<App>, Id(name): Id) -> Answer {
    blocking(&app, move |book| book.revoke(&name)).await?;
    Json::of(&serde_json::json!({"Success": true}))
}

async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&dyn CredentialBook) -> Result<T, Error> + Send + 'static,
) -> Result<T, Failure> {
    let Some(book) = app.parts.credentials.as_ref().map(Arc::clone) else {
        let error = Error::new(code::NOT_FOUND, "this orchestrator does not keep credentials of nodes");
        return Err(Failure(error.component("APIServer")));
    };
    let done = tokio::task::spawn_blocking(move || work(&*book)).await;
    let done = done.unwrap_or_else(|e| {
        Err(Error::new(code::INTERNAL_ERROR, format!("the request ended abnormally: {e}")))
    });
    done.map_err(Failure)
}
