//! Parameters of the `wasm` engine. Pure.

use super::error;
use crate::sources::normalise_guest_path;
use bacalhau_model::{Error, SpecConfig};
use serde::Deserialize;

/// Function that is called when the job names none. In a component it stands for `wasi:cli/run`.
pub(super) const DEFAULT_ENTRYPOINT: &str = "_start";

/// Start of a module's path that is a reference to a registry.
pub(super) const OCI: &str = "oci://";

/// Parameters as a job has them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Raw {
    entry_module: String,
    entrypoint: String,
    parameters: Vec<String>,
    import_modules: Vec<String>,
    fuel: Option<u64>,
}

/// Checked parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Params {
    /// Normalised path of the module, or of a folder with one module in it, or a reference that starts with [`OCI`].
    pub(super) entry_module: String,
    /// Exported function to call.
    pub(super) entrypoint: String,
    /// `argv[1..]`; `argv[0]` is empty.
    pub(super) arguments: Vec<String>,
    /// The same for modules that others import from.
    pub(super) import_modules: Vec<String>,
    /// Instructions it may execute, roughly; `None` is without end.
    pub(super) fuel: Option<u64>,
}

impl Params {
    pub(super) fn read(spec: &SpecConfig) -> Result<Params, Error> {
        let raw: Raw = spec.decode_params().map_err(|e| error(format!("invalid wasm engine params: {e}")))?;
        if raw.entry_module.trim().is_empty() {
            return Err(error("invalid wasm engine entry module. target path cannot be empty")
                .hint("Set EntryModule to the Target of the input that holds the module"));
        }
        if raw.parameters.iter().any(|p| p.contains('\0')) {
            return Err(error("invalid wasm engine params: a parameter contains a null character"));
        }
        let entrypoint = raw.entrypoint.trim();
        Ok(Params {
            entry_module: module_path(&raw.entry_module)?,
            entrypoint: if entrypoint.is_empty() { DEFAULT_ENTRYPOINT } else { entrypoint }.to_owned(),
            arguments: raw.parameters,
            import_modules: raw.import_modules.iter().map(|p| module_path(p)).collect::<Result<_, _>>()?,
            fuel: raw.fuel.filter(|fuel| *fuel > 0),
        })
    }
}

fn module_path(text: &str) -> Result<String, Error> {
    if text.trim().starts_with(OCI) { Ok(text.trim().to_owned()) } else { normalise_guest_path(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(params: serde_json::Value) -> SpecConfig {
        SpecConfig { r#type: "wasm".into(), params: params.as_object().unwrap().clone() }
    }

    #[test]
    fn defaults_and_spellings() {
        let params =
            Params::read(&spec(json!({"entrymodule": "main.wasm", "Parameters": ["a"], "other": 1})))
                .unwrap();
        assert_eq!(params.entry_module, "/main.wasm");
        assert_eq!(params.entrypoint, "_start");
        assert_eq!(params.arguments, ["a"]);
        assert_eq!(params.fuel, None);
        let pulled = json!({"EntryModule": "oci://r.example/m:1", "ImportModules": ["a.wasm", "oci://x/y"], "Fuel": 9});
        let params = Params::read(&spec(pulled)).unwrap();
        assert_eq!(params.entry_module, "oci://r.example/m:1");
        assert_eq!(params.import_modules, ["/a.wasm", "oci://x/y"]);
        assert_eq!(params.fuel, Some(9));
    }

    #[test]
    fn mistakes_are_named() {
        let message = |value| Params::read(&spec(value)).unwrap_err().message;
        assert_eq!(message(json!({})), "invalid wasm engine entry module. target path cannot be empty");
        assert!(message(json!({"EntryModule": 5})).contains("EntryModule"));
    }
}
