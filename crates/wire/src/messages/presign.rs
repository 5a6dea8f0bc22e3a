//! A node asks where to upload results (publisher `s3managed`).

use crate::envelope::Payload;
use bacalhau_model::Event;
use serde::{Deserialize, Serialize};

/// Where may I upload the results of this execution?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PreSignUrlRequest {
    /// Unused.
    pub events: Option<Vec<Event>>,
    /// The execution.
    #[serde(rename = "ExecutionID")]
    pub execution_id: String,
    /// Its job.
    #[serde(rename = "JobID")]
    pub job_id: String,
}

/// There: one HTTP PUT of a `tar.gz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PreSignUrlResponse {
    /// Unused.
    pub job_type: String,
    /// Unused.
    pub events: Option<Vec<Event>>,
    /// The execution.
    #[serde(rename = "ExecutionID")]
    pub execution_id: String,
    /// Its job.
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// A secret: whoever has it can upload.
    #[serde(rename = "PreSignedURL")]
    pub pre_signed_url: String,
}

impl Payload for PreSignUrlRequest {
    const TYPE: &'static str = "managedPublisher.PreSignURLRequest";
}

impl Payload for PreSignUrlResponse {
    const TYPE: &'static str = "managedPublisher.PreSignURLResponse";
}
