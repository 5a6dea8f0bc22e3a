//! From JSON of a user, in a request or a file, to a job.

use crate::job::{Job, JobType};
use crate::lenient::{self, DecodeError, UnknownField};
use serde_json::Value;

/// Decodes a job. A count that is missing or null is 1 for batch and service jobs; an explicit 0 stays.
pub fn job_from_value(value: Value) -> Result<Job, DecodeError> {
    let has_count = has_count(&value);
    lenient::from_value(value).map(|job| with_count(job, has_count))
}

/// As [`job_from_value`], with a warning for each field that the job has no place for. Bacalhau 1.9 drops those
/// without a word, so a misspelled `Resource` or `Timeout` went unnoticed.
pub fn job_and_warnings(value: Value) -> Result<(Job, Vec<String>), DecodeError> {
    let has_count = has_count(&value);
    let (job, unknown) = lenient::from_value_with_unknown(value)?;
    Ok((with_count(job, has_count), unknown.iter().map(warning).collect()))
}

fn has_count(value: &Value) -> bool {
    let is_count = |(key, value): (&String, &Value)| key.eq_ignore_ascii_case("Count") && !value.is_null();
    value.as_object().is_some_and(|map| map.iter().any(is_count))
}

fn with_count(mut job: Job, has_count: bool) -> Job {
    if !has_count && matches!(job.job_type(), Some(JobType::Batch | JobType::Service)) {
        job.count = 1;
    }
    job
}

/// What was ignored, where, and what was probably meant.
fn warning(unknown: &UnknownField) -> String {
    let place = if unknown.path.is_empty() { "Job" } else { &unknown.path };
    let what = format!("unknown field '{}' in '{place}' is ignored", unknown.key);
    match closest(&unknown.key, unknown.known) {
        Some(name) => format!("{what}, did you mean '{name}'?"),
        None => format!("{what}, it may have: {}", unknown.known.join(", ")),
    }
}

/// The known name that is a few typing mistakes away, if any.
fn closest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let key = key.to_ascii_lowercase();
    let distances = known.iter().map(|name| (distance(&key, &name.to_ascii_lowercase()), *name));
    let (least, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (least <= key.chars().count() / 3).then_some(name)
}

/// Longest key for which a suggestion is looked for; the work grows with its length.
const LONGEST_KEY: usize = 64;

/// Levenshtein distance: letters to add, drop or change.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > LONGEST_KEY {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in (1..).zip(a.chars()) {
        // `corner` is the cell up and left of the current one, `left` the one before it.
        let (mut corner, mut left) = (i - 1, i);
        let mut next = vec![i];
        for (to, up) in b.chars().zip(row.iter().skip(1)) {
            left = (up + 1).min(left + 1).min(corner + usize::from(from != to));
            corner = *up;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
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

    #[test]
    fn misspelled_fields_are_told() {
        let (job, warnings) = job_and_warnings(json!({
            "Type": "batch", "lables": {"a": "b"},
            "Tasks": [
                {"Name": "main", "Engine": {"Type": "docker", "Params": {"whatever": 1}}},
                {"Env": {"X": "y"}, "Resource": {"CPU": "1"}, "Timeouts": {"Excution_Timeout": 1}, "Colour": "red"}
            ]
        }))
        .unwrap();
        assert_eq!((job.count, job.tasks.len()), (1, 2));
        assert_eq!(
            warnings,
            [
                "unknown field 'lables' in 'Job' is ignored, did you mean 'Labels'?",
                "unknown field 'Colour' in 'Tasks[1]' is ignored, it may have: Name, Engine, Publisher, Env, Meta, \
                 InputSources, ResultPaths, Resources, Network, Timeouts, Retry",
                "unknown field 'Resource' in 'Tasks[1]' is ignored, did you mean 'Resources'?",
                "unknown field 'Excution_Timeout' in 'Tasks[1].Timeouts' is ignored, did you mean 'ExecutionTimeout'?",
            ]
        );
        assert!(job_and_warnings(json!({"type": "batch", "TASKS": [{"name": "x"}]})).unwrap().1.is_empty());
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("abc", "", 3)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn no_key_panics(key in ".{0,200}") {
            let (_, warnings) = job_and_warnings(json!({key: 1})).unwrap_or_default();
            prop_assert!(warnings.len() <= 1);
        }
    }
}
