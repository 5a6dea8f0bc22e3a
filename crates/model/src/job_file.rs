//! From JSON of a user, in a request or a file, to a job.

use crate::job::{Job, JobType};
use crate::lenient::{self, DecodeError};
use serde_json::Value;

/// Decodes a job. A count that is missing or null is 1 for batch and service jobs; an explicit 0 stays.
pub fn job_from_value(value: Value) -> Result<Job, DecodeError> {
    let has_count = value
        .as_object()
        .is_some_and(|map| map.iter().any(|(key, v)| key.eq_ignore_ascii_case("Count") && !v.is_null()));
    let mut job: Job = lenient::from_value(value)?;
    if !has_count && matches!(job.job_type(), Some(JobType::Batch | JobType::Service)) {
        job.count = 1;
    }
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_missing_count_is_one_where_there_are_partitions() {
        let count = |value: Value| job_from_value(value).unwrap().count;
        assert_eq!(count(json!({"type": "batch"})), 1);
        assert_eq!(count(json!({"Type": "service", "COUNT": null})), 1);
        assert_eq!(count(json!({"Type": "batch", "count": 0})), 0);
        assert_eq!(count(json!({"Type": "ops"})), 0);
        assert_eq!(job_from_value(json!({"Count": "2"})).unwrap_err().path, "Count");
    }
}
