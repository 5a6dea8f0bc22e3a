//! What a client asks of a log stream. The first five parameters are Bacalhau 1.9's, the others are additions.

use crate::server::input::Input;
use crate::server::jobs::versions_of;
use crate::server::reply::{Failure, bad_request};
use bacalhau_model::Time;
use bacalhau_store::orchestrator::Versions;

/// The parameters of a request.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) namespace: String,
    /// Full ID of one execution; empty for the server's choice.
    pub(super) execution_id: String,
    /// Go on until the execution ends, or the job where all executions are asked for.
    pub(super) follow: bool,
    /// Only what is printed from now on.
    pub(super) tail: bool,
    pub(super) versions: Versions,
    /// All executions at once, and with `follow` those to come.
    pub(super) all: bool,
    /// Earlier attempts as well.
    pub(super) all_attempts: bool,
    /// Only so many of the last lines of each execution.
    pub(super) last_lines: Option<u64>,
    /// Only what was printed since then, nanoseconds since 1970; 0 for all.
    pub(super) since: i64,
    /// Frames say of which execution they are and when it was printed, and there are frames with remarks.
    pub(super) details: bool,
    /// Every piece of output has a frame and a time of its own.
    pub(super) timestamps: bool,
    /// The client's first message says how far it has read each execution.
    pub(super) resume: bool,
}

impl Wish {
    pub(super) fn of(input: &Input) -> Result<Wish, Failure> {
        let last_lines = input.text("tail_lines")?;
        let since = input.text("since")?;
        let wish = Wish {
            namespace: input.text("namespace")?,
            execution_id: input.text("execution_id")?,
            follow: input.boolean("follow")?,
            tail: input.boolean("tail")?,
            versions: versions_of(input)?,
            all: input.boolean("all_executions")?,
            all_attempts: input.boolean("all_attempts")?,
            last_lines: if last_lines.is_empty() { None } else { Some(input.number("tail_lines")?) },
            since: match since.as_str() {
                "" => 0,
                text => Time::parse(text).map_err(|e| bad_request(format!("since: {e}")))?.unix_nanos(),
            },
            details: input.boolean("details")?,
            timestamps: input.boolean("timestamps")?,
            resume: input.boolean("resume")?,
        };
        Ok(Wish { all: wish.all && wish.execution_id.is_empty(), ..wish })
    }

    /// Everything there is, from the first byte.
    pub(super) fn is_whole(&self) -> bool {
        !self.tail && self.last_lines.is_none() && self.since == 0
    }
}
