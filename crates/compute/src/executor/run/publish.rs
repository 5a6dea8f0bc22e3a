//! The results of one execution on their way to where the job wants them.

use super::super::{Failure, Finished, Phase, results};
use super::outcome::cannot_publish;
use super::{Ending, Run};
use crate::core::Start;
use crate::metrics::Stage;
use crate::publishers::Publisher;
use bacalhau_model::Task;
use bacalhau_model::event::topic;
use std::path::PathBuf;
use std::time::Instant;

impl Run<'_> {
    pub(super) async fn publish(
        &self,
        task: &Task,
        publisher: &dyn Publisher,
        mut finished: Finished,
    ) -> Result<Finished, Ending> {
        let began = Instant::now();
        if self.resume.start == Start::Publish {
            (self.context.phase)(Phase::Publishing);
        }
        let folder: PathBuf = results::folder(self.work);
        let published = tokio::select! {
            biased;
            () = self.context.cancel.cancelled() => {
                let failure = Failure::cancelled(topic::PUBLISHING_RESULTS);
                return Err(failure.with_output(finished.run_output).into());
            }
            () = self.resume.leave.cancelled() => {
                self.work.keep();
                return Err(Ending::Left);
            }
            published = publisher.publish(self.execution, &task.publisher, folder) => published,
        };
        self.executor.metrics().took(Stage::Publish, began.elapsed());
        finished.published_result = published.map_err(|error| cannot_publish(error, &finished.run_output))?;
        Ok(finished)
    }
}
