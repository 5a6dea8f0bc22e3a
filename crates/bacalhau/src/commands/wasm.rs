//! `wasm run`: a WebAssembly program without a job file.

use super::spec_args::{self, SpecArgs};
use super::submit::{print_dry_run, submit_and_follow};
use crate::context::Context;
use crate::failure::{Outcome, fail};
use crate::job_file;
use crate::progress::RunArgs;
use crate::shorthand::input::{has_scheme, parse_with_target};
use bacalhau_model::{Error, InputSource, Job, SpecConfig};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::path::Path;

/// Where the program appears when nothing else is said.
const DEFAULT_TARGET: &str = "main.wasm";
/// Start of a module that is in a registry.
const OCI: &str = "oci://";
/// How every program begins, modules and components alike.
const MAGIC: &[u8] = b"\0asm";
/// Largest file that travels as it is; larger ones are packed.
const MAX_PLAIN: usize = 512;
/// Largest file worth packing: nothing of this size gets below the size of a message.
const MAX_FILE: u64 = 64 << 20;

/// Commands of `wasm`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Run a WebAssembly program
    Run(Box<WasmRunArgs>),
}

/// Flags of `wasm run`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau wasm run hello.wasm\n  \
    bacalhau wasm run -i s3://bucket/data:/in -o out:/out -p local s3://bucket/prog.wasm -- --fast\n  \
    bacalhau wasm run --import-modules lib.wasm:/lib.wasm main.wasm\n  \
    bacalhau wasm run oci://registry.example/tools/prog:1.2\n\n\
    A module on this machine travels inside the job, which allows about 750 kB after compression.")]
pub(crate) struct WasmRunArgs {
    /// The program: a file, a URI as for --input, oci://REFERENCE, or the target of an --input
    #[arg(value_name = "ENTRY-MODULE")]
    module: String,
    /// Arguments of the program; put -- before them when some begin with a dash
    #[arg(value_name = "ARG")]
    parameters: Vec<String>,
    /// Modules the program imports: FILE:TARGET or a URI with a target; comma-separated or repeated
    #[arg(long, short = 'I', value_name = "MODULE", value_delimiter = ',')]
    import_modules: Vec<String>,
    /// Function to call
    #[arg(long, value_name = "NAME", default_value = "_start")]
    entry_point: String,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Runs a command.
pub(crate) async fn run(context: &Context, verb: Verb) -> Outcome {
    let Verb::Run(args) = verb;
    let mut job = spec_args::build(&context.out, &args.spec, SpecConfig::new("wasm"))?;
    add_modules(&mut job, &args)?;
    job_file::check(job.clone())?;
    super::submit::check_size(&job)?;
    if args.spec.dry_run {
        return print_dry_run(&context.out, &job);
    }
    submit_and_follow(context, &context.client()?, job, false, false, &args.run).await
}

fn add_modules(job: &mut Job, args: &WasmRunArgs) -> Result<(), Error> {
    let Some(task) = job.tasks.first_mut() else { return Ok(()) };
    let mut resolve = |text: &str, default: Option<&str>| -> Result<String, Error> {
        // Nodes pull it; it is no input.
        if text.starts_with(OCI) {
            return Ok(text.to_owned());
        }
        match module(text, default)? {
            Module::Source(source) => {
                let target = source.target.clone();
                task.input_sources.push(*source);
                Ok(target)
            }
            Module::Target(target) if task.input_sources.iter().any(|i| i.target == target) => Ok(target),
            Module::Target(target) => Err(fail(format!(
                "no module {target:?}: there is no such file and no --input with this target"
            ))
            .hint("give a file, a URI such as s3://bucket/prog.wasm, or the target of an --input")),
        }
    };
    let entry = resolve(&args.module, Some(DEFAULT_TARGET))?;
    let mut imports = Vec::new();
    for text in &args.import_modules {
        imports.push(resolve(text, None)?);
    }
    task.engine = SpecConfig::new("wasm")
        .with("EntryModule", entry)
        .with("Entrypoint", args.entry_point.as_str())
        .with("Parameters", args.parameters.clone())
        .with("ImportModules", imports);
    Ok(())
}

/// What the text for a module means.
enum Module {
    /// Something to bring along.
    Source(Box<InputSource>),
    /// Something that another input brings.
    Target(String),
}

fn module(text: &str, default: Option<&str>) -> Result<Module, Error> {
    if has_scheme(text) {
        let source = parse_with_target(text, default.unwrap_or_default())
            .map_err(|e| fail(format!("invalid module {text:?}: {e}")))?;
        return match source.target.is_empty() {
            true => Err(no_target(text)),
            false => Ok(Module::Source(Box::new(source))),
        };
    }
    let (path, target) = match (Path::new(text).exists(), text.rsplit_once(':')) {
        (false, Some((path, target))) if Path::new(path).exists() => (path, Some(target)),
        (true, _) => (text, None),
        _ => return Ok(Module::Target(text.to_owned())),
    };
    let target = target.filter(|t| !t.is_empty()).or(default).ok_or_else(|| no_target(text))?;
    Ok(Module::Source(Box::new(inline(Path::new(path), target)?)))
}

fn no_target(text: &str) -> Error {
    fail(format!("import module {text:?} must specify a target path using the format 'path:target'"))
}

/// A file as part of the job: as it is when small, else packed as the only member of a `tar.gz`.
fn inline(path: &Path, target: &str) -> Result<InputSource, Error> {
    let shown = path.display().to_string();
    let failed = |e: std::io::Error| fail(format!("cannot read the module {shown:?}: {e}"));
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() {
        return Err(fail(format!("{shown:?} should point to a single file")));
    }
    if meta.len() > MAX_FILE {
        return Err(fail(format!("the module {shown:?} has {} bytes and is too large to travel inside a job", meta.len()))
            .hint("put it where nodes can fetch it, and name it as s3://bucket/key, https://host/path, file:///path or oci://registry/name:tag"));
    }
    let content = std::fs::read(path).map_err(failed)?;
    if !content.starts_with(MAGIC) {
        return Err(fail(format!("{shown:?} is not a WebAssembly program"))
            .hint("give a compiled one; the text format is compiled by wat2wasm or `wasm-tools parse`"));
    }
    let url = match content.len() <= MAX_PLAIN {
        true => format!("data:application/octet-stream;base64,{}", STANDARD.encode(&content)),
        false => {
            format!("data:application/gzip;base64,{}", STANDARD.encode(pack(path, &content).map_err(failed)?))
        }
    };
    Ok(InputSource {
        source: SpecConfig::new("inline").with("URL", url),
        alias: shown,
        target: target.to_owned(),
    })
}

fn pack(path: &Path, content: &[u8]) -> std::io::Result<Vec<u8>> {
    // A node looks for the one member that ends with `.wasm`, whatever the file is called here.
    let mut name = path.file_name().map_or_else(|| DEFAULT_TARGET.into(), std::ffi::OsStr::to_owned);
    if Path::new(&name).extension().is_none_or(|extension| extension != "wasm") {
        name.push(".wasm");
    }
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    // The same for everybody, so that the same program makes the same job.
    header.set_mode(0o644);
    header.set_mtime(0);
    tar.append_data(&mut header, name, content)?;
    tar.into_inner()?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Out;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: WasmRunArgs,
    }

