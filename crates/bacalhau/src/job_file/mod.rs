//! Job files: reading, templates, YAML to a job, and the checks that need no server.

mod check;
mod document;
mod fields;
mod graph;
mod source;
mod template;

pub(crate) use check::check;
pub(crate) use document::to_document;
pub(crate) use fields::decode;
pub(crate) use graph::{Graph, graph};
pub(crate) use source::{read, variables};

use bacalhau_model::{Error, Job};
use std::collections::BTreeMap;

/// Prefix of everything that is wrong with a job file.
const INVALID: &str = "the job provided is invalid";
/// Help that fits every mistake in a job file.
const HINT: &str = "see `bacalhau job run --help` for an example, and docs/jobs.md for all fields";

/// An error about the content of a job file.
pub(crate) fn invalid(why: impl std::fmt::Display) -> Error {
    Error::new("ValidationError", format!("{INVALID}: {why}"))
}

/// A job file that could be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JobFile {
    /// The job.
    pub(crate) job: Job,
    /// Fields that were ignored, and what was probably meant.
    pub(crate) warnings: Vec<String>,
}

/// Turns the bytes of a job file into its jobs: one, or several with `---` between them. `variables` fills in the
/// template; `None` leaves templates alone.
pub(crate) fn parse(
    bytes: &[u8],
    variables: Option<&BTreeMap<String, String>>,
) -> Result<Vec<JobFile>, Error> {
    let text = std::str::from_utf8(bytes).map_err(|e| invalid(format!("it is no UTF-8 text: {e}")))?;
    if text.trim().is_empty() {
        return Err(invalid("no content provided").hint(HINT));
    }
    let filled = match variables {
        Some(values) => template::render(text, values).map_err(|error| match error {
            template::TemplateError::Parse(why) => invalid(format!("failed to parse template: {why}"))
                .hint("use --no-template when the file is not meant to be a template"),
            template::TemplateError::Execute(why) => invalid(format!("failed to execute template: {why}"))
                .hint("give missing values with -V name=value, or take them from the environment with -E"),
        })?,
        None => text.to_owned(),
    };
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    };
    let mut values: Vec<serde_json::Value> = serde_saphyr::from_multiple_with_options(&filled, options)
        .map_err(|e| invalid(format!("converting yaml to json: {e}")).hint(HINT))?;
    // A separator at either end makes an empty document.
    values.retain(|value| !value.is_null());
    match values.len() {
        0 => Err(invalid("no content provided").hint(HINT)),
        1 => values.into_iter().map(decode).collect(),
        _ => (1..)
            .zip(values)
            .map(|(number, value)| decode(value).map_err(|e| in_document(number, e)))
            .collect(),
    }
}

/// Says which job of a file an error is about.
fn in_document(number: usize, mut error: Error) -> Error {
    if let Some(rest) = error.message.strip_prefix(INVALID) {
        error.message = format!("job {number} of the file is invalid{rest}");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "Name: hello-{{.who}}\nType: batch\nTasks:\n  - Name: main\n    Engine:\n      Type: wasm\n      Params: {EntryModule: /m.wasm}\n";

    fn one(files: Result<Vec<JobFile>, Error>) -> JobFile {
        let mut files = files.unwrap();
        assert_eq!(files.len(), 1);
        files.remove(0)
    }

    #[test]
    fn several_documents_are_several_jobs() {
        let two = parse(b"---\nName: a\nType: ops\n---\nName: b\nType: ops\n---\n", None).unwrap();
        assert_eq!(two.iter().map(|file| file.job.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let error = parse(b"Name: a\n---\nNme: b\n", None).unwrap_err();
        assert_eq!(error.message, "job 2 of the file is invalid: unknown field: 'Nme' in 'Job'");
        assert!(parse(b"---\n---\n", None).unwrap_err().message.contains("no content provided"));
    }

    #[test]
    fn templates_are_filled_in_unless_told_otherwise() {
        let values = BTreeMap::from([("who".to_owned(), "you".to_owned())]);
        let job = one(parse(FILE.as_bytes(), Some(&values))).job;
        assert_eq!((job.name.as_str(), job.count, job.tasks.len()), ("hello-you", 1, 1));
        assert_eq!(one(parse(FILE.as_bytes(), None)).job.name, "hello-{{.who}}");
        let error = parse(FILE.as_bytes(), Some(&BTreeMap::new())).unwrap_err();
        assert!(error.message.contains("failed to execute template"), "{}", error.message);
        assert!(error.message.contains("map has no entry for key \"who\""), "{}", error.message);
    }

    #[test]
    fn broken_files() {
        for (bytes, why) in [
            (&b""[..], "no content provided"),
            (b"  \n", "no content provided"),
            (b"\xff\xfe", "no UTF-8"),
            (b"a: [1", "converting yaml to json"),
            (b"{{if}}", "failed to parse template"),
            (b"just text", "must be a mapping"),
        ] {
            let error = parse(bytes, Some(&BTreeMap::new())).unwrap_err();
            assert!(error.message.starts_with("the job provided is invalid: "), "{}", error.message);
            assert!(error.message.contains(why), "{}", error.message);
        }
    }

    #[test]
    fn json_and_repeated_keys_are_fine() {
        let job = one(parse(br#"{"name":"a","type":"ops","TASKS":[]}"#, None)).job;
        assert_eq!((job.name.as_str(), job.r#type.as_str(), job.count), ("a", "ops", 0));
        assert_eq!(one(parse(b"Name: a\nName: b\nType: ops\n", None)).job.name, "b");
    }
}
