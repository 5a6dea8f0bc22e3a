//! `docker run`: a container without a job file.

use super::spec_args::{self, SpecArgs};
use super::submit::{print_dry_run, submit_and_follow};
use crate::context::Context;
use crate::failure::{Outcome, fail};
use crate::job_file;
use crate::progress::RunArgs;
use bacalhau_model::{Error, SpecConfig};
use serde_json::Value;

/// Commands of `docker`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Run a container
    Run(Box<DockerRunArgs>),
}

/// Flags of `docker run`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau docker run ubuntu:latest -- echo hello\n  \
    bacalhau docker run -i s3://bucket/logs/*:/in -o out:/out -p local ubuntu -- sh -c 'wc -l /in/* > /out/n'\n  \
    bacalhau docker run --dry-run ubuntu -- date > job.yaml")]
pub(crate) struct DockerRunArgs {
    /// Image, with a tag or digest
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Command and arguments; put -- before them when some begin with a dash
    #[arg(value_name = "COMMAND")]
    parameters: Vec<String>,
    /// Folder in the container in which the command starts
    #[arg(long, short = 'w', value_name = "PATH", default_value = "", hide_default_value = true)]
    workdir: String,
    /// Replaces the image's entrypoint; comma-separated or repeated
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    entrypoint: Vec<String>,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Runs a command.
pub(crate) async fn run(context: &Context, verb: Verb) -> Outcome {
    let Verb::Run(args) = verb;
    let job = spec_args::build(&context.out, &args.spec, engine(&args)?)?;
    job_file::check(job.clone())?;
    if args.spec.dry_run {
        return print_dry_run(&context.out, &job);
    }
    submit_and_follow(context, &context.client()?, job, false, false, &args.run).await
}

fn engine(args: &DockerRunArgs) -> Result<SpecConfig, Error> {
    if args.image.trim().is_empty() {
        return Err(fail(
            "building docker engine spec: invalid docker engine param: 'Image' cannot be empty",
        ));
    }
    if !args.workdir.is_empty() && !args.workdir.starts_with('/') {
        return Err(fail(format!(
            "building docker engine spec: invalid docker engine param: 'WorkingDirectory' ({:?}) must contain absolute path",
            args.workdir
        )));
    }
    let list = |items: &[String]| match items.is_empty() {
        true => Value::Null,
        false => Value::from(items.to_vec()),
    };
    Ok(SpecConfig::new("docker")
        .with("Image", args.image.as_str())
        .with("Entrypoint", list(&args.entrypoint))
        .with("Parameters", list(&args.parameters))
        .with("EnvironmentVariables", Value::Null)
        .with("WorkingDirectory", args.workdir.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Out, yaml};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DockerRunArgs,
    }

    fn job(line: &[&str]) -> Result<bacalhau_model::Job, Error> {
        let args = Line::try_parse_from(["run"].iter().chain(line)).unwrap().args;
        spec_args::build(&Out::default(), &args.spec, engine(&args)?)
    }

    #[test]
    fn a_dry_run_prints_this() {
        let job = job(&["ubuntu:latest", "--", "echo", "hello"]).unwrap();
        let text = yaml::to_text(&job_file::to_document(&job).unwrap());
        let expected = "Constraints: null\nCount: 1\nCreateTime: 0\nID: \"\"\nLabels: {}\nMeta: null\nModifyTime: 0\nName: \"\"\nNamespace: default\nPriority: 0\nRevision: 0\nState:\n  StateType: Undefined\nTasks:\n- Engine:\n    Params:\n      Entrypoint: null\n      EnvironmentVariables: null\n      Image: ubuntu:latest\n      Parameters:\n      - echo\n      - hello\n      WorkingDirectory: \"\"\n    Type: docker\n  Name: main\n  Publisher: null\n  Resources: {}\n  Timeouts: {}\nType: batch\nVersion: 0\n";
        assert_eq!(text, expected);
        // Unlike the original's, this document can be submitted.
        let mut again = job_file::parse(text.as_bytes(), None).unwrap().remove(0).job;
        again.tasks[0].engine.params = job.tasks[0].engine.params.clone();
        assert_eq!(again, job);
    }

    #[test]
    fn flags_become_fields() {
        let job = job(&[
            "--name",
            "n",
            "-l",
            "a=b,c",
            "--count",
            "3",
            "--constraints",
            "gpu",
            "-e",
            "A=1",
            "-i",
            "file:///d:/in",
            "-o",
            "out:/out",
            "-p",
            "local",
            "--memory",
            "1Gi",
            "--network",
            "http",
            "--domain",
            "x.y",
            "--timeout",
            "9",
            "--entrypoint",
            "/bin/sh,-c",
            "img",
            "one",
        ])
        .unwrap();
        let task = &job.tasks[0];
        assert_eq!((job.count, job.labels.len(), job.constraints.len()), (3, 2, 1));
        assert_eq!((task.timeouts.total_timeout, task.resources.memory.as_str()), (9, "1Gi"));
        assert_eq!(task.network().domains, ["x.y"]);
        assert_eq!(task.engine.param("Entrypoint").unwrap(), &serde_json::json!(["/bin/sh", "-c"]));
    }

    #[test]
    fn refusals() {
        for (line, why) in [
            (&["--workdir", "rel", "img"][..], "must contain absolute path"),
            (&[""], "'Image' cannot be empty"),
            (&["--target", "all", "--count", "2", "img"], "--count"),
            (&["--constraints", "a in", "img"], "failed to parse job constraints"),
            (&["-o", "x", "img"], "invalid output volume: x"),
            (&["-e", "FOO", "img"], "FOO must be formatted as key=value"),
        ] {
            let error = job(line).unwrap_err();
            assert!(error.message.contains(why), "{line:?}: {}", error.message);
        }
    }
}