    fn program(path: &Path, size: usize) {
        let mut bytes = MAGIC.to_vec();
        bytes.resize(size, 7);
        std::fs::write(path, bytes).unwrap();
    }

    fn job(line: &[&str]) -> Result<Job, Error> {
        let args = Line::try_parse_from(["run"].iter().chain(line)).unwrap().args;
        let mut job = spec_args::build(&Out::default(), &args.spec, SpecConfig::new("wasm"))?;
        add_modules(&mut job, &args).map(|()| job)
    }

    #[test]
    fn modules_of_every_kind() {
        let dir = tempfile::tempdir().unwrap();
        let small = dir.path().join("small.wasm");
        let large = dir.path().join("large.wasm");
        program(&small, 512);
        program(&large, 513);
        let (small, large) = (small.to_str().unwrap(), large.to_str().unwrap());
        let import = format!("{large}:/lib/x.wasm");
        let job = job(&[small, "-I", &import, "--", "-v", "x"]).unwrap();
        let task = &job.tasks[0];
        assert_eq!(task.engine.param("EntryModule").unwrap(), "main.wasm");
        assert_eq!(task.engine.param("ImportModules").unwrap(), &serde_json::json!(["/lib/x.wasm"]));
        assert_eq!(task.engine.param("Parameters").unwrap(), &serde_json::json!(["-v", "x"]));
        let url =
            |at: usize| task.input_sources[at].source.param("URL").unwrap().as_str().unwrap().to_owned();
        assert!(url(0).starts_with("data:application/octet-stream;base64,"));
        let packed = STANDARD.decode(url(1).strip_prefix("data:application/gzip;base64,").unwrap()).unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let names: Vec<_> = tar.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(names, [Path::new("large.wasm")]);
    }

    #[test]
    fn uris_and_targets_of_inputs() {
        let entry = |line: &[&str]| {
            job(line).map(|j| j.tasks[0].engine.param("EntryModule").unwrap().as_str().unwrap().to_owned())
        };
        assert_eq!(entry(&["s3://b/p.wasm"]).unwrap(), "main.wasm");
        assert_eq!(entry(&["https://h/p.wasm:/x.wasm"]).unwrap(), "/x.wasm");
        assert_eq!(entry(&["-i", "file:///m:/mods/a.wasm", "/mods/a.wasm"]).unwrap(), "/mods/a.wasm");
        assert_eq!(entry(&["oci://r.example/p:1"]).unwrap(), "oci://r.example/p:1");
        assert!(entry(&["nowhere.wasm"]).unwrap_err().message.contains("no such file"));
        assert!(
            entry(&["s3://b/p", "-I", "s3://b/lib"])
                .unwrap_err()
                .message
                .contains("must specify a target path")
        );
        assert!(entry(&["/"]).unwrap_err().message.contains("should point to a single file"));
    }

    #[test]
    fn what_cannot_travel_is_refused_here() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("noise.wasm");
        let mut seed = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u8
        })
        .take(900_000)
        .collect();
        std::fs::write(&file, [MAGIC, &noise].concat()).unwrap();
        let large = job(&[file.to_str().unwrap()]).unwrap();
        let error = crate::commands::submit::check_size(&large).unwrap_err();
        assert!(error.message.contains("too large"), "{}", error.message);
        std::fs::write(&file, "(module)").unwrap();
        let error = job(&[file.to_str().unwrap()]).unwrap_err();
        assert!(error.message.ends_with("noise.wasm\" is not a WebAssembly program"), "{error}");
    }
}
