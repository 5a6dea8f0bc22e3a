//! `job get`.

use crate::context::Context;
use crate::download::{self, Part};
use crate::failure::{Outcome, fail};
use crate::output::{Out, structured};
use bacalhau_api::client::{Client, ExecutionsQuery};
use bacalhau_model::quantity::format_bytes as bytes;
use bacalhau_model::{Error, SpecConfig};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Flags of `job get`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    bacalhau job get j-51225160                      everything, into ./job-j-51225160\n  \
    bacalhau job get my-job/outputs/result.csv       one file\n  \
    bacalhau job get my-job --output-dir . --raw     the archives as they were published")]
pub(crate) struct GetArgs {
    /// Name, ID or unique beginning of an ID, perhaps with /PATH of one file or folder in the results
    #[arg(value_name = "JOB[/PATH]")]
    job: String,
    /// Namespace in which a name is looked up
    #[arg(long, value_name = "NAMESPACE", default_value = "", hide_default_value = true)]
    namespace: String,
    /// Leave what was downloaded in the folder raw, do not unpack and merge it
    #[arg(long)]
    raw: bool,
    /// How long the download may take: 90s, 5m or a number of seconds
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = timeout)]
    download_timeout_secs: Duration,
    /// An existing folder for the results [default: a new folder job-JOB]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
}

fn timeout(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    bacalhau_config::duration::parse(text).ok_or_else(|| "write it like 90s, 5m or 1h30m".to_owned())
}

/// Downloads the results of a job.
pub(super) async fn run(context: &Context, args: GetArgs) -> Outcome {
    let out = &context.out;
    let (job, only) = match args.job.split_once('/') {
        Some((job, path)) if !path.is_empty() => (job, Some(PathBuf::from(path))),
        _ => (args.job.trim_end_matches('/'), None),
    };
    out.note(&format!("Fetching results of job '{job}'..."));
    let client = context.client()?;
    let results = client.results(job, &args.namespace).await?.items;
    if results.is_empty() {
        return out.line(&format!(
            "No results found\nYou can check the logged output of the job using the logs command.\n\n  bacalhau job logs {job}"
        ));
    }
    let parts = match plan(&client, job, &args.namespace, &results).await? {
        Ok(parts) => parts,
        Err(unknown) => {
            out.note("No supported downloader found for the published results. You will have to download them yourself:");
            out.note(structured::json(&unknown, true)?.trim_end());
            return Ok(());
        }
    };
    let target = target(&args, job)?;
    let all = download_all(context, &parts, &target, only.as_deref(), args.raw);
    let done = match tokio::time::timeout(args.download_timeout_secs, all).await {
        Ok(done) => done,
        Err(_) => {
            let seconds = args.download_timeout_secs.as_secs();
            let _ = std::fs::remove_dir_all(target.join("raw"));
            Err(fail(format!("the download took longer than {seconds}s"))
                .hint("give it more time with --download-timeout-secs, for example 30m"))
        }
    };
    if let Err(error) = done {
        if args.output_dir.is_none() {
            // Only an empty folder goes; it was made for results that did not come.
            let _ = std::fs::remove_dir(&target);
        }
        return Err(error.into());
    }
    let shown = target.canonicalize().unwrap_or(target);
    out.line(&format!("Results for job '{job}' have been written to...\n{}", shown.display()))
}

async fn plan(
    client: &Client,
    job: &str,
    namespace: &str,
    results: &[SpecConfig],
) -> Result<Result<Vec<Part>, Vec<SpecConfig>>, Error> {
    let query = ExecutionsQuery { namespace: namespace.to_owned(), ..ExecutionsQuery::default() };
    let executions = client.executions(job, &query).await?;
    Ok(download::plan(results, &executions.items))
}

fn target(args: &GetArgs, job: &str) -> Result<PathBuf, Error> {
    if let Some(dir) = &args.output_dir {
        return match dir.is_dir() {
            true => Ok(dir.clone()),
            false => Err(fail(format!("output dir does not exist: {}", dir.display()))
                .hint("create it, or leave --output-dir out to get a new folder")),
        };
    }
    let name = match args.namespace.as_str() {
        "" | "default" => format!("job-{job}"),
        namespace => format!("job-{namespace}-{job}"),
    };
    let dir = PathBuf::from(name);
    std::fs::create_dir_all(&dir)
        .map_err(|e| fail(format!("cannot create the folder {}: {e}", dir.display())))?;
    Ok(dir)
}

/// Downloads into `raw`; unless that was all, unpacks and merges from there and removes it.
async fn download_all(
    context: &Context,
    parts: &[Part],
    target: &Path,
    only: Option<&Path>,
    raw: bool,
) -> Result<(), Error> {
    let out = context.out;
    let folder = target.join("raw");
    let io = |what: &'static str, at: PathBuf| {
        move |e: std::io::Error| fail(format!("cannot {what} {}: {e}", at.display()))
    };
    std::fs::create_dir(&folder).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            fail(format!("there is a folder {} from an earlier download", folder.display()))
                .hint("remove it, or choose another folder with --output-dir")
        }
        _ => fail(format!("cannot create the folder {}: {e}", folder.display())),
    })?;
    let done = async {
        for (at, part) in parts.iter().enumerate() {
            let show = |done: u64, total: Option<u64>| progress(&out, at, parts.len(), done, total);
            let got = download::fetch(&part.url, &folder.join(&part.file), &show).await;
            if out.error_terminal {
                out.raw_error(b"\r\x1b[K");
            }
            got?;
        }
        if raw {
            return Ok(());
        }
        let merged = merge_all(parts, &folder, target, only);
        merged.map_err(|e| if only.is_some() { e } else { e.detail("folder", folder.display().to_string()) })
    }
    .await;
    if !raw || done.is_err() {
        std::fs::remove_dir_all(&folder).map_err(io("remove", folder.clone()))?;
    }
    done
}

fn merge_all(parts: &[Part], folder: &Path, target: &Path, only: Option<&Path>) -> Result<(), Error> {
    let mut unpacked = Vec::new();
    let mut found = only.is_none();
    for (at, part) in parts.iter().enumerate() {
        let from = folder.join(&part.file);
        let to = folder.join(format!("{at}-{}.unpacked", download::stem(&part.file)));
        match (download::is_archive(&part.file), only) {
            (true, None) => download::unpack(&from, &to)?,
            (true, Some(path)) => found |= download::unpack_only(&from, &to, Some(path))?,
            (false, _) => {
                // Not an archive: the file itself is the result.
                let moved =
                    std::fs::create_dir(&to).and_then(|()| std::fs::rename(&from, to.join(&part.file)));
                moved.map_err(|e| fail(format!("cannot move {}: {e}", from.display())))?;
                found = true;
            }
        }
        unpacked.push(to);
    }
    match only {
        Some(path) if !found => Err(fail(format!("the results have no {}", path.display()))
            .hint("run `bacalhau job get` without the path to see what there is")),
        _ => download::merge(&unpacked, target),
    }
}

/// A line on standard error that is written over and over, on terminals only.
fn progress(out: &Out, at: usize, of: usize, done: u64, total: Option<u64>) {
    if !out.error_terminal {
        return;
    }
    let total = total.map(|t| format!(" of {}", bytes(t))).unwrap_or_default();
    let line = format!("\r\u{1b}[Kdownloading {}/{of}: {}{total}", at + 1, bytes(done));
    out.raw_error(line.as_bytes());
}
