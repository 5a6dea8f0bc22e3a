//! Parameters of engines for containers, and the command that comes of them and of the image. Pure.

use bacalhau_images::{Reference, RunConfig, parse_reference};
use bacalhau_model::{Error, SpecConfig, error::code};
use serde::Deserialize;

/// Names that only the system sets.
const RESERVED_PREFIX: &str = "BACALHAU_";

/// What programs look in when nobody says otherwise, as with Docker.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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

/// Checked parameters. What names an image is the engine's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Params<Image = Reference> {
    /// What runs.
    pub(crate) image: Image,
    /// Replaces the image's entrypoint, and with it the image's command; empty leaves both.
    pub(crate) entrypoint: Vec<String>,
    /// Replaces the image's command; empty leaves it.
    pub(crate) parameters: Vec<String>,
    env: Vec<String>,
    /// Absolute path; empty leaves the image's.
    pub(crate) working_directory: String,
}

impl Params {
    /// Reads and checks them, with an image that has a name in a registry.
    pub(crate) fn read(spec: &SpecConfig) -> Result<Params, Error> {
        Params::read_with(spec, parse_reference)
    }
}

impl<Image> Params<Image> {
    /// Reads and checks them; `read_image` does so with the image. Errors are in the words of Bacalhau 1.9.
    pub(crate) fn read_with(
        spec: &SpecConfig,
        read_image: impl FnOnce(&str) -> Result<Image, Error>,
    ) -> Result<Params<Image>, Error> {
        let raw: Raw = spec.decode_params().map_err(|e| invalid(e.to_string()))?;
        if raw.image.trim().is_empty() {
            return Err(invalid("'Image' cannot be empty").hint("Set Image to the name of a container image"));
        }
        let directory = raw.working_directory;
        if !directory.is_empty() && !directory.starts_with('/') {
            return Err(invalid(format!("'WorkingDirectory' ({directory:?}) must contain absolute path")));
        }
        let mut texts = raw.entrypoint.iter().chain(&raw.parameters).chain(&raw.environment_variables);
        if texts.any(|text| text.contains('\0')) || directory.contains('\0') {
            return Err(invalid("a text contains a null character, which no program can receive"));
        }
        for variable in &raw.environment_variables {
            let name = name_of(variable);
            if name.is_empty() {
                let what = format!("'EnvironmentVariables' has an entry without a name: {variable:?}");
                return Err(invalid(what).hint("Write NAME=value"));
            }
            if name.to_ascii_uppercase().starts_with(RESERVED_PREFIX) {
                let what = format!("environment variable '{name}' cannot start with '{RESERVED_PREFIX}'");
                return Err(invalid(what).hint("These names are set by the system; use another name"));
            }
        }
        Ok(Params {
            image: read_image(&raw.image)?,
            entrypoint: raw.entrypoint,
            parameters: raw.parameters,
            env: raw.environment_variables,
            working_directory: directory,
        })
    }

    /// The command, as `docker run` makes it: the job's entrypoint replaces the image's and with it the image's
    /// command; the job's parameters replace the image's command. Empty when nobody says what to run.
    pub(crate) fn command(&self, image: &RunConfig) -> Vec<String> {
        let (first, rest): (&[String], &[String]) =
            match (self.entrypoint.as_slice(), self.parameters.as_slice()) {
                ([], []) => (&image.entrypoint, &image.cmd),
                ([], parameters) => (&image.entrypoint, parameters),
                // One empty word takes the image's away, and its command with it.
                ([only], parameters) if only.is_empty() => (&[], parameters),
                (entrypoint, parameters) => (entrypoint, parameters),
            };
        first.iter().chain(rest).cloned().collect()
    }

    /// Where it starts.
    pub(crate) fn working_directory(&self, image: &RunConfig) -> String {
        let wanted = [self.working_directory.as_str(), image.working_dir.as_str()];
        let found = wanted.into_iter().find(|path| !path.is_empty()).unwrap_or("/");
        if found.starts_with('/') { found.to_owned() } else { format!("/{found}") }
    }

    /// The variables that go on top of the image's, one entry per name in the order of their first appearance: `task`
    /// holds the task's with the system's on top of them; the engine's own come last and win. `NAME=value`, or a name
    /// alone, which takes the image's variable away.
    pub(crate) fn variables(&self, task: &[(String, String)]) -> Vec<String> {
        let task = task.iter().map(|(name, value)| format!("{name}={value}"));
        let mut all: Vec<String> = Vec::with_capacity(task.len() + self.env.len());
        for variable in task.chain(self.env.iter().cloned()) {
            match all.iter_mut().find(|known| name_of(known) == name_of(&variable)) {
                Some(known) => *known = variable,
                None => all.push(variable),
            }
        }
        all
    }

