//! Keys of compute nodes.

use super::App;
use super::input::{Id, Input};
use super::reply::{Answer, Failure, Json, bad_request};
use crate::credentials::{CredentialBook, NodeCredential};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use bacalhau_model::Error;
use bacalhau_model::error::code;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct All {
    credentials: Vec<NodeCredential>,
}

/// Whoever may use the API as an operator can make keys, and every page that the operator's browser shows could ask for
/// that, so pages from elsewhere are refused here.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/orchestrator/credentials", get(list))
        .route("/orchestrator/credentials/{id}", put(create).delete(revoke))
        .route_layer(axum::middleware::from_fn(own_pages_only))
}

async fn own_pages_only(request: Request, next: Next) -> Response {
    if is_from_elsewhere(request.headers()) {
        let error = Error::new(code::FORBIDDEN, "credentials of nodes are not for web pages from elsewhere");
        return Failure(error.component("APIServer").status(403)).into_response();
    }
    next.run(request).await
}

/// Browsers say where a page is from when it asks another server than its own, or asks for more than to read.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    text(header::ORIGIN).is_some_and(|origin| {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        authority.is_none() || authority != text(header::HOST)
    })
}

async fn list(State(app): State<App>) -> Answer {
    let credentials = blocking(&app, |book| Ok(book.list())).await?;
    Json::of(&All { credentials })
}

async fn create(State(app): State<App>, Id(name): Id, input: Input) -> Answer {
    let public_key = input.text("PublicKey")?;
    if public_key.is_empty() {
        return Err(bad_request("PublicKey must not be empty"));
    }
    let made = blocking(&app, move |book| book.create(&name, &public_key)).await?;
    Json::of(&made)
}

async fn revoke(State(app): State<App>, Id(name): Id) -> Answer {
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
