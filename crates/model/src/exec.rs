//! Parameters of the engine `exec`, which runs plain processes. Here because a job is checked where it is submitted as
//! well as where it runs.

use crate::spec::SpecConfig;
use serde::Deserialize;

/// Name of the engine.
pub const ENGINE: &str = "exec";

/// Longest argument the kernel takes (`MAX_ARG_STRLEN`).
const LONGEST_ARGUMENT: usize = 128 * 1024;

/// Parameters of a task of the engine `exec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecParams {
    /// The program: an absolute path, or a name that is looked for in `PATH`.
    pub command: String,
    /// Its arguments, without the program's own name. No shell reads them.
    pub arguments: Vec<String>,
    /// Where it starts: an absolute path as the task sees it, or one below its private folder, which is the default.
    pub working_directory: String,
}

impl ExecParams {
    /// Reads and checks them.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn read(spec: &SpecConfig) -> Result<ExecParams, String> {
        let params: ExecParams =
            spec.decode_params().map_err(|e| format!("invalid exec engine params: {e}"))?;
        let wrong = |why: &str| Err(format!("invalid exec engine params: {why}"));
        if params.command.trim().is_empty() {
            return wrong("Command cannot be empty: name a program such as \"/usr/bin/sort\" or \"sort\"");
        }
        if !params.command.starts_with('/') && params.command.contains('/') {
            return wrong("Command must be an absolute path or a plain name that is looked for in PATH");
        }
        if params.command.chars().any(char::is_whitespace) && params.arguments.is_empty() {
            return wrong("Command names the program only; its arguments belong into Arguments");
        }
        let texts = params.arguments.iter().chain([&params.command, &params.working_directory]);
        for text in texts {
            if text.contains('\0') {
                return wrong("a text contains a null character, which no program can receive");
            }
            if text.len() >= LONGEST_ARGUMENT {
                return wrong("a text is longer than 128 KiB, which no program can receive");
            }
        }
        if params.working_directory.split('/').any(|part| part == "..") {
            return wrong("WorkingDirectory must not contain ..");
        }
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(params: serde_json::Value) -> Result<ExecParams, String> {
        ExecParams::read(&SpecConfig { r#type: ENGINE.into(), params: params.as_object().unwrap().clone() })
    }

    #[test]
    fn spellings_and_defaults() {
        let params = read(json!({"command": "sort", "Arguments": ["-r", "a b"], "more": 1})).unwrap();
        assert_eq!(params.command, "sort");
        assert_eq!(params.arguments, ["-r", "a b"]);
        assert_eq!(params.working_directory, "");
        read(json!({"Command": "/opt/my tool", "Arguments": ["x"]})).unwrap();
    }

    #[test]
    fn mistakes_are_named() {
        for (params, part) in [
            (json!({}), "Command cannot be empty"),
            (json!({"Command": " "}), "Command cannot be empty"),
            (json!({"Command": "bin/sort"}), "absolute path or a plain name"),
            (json!({"Command": "sort -r"}), "belong into Arguments"),
            (json!({"Command": "sort", "Arguments": ["a\0b"]}), "null character"),
            (json!({"Command": "sort", "Arguments": ["x".repeat(1 << 17)]}), "128 KiB"),
            (json!({"Command": "sort", "WorkingDirectory": "a/../b"}), ".."),
            (json!({"Command": 5}), "Command"),
        ] {
            let why = read(params).unwrap_err();
            assert!(why.starts_with("invalid exec engine params") && why.contains(part), "{why}");
        }
    }
}
