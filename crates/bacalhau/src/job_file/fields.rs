//! Which fields a job file may have, and how they become a job.

use super::{JobFile, invalid};
use bacalhau_model::{Error, job_file};
use serde_json::Value;

/// Fields that users set.
const ALLOWED: [&str; 12] = [
    "name",
    "namespace",
    "type",
    "priority",
    "count",
    "constraints",
    "meta",
    "labels",
    "tasks",
    "update",
    "schedule",
    "dependson",
];
/// Fields that the server sets. They may be there when they are empty, so that the output of `--dry-run` can be
/// submitted as it is.
const SERVERS: [&str; 6] = ["id", "state", "version", "revision", "createtime", "modifytime"];

/// A job from a decoded file.
pub(crate) fn decode(value: Value) -> Result<JobFile, Error> {
    let Value::Object(map) = &value else {
        return Err(invalid("it must be a mapping of fields such as Name, Type and Tasks"));
    };
    let mut problems = Vec::new();
    for (key, value) in map {
        let lower = key.to_lowercase();
        if SERVERS.contains(&lower.as_str()) {
            if !is_empty(value) {
                problems.push(format!("field: '{key}' in 'Job' is not allowed"));
            }
        } else if !ALLOWED.contains(&lower.as_str()) {
            problems.push(format!("unknown field: '{key}' in 'Job'"));
        }
    }
    if !problems.is_empty() {
        return Err(invalid(problems.join("\n")));
    }
    let decoded = job_file::job_and_warnings(value).map_err(|e| {
        invalid(match e.expected.is_empty() {
            true => e.to_string(),
            false => format!(
                "field: '{}' in 'Job' is invalid type: '{}' expected: '{}'",
                e.path, e.found, e.expected
            ),
        })
    });
    decoded.map(|(job, warnings)| JobFile { job, warnings })
}

/// Null, zero, empty text, or a state that says nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(_) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "Undefined",
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_checked_at_the_top() {
        let error = decode(json!({"Name": "a", "ID": "j-1", "Foo": 1, "foo2": 2})).unwrap_err().message;
        assert_eq!(
            error,
            "the job provided is invalid: unknown field: 'Foo' in 'Job'\nfield: 'ID' in 'Job' is not allowed\nunknown field: 'foo2' in 'Job'"
        );
        let dry = json!({"ID": "", "State": {"StateType": "Undefined"}, "Version": 0, "CreateTime": 0, "Type": "batch"});
        assert_eq!(decode(dry).unwrap().job.count, 1);
        let kept = decode(json!({"Type": "batch", "COUNT": 0, "Tasks": [{"Oops": 1, "name": "t"}]})).unwrap();
        assert_eq!((kept.job.count, kept.job.tasks[0].name.as_str()), (0, "t"));
        assert!(kept.warnings[0].contains("unknown field 'Oops' in 'Tasks[0]'"), "{:?}", kept.warnings);
    }

    #[test]
    fn types_are_checked() {
        let error = decode(json!({"Type": "batch", "Count": "two"})).unwrap_err().message;
        assert!(
            error.contains("field: 'Count' in 'Job' is invalid type: 'string' expected: 'int"),
            "{error}"
        );
    }
}