    /// The image's variables with those on top of them: `NAME=value`, one per name.
    pub(crate) fn environment(&self, image: &RunConfig, task: &[(String, String)]) -> Vec<String> {
        let mut all: Vec<(String, String)> = vec![("PATH".to_owned(), format!("PATH={USUAL_PATH}"))];
        let mut put = |variable: &str| {
            let name = name_of(variable);
            if name.is_empty() || variable.contains('\0') {
                return;
            }
            if !variable.contains('=') {
                all.retain(|(known, _)| known != name);
                return;
            }
            match all.iter_mut().find(|(known, _)| known == name) {
                Some((_, text)) => variable.clone_into(text),
                None => all.push((name.to_owned(), variable.to_owned())),
            }
        };
        image.env.iter().chain(&self.variables(task)).for_each(|variable| put(variable));
        all.into_iter().map(|(_, text)| text).collect()
    }
}

fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

fn invalid(what: impl std::fmt::Display) -> Error {
    Error::new(code::BAD_REQUEST, format!("invalid docker engine param: {what}")).component("Docker")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(params: serde_json::Value) -> Result<Params, Error> {
        Params::read(&SpecConfig { r#type: "oci".into(), params: params.as_object().unwrap().clone() })
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
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
    fn the_command_is_that_of_docker_run() {
        let image = |entrypoint: &str, cmd: &str| RunConfig {
            entrypoint: words(entrypoint),
            cmd: words(cmd),
            ..RunConfig::default()
        };
        // image's entrypoint, image's command, job's entrypoint, job's parameters, what runs
        let cases = [
            ("", "", "", "", ""),
            ("", "c", "", "", "c"),
            ("e", "", "", "", "e"),
            ("e", "c", "", "", "e c"),
            ("", "", "", "p", "p"),
            ("", "c", "", "p", "p"),
            ("e", "c", "", "p", "e p"),
            ("e", "", "", "p", "e p"),
            ("", "", "j", "", "j"),
            ("e", "c", "j", "", "j"),
            ("e", "c", "j", "p q", "j p q"),
            ("", "c", "j", "p", "j p"),
        ];
        for (entrypoint, cmd, job, parameters, expected) in cases {
            let params =
                read(json!({"Image": "a", "Entrypoint": words(job), "Parameters": words(parameters)}))
                    .unwrap();
            assert_eq!(
                params.command(&image(entrypoint, cmd)),
                words(expected),
                "{entrypoint} {cmd} {job} {parameters}"
            );
        }
    }

    #[test]
    fn one_empty_word_takes_the_entrypoint_away() {
        let image = RunConfig { entrypoint: words("entry"), cmd: words("cmd"), ..RunConfig::default() };
        let params = read(json!({"Image": "a", "Entrypoint": [""], "Parameters": ["echo", "x"]})).unwrap();
        assert_eq!(params.command(&image), words("echo x"));
        let nothing = read(json!({"Image": "a", "Entrypoint": [""]})).unwrap();
        assert!(nothing.command(&image).is_empty());
    }

    #[test]
    fn variables_in_layers() {
        let image = RunConfig { env: words("PATH=/x A=image B=image C=image"), ..RunConfig::default() };
        let params = read(json!({"Image": "a", "EnvironmentVariables": ["B=engine", "N=1=2", "C"]})).unwrap();
        let task = [("A", "task"), ("B", "task")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(params.environment(&image, &task), words("PATH=/x A=task B=engine N=1=2"));
        // For a daemon that puts the image's below them.
        assert_eq!(params.variables(&task), words("A=task B=engine N=1=2 C"));
        let bare = read(json!({"Image": "a"})).unwrap().environment(&RunConfig::default(), &[]);
        assert_eq!(bare, [format!("PATH={USUAL_PATH}")]);
    }

    #[test]
    fn folders() {
        let image = RunConfig { working_dir: "app".into(), ..RunConfig::default() };
        let folder = |params, image: &RunConfig| read(params).unwrap().working_directory(image);
        assert_eq!(folder(json!({"Image": "a"}), &RunConfig::default()), "/");
        assert_eq!(folder(json!({"Image": "a"}), &image), "/app");
        assert_eq!(folder(json!({"Image": "a", "WorkingDirectory": "/j"}), &image), "/j");
    }
}
