//! The output of an execution whose log is gone, from its published results.

use super::printer::Printer;
use crate::download;
use crate::failure::{Failure, fail};
use bacalhau_api::client::{Client, ExecutionsQuery, LogLine, LogNote};
use bacalhau_model::{Error, SpecConfig};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// Bytes printed at once; longest line of which the last are looked for.
const PIECE: u64 = 64 * 1024;
/// Most bytes of last lines that are kept while a file is read.
const MOST_KEPT: usize = 64 << 20;

/// A folder for a download, which goes when this does.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Shows the results' `stdout` and `stderr`; what the execution's record holds, when they cannot be had.
pub(super) async fn show(
    client: &Client,
    job: &str,
    execution_id: &str,
    result: &SpecConfig,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let folder = Folder(std::env::temp_dir().join(format!("bacalhau-logs-{}", uuid::Uuid::new_v4())));
    match fetch(result, &folder.0).await {
        Ok(files) => {
            for (is_stderr, file) in files {
                print_file(execution_id, is_stderr, &file, printer).await?;
            }
        }
        Err(error) => recorded(client, job, execution_id, &error, printer).await?,
    }
    printer.finish(Some(execution_id))
}

/// Downloads results and unpacks what was printed.
async fn fetch(result: &SpecConfig, folder: &Path) -> Result<Vec<(bool, PathBuf)>, Error> {
    let parts = download::plan(std::slice::from_ref(result), &[])
        .map_err(|_| fail(format!("results of type {} cannot be downloaded from here", result.r#type)))?;
    let part = parts.first().filter(|part| download::is_archive(&part.file));
    let part = part.ok_or_else(|| fail("the results are no archive, so they hold no output"))?;
    std::fs::create_dir(folder).map_err(|e| fail(format!("cannot create {}: {e}", folder.display())))?;
    let archive = folder.join("results.tar.gz");
    download::fetch(&part.url, &archive, &|_, _| {}).await?;
    let mut files = Vec::new();
    for (is_stderr, name) in [(false, "stdout"), (true, "stderr")] {
        let (archive, to) = (archive.clone(), folder.join(name));
        let file = to.join(name);
        let found =
            tokio::task::spawn_blocking(move || download::unpack_only(&archive, &to, Some(Path::new(name))))
                .await
                .map_err(|e| fail(format!("unpacking the results ended unexpectedly: {e}")))??;
        if found {
            files.push((is_stderr, file));
        }
    }
    Ok(files)
}

async fn print_file(
    execution_id: &str,
    is_stderr: bool,
    file: &Path,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let line = |bytes: &[u8]| LogLine {
        is_stderr,
        text: String::from_utf8_lossy(bytes).into_owned(),
        time: None,
        execution_id: execution_id.to_owned(),
    };
    let file = tokio::fs::File::open(file).await?;
    let mut reader = BufReader::new(file);
    let last_lines = printer.format().last_lines.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX));
    let (mut kept, mut bytes) = (VecDeque::new(), 0);
    let mut piece = Vec::new();
    // Line by line, so that no character is cut in two unless a line is very long.
    while (&mut reader).take(PIECE).read_until(b'\n', &mut piece).await? > 0 {
        let Some(most) = last_lines else {
            printer.print(&line(&piece))?;
            piece.clear();
            continue;
        };
        bytes += piece.len();
        kept.push_back(std::mem::take(&mut piece));
        while kept.len() > most || bytes > MOST_KEPT {
            bytes -= kept.pop_front().map_or(0, |oldest: Vec<u8>| oldest.len());
        }
    }
    kept.iter().try_for_each(|piece| printer.print(&line(piece)))
}

/// The first bytes of the output, which the execution record keeps.
async fn recorded(
    client: &Client,
    job: &str,
    execution_id: &str,
    why: &Error,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let query = ExecutionsQuery { without_job: true, ..ExecutionsQuery::default() };
    let page = client.executions(job, &query).await?;
    let found = page.items.into_iter().find(|execution| execution.id == execution_id);
    let output = found.map(|execution| execution.run_output).unwrap_or_default();
    let what = match (
        output.stdout.is_empty() && output.stderr.is_empty(),
        output.stdout_truncated || output.stderr_truncated,
    ) {
        (true, _) => "nothing of its output is left",
        (false, true) => "only the beginning of its output is left, in its record",
        (false, false) => "its output is left in its record",
    };
    let message = format!("execution {execution_id}: {}; {what}", why.message);
    printer.remark(&LogNote { message, execution_id: execution_id.to_owned(), ..LogNote::default() });
    for (is_stderr, text) in [(false, output.stdout), (true, output.stderr)] {
        if !text.is_empty() {
            printer.print(&LogLine { is_stderr, text, time: None, execution_id: execution_id.to_owned() })?;
        }
    }
    Ok(())
}
