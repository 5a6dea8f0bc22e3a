//! What the end of a container means for its execution. Pure.

use super::error;
use crate::engines::EngineError;
use crate::engines::supervisor::End;
use bacalhau_model::Error;

/// Exit code of a program that a signal ended: this and the signal's number, as shells tell it.
const SIGNAL_BASE: i64 = 128;

/// Exit code of a program that was killed (`128 + SIGKILL`).
const KILLED: i64 = 137;

/// `out_of_memory` is the limit, if the kernel killed something for it; `words` are the runtime's.
pub(super) fn outcome(
    end: Option<End>,
    out_of_memory: Option<u64>,
    words: Option<String>,
) -> Result<i64, EngineError> {
    let code = match end {
        Some(End::NotStarted(why)) => return Err(EngineError::not_started(cannot_start(why.or(words)))),
        Some(End::Ended { code: Some(code), .. }) => i64::from(code),
        Some(End::Ended { signal: Some(signal), .. }) => SIGNAL_BASE.saturating_add(i64::from(signal)),
        Some(End::Ended { .. }) | None => {
            let error = error("how the container ended is not known: its supervisor is gone");
            return Err(EngineError::Failed { exit_code: None, error: error.fails_execution().retryable() });
        }
    };
    match out_of_memory {
        Some(limit) if code != 0 => Err(too_much_memory(code, limit)),
        _ => Ok(code),
    }
}

fn cannot_start(words: Option<String>) -> Error {
    let words = words.unwrap_or_else(|| "the runtime does not say why".to_owned());
    // "runc run failed: unable to start container process: " says nothing more.
    let reason = words.rsplit_once("container process: ").map_or(words.as_str(), |(_, reason)| reason);
    error(format!("failed to start container: {reason}"))
        .hint("Check Entrypoint, Parameters and WorkingDirectory, and that the program is in the image")
}

fn too_much_memory(code: i64, limit: u64) -> EngineError {
    let error = error(format!("memory limit exceeded: the container may use {limit} bytes"))
        .hint("Ask for more memory in the task's Resources, or have the program use less")
        .fails_execution();
    EngineError::Failed { exit_code: Some(if code < 0 { KILLED } else { code }), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        let ended = |code, signal| Some(End::Ended { code, signal });
        assert_eq!(outcome(ended(Some(3), None), None, None).unwrap(), 3);
        assert_eq!(outcome(ended(None, Some(15)), None, None).unwrap(), 143);
        assert_eq!(outcome(ended(Some(0), None), Some(1), None).unwrap(), 0);
        let failed = |end, memory, words: Option<&str>| match outcome(end, memory, words.map(str::to_owned))
            .unwrap_err()
        {
            EngineError::Failed { exit_code, error } => (exit_code, error.message),
            other => panic!("{other:?}"),
        };
        let (code, message) = failed(ended(None, Some(9)), Some(64), None);
        assert_eq!((code, message.starts_with("memory limit exceeded")), (Some(137), true));
        let words = "runc run failed: unable to start container process: exec: \"x\": not found";
        let (code, message) = failed(Some(End::NotStarted(None)), None, Some(words));
        assert_eq!((code, message.as_str()), (None, "failed to start container: exec: \"x\": not found"));
        let (code, message) = failed(None, None, None);
        assert_eq!((code, message.contains("not known")), (None, true));
    }
}
