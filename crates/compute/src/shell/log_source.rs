//! The logs of this node for the log streams of the wire.

use super::driver::Command;
use crate::executor::Executor;
use crate::logs::{LogChunk, LogStart, ReadOptions};
use bacalhau_model::Error;
use bacalhau_model::error::code;
use bacalhau_wire::bus::BoxFuture;
use bacalhau_wire::logs::{LogLine, LogLines, LogRequest, LogSource};
use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};

/// Output of executions that run, ran or will run.
pub(super) struct Logs {
    executor: Executor,
    commands: mpsc::Sender<Command>,
}

impl Logs {
    pub(super) fn new(executor: Executor, commands: mpsc::Sender<Command>) -> Logs {
        Logs { executor, commands }
    }

    async fn may_print(&self, execution_id: &str) -> bool {
        let (answer, answered) = oneshot::channel();
        let command = Command::MayPrint { execution_id: execution_id.to_owned(), answer };
        self.commands.send(command).await.is_ok() && answered.await.unwrap_or(false)
    }

    async fn lines(&self, request: LogRequest) -> Result<LogLines, Error> {
        let start = match (request.tail, request.last_lines) {
            (true, _) => LogStart::Now,
            (false, Some(lines)) => LogStart::LastLines(usize::try_from(lines).unwrap_or(usize::MAX)),
            (false, None) => LogStart::Beginning,
        };
        let options = ReadOptions { start, follow: request.follow };
        let logs = self.executor.logs();
        let mut reader = logs.read(&request.execution_id, options)?;
        if reader.is_none() {
            let expected = self.may_print(&request.execution_id).await;
            if expected {
                logs.expect(&request.execution_id);
            }
            // Also when it may not: it may have come, printed and gone since the first look.
            reader = logs.read(&request.execution_id, options)?;
            if expected && !self.may_print(&request.execution_id).await {
                // It ended before it was expected, so nothing else would end its readers.
                logs.end(&request.execution_id);
            }
        }
        let Some(reader) = reader else {
            // Over, and it printed nothing: an empty stream says just that.
            return Ok(futures_util::stream::empty().boxed());
        };
        let batches = reader.since(request.since).into_batches().map(|batch| {
            let batch = batch
                .map_err(|e| Error::new(code::INTERNAL_ERROR, format!("the log cannot be read: {e}")))?;
            let line = |chunk: LogChunk| LogLine {
                stream: chunk.stream.number(),
                time: chunk.time,
                text: chunk.bytes,
            };
            Ok(batch.into_iter().map(line).collect())
        });
        Ok(batches.boxed())
    }
}

impl LogSource for Logs {
    fn open(&self, request: LogRequest) -> BoxFuture<'_, Result<LogLines, Error>> {
        Box::pin(self.lines(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::ExecutorConfig;
    use crate::shell::runs::Runs;
    use std::time::Duration;

    /// The last output of a run is written, its log is closed, and only then does the core learn of the end. A reader
    /// that comes in between is told that there may be output.
    #[tokio::test]
    async fn a_reader_that_comes_between_the_end_and_its_news_ends_too() {
        let dir = tempfile::tempdir().unwrap();
        let executor = Executor::open(ExecutorConfig::new(dir.path())).await.unwrap();
        let (commands, mut waiting) = mpsc::channel(8);
        let mut runs = Runs::new(executor.clone(), commands.clone(), tokio::sync::watch::channel(None).1);
        let logs = Logs::new(executor, commands);
        let driver = tokio::spawn(async move {
            for _ in 0..2 {
                let Some(Command::MayPrint { answer, .. }) = waiting.recv().await else { panic!() };
                answer.send(true).unwrap();
            }
            runs.ended("e-1");
        });
        let request = LogRequest { execution_id: "e-1".into(), follow: true, ..LogRequest::default() };
        let lines = logs.lines(request).await.unwrap();
        let all = tokio::time::timeout(Duration::from_secs(10), lines.collect::<Vec<_>>()).await;
        assert_eq!(all.expect("the stream ends").len(), 0);
        driver.await.unwrap();
    }
}
