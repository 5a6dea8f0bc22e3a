//! The `{id}` of a path, decoded once.

use crate::server::App;
use crate::server::reply::{Failure, bad_request};
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

/// The only parameter of a path.
pub(in crate::server) struct Id(pub(in crate::server) String);

impl FromRequestParts<App> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Id, Failure> {
        match Path::<String>::from_request_parts(parts, app).await {
            Ok(Path(id)) => Ok(Id(id)),
            Err(_) => Err(bad_request("code=400, message=the path is no UTF-8 text")),
        }
    }
}
