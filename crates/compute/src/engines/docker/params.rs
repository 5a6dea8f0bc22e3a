//! Parameters of the `docker` engine. Pure.

use super::errors::COMPONENT;
use super::reference::Reference;
use bacalhau_model::job::meta;
use bacalhau_model::{Error, Job, SpecConfig, error::code};
use serde::Deserialize;

/// Names that only the system sets.
const RESERVED_PREFIX: &str = "BACALHAU_";

/// Parameters as a job has them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Raw {
    image: String,
    entrypoint: Vec<String>,
    parameters: Vec<String>,
    environment_variables: Vec<String>,
    working_directory: String,
}

/// Checked parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Params {
    /// What runs.
    pub(super) image: Reference,
    /// Replaces the image's entrypoint, and with it the image's command; empty leaves both.
    pub(super) entrypoint: Vec<String>,
    /// Replaces the image's command; empty leaves it.
    pub(super) parameters: Vec<String>,
    /// `NAME=value` each; wins over everything else. A name alone takes the image's variable away.
    pub(super) env: Vec<String>,
    /// Absolute path; empty leaves the image's.
    pub(super) working_directory: String,
}

impl Params {
    /// The parameters of a task of `job`; the digest that was noted at submit says which image its tag stands for.
    pub(super) fn of(spec: &SpecConfig, job: Option<&Job>) -> Result<Params, Error> {
        let mut params = Params::read(spec)?;
        let noted = job.and_then(|job| job.meta.get(meta::IMAGE_DIGEST));
        params.image = params.image.pinned(noted.map(String::as_str));
        Ok(params)
    }

    pub(super) fn read(spec: &SpecConfig) -> Result<Params, Error> {
        let raw: Raw = spec.decode_params().map_err(|e| invalid(e.to_string()))?;
        if raw.image.trim().is_empty() {
            return Err(invalid("'Image' cannot be empty").hint("Set Image to the name of a container image"));
        }
        let directory = raw.working_directory;
        if !directory.is_empty() && !directory.starts_with('/') {
            return Err(invalid(format!("'WorkingDirectory' ({directory:?}) must contain absolute path")));
        }
        let texts = [&raw.entrypoint, &raw.parameters, &raw.environment_variables];
        if texts.iter().any(|list| list.iter().any(|text| text.contains('\0'))) || directory.contains('\0') {
            return Err(invalid("a text contains a null character, which no program can receive"));
        }
        for variable in &raw.environment_variables {
            check_variable(variable)?;
        }
        Ok(Params {
            image: Reference::parse(raw.image.trim())?,
            entrypoint: raw.entrypoint,
            parameters: raw.parameters,
            env: raw.environment_variables,
            working_directory: directory,
        })
    }

    /// The container's variables: `task` holds the task's with the system's on top of them; the engine's own come last
    /// and win. One entry per name, in the order of their first appearance.
    pub(super) fn environment(&self, task: &[(String, String)]) -> Vec<String> {
        let mut all: Vec<(&str, String)> =
            task.iter().map(|(name, value)| (name.as_str(), format!("{name}={value}"))).collect();
        for variable in &self.env {
            let name = name_of(variable);
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, text)) => text.clone_from(variable),
                None => all.push((name, variable.clone())),
            }
        }
        all.into_iter().map(|(_, text)| text).collect()
    }
}

fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

fn check_variable(variable: &str) -> Result<(), Error> {
    let name = name_of(variable);
    if name.is_empty() {
        return Err(invalid(format!("'EnvironmentVariables' has an entry without a name: {variable:?}"))
            .hint("Write NAME=value"));
    }
    if name.to_ascii_uppercase().starts_with(RESERVED_PREFIX) {
        let message = format!("environment variable '{name}' cannot start with '{RESERVED_PREFIX}'");
        return Err(invalid(message).hint("These names are set by the system; use another name"));
    }
    Ok(())
}

fn invalid(what: impl std::fmt::Display) -> Error {
    Error::new(code::BAD_REQUEST, format!("invalid docker engine param: {what}")).component(COMPONENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(params: serde_json::Value) -> Result<Params, Error> {
        Params::read(&SpecConfig { r#type: "docker".into(), params: params.as_object().unwrap().clone() })
    }

    #[test]
    fn mistakes_are_named() {
        let message = |value| read(value).unwrap_err().message;
        assert_eq!(message(json!({})), "invalid docker engine param: 'Image' cannot be empty");
        assert_eq!(
            message(json!({"Image": "a", "WorkingDirectory": "x/y"})),
            "invalid docker engine param: 'WorkingDirectory' (\"x/y\") must contain absolute path"
        );
        let reserved = json!({"Image": "a", "EnvironmentVariables": ["bacalhau_JOB_ID=x"]});
        assert!(message(reserved).starts_with("invalid docker engine param: environment variable"));
        assert!(message(json!({"Image": "a", "EnvironmentVariables": ["=x"]})).contains("without a name"));
        assert!(message(json!({"Image": "a", "Parameters": ["a\u{0}"]})).contains("null character"));
        assert!(message(json!({"Image": ["a"]})).starts_with("invalid docker engine param: "));
        assert_eq!(message(json!({"Image": "a b"})), "invalid image format: \"a b\"");
    }

    #[test]
    fn the_engines_variables_win_in_place() {
        let params =
            read(json!({"image": "a", "environmentvariables": ["B=engine", "NEW=1=2", "GONE"]})).unwrap();
        let task = [("A", "1"), ("B", "task"), ("GONE", "x")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(params.environment(&task), ["A=1", "B=engine", "GONE", "NEW=1=2"]);
    }
}
