//! A job as the YAML document that `--dry-run` shows.

use bacalhau_model::{Error, Job};
use serde_json::{Map, Value};

/// The document. Parts that are not set are `null`, as in Bacalhau 1.9.
pub(crate) fn to_document(job: &Job) -> Result<Value, Error> {
    let mut value = serde_json::to_value(job).map_err(super::invalid)?;
    if let Value::Object(fields) = &mut value {
        null_when_empty(fields, "Constraints");
        null_when_empty(fields, "Meta");
        for task in fields.get_mut("Tasks").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::Object(task) = task
                && job.task().is_some_and(|t| t.publisher.is_empty())
            {
                task.insert("Publisher".to_owned(), Value::Null);
            }
        }
    }
    Ok(value)
}

fn null_when_empty(fields: &mut Map<String, Value>, key: &str) {
    let is_empty = match fields.get(key) {
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        _ => false,
    };
    if is_empty {
        fields.insert(key.to_owned(), Value::Null);
    }
}
