//! How a container ended or failed to start, in words.

use super::daemon::Connected;
use super::errors;
use bacalhau_model::Error;
use bollard::errors::Error as DockerError;
use bollard::models::{ContainerState, ContainerStateStatusEnum};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::time::Duration;

/// How long word of a kill for want of memory may come after the end of the container: both reach Docker on different
/// ways, and its state has only what came first. Waited for only when a limited container failed.
const OOM_NEWS: Duration = Duration::from_millis(100);
const OOM_NEWS_KILLED: Duration = Duration::from_millis(300);

/// How long Docker may take to tell what it remembers.
const MEMORY: Duration = Duration::from_millis(500);

/// Exit codes of a process ended by SIGKILL and by SIGTERM, and that of a container whose end Docker did not see.
const KILLED: i64 = 137;
const TERMINATED: i64 = 143;
const UNKNOWN: i64 = 255;

/// It, or a part of it, wanted more memory than it may have.
pub(super) fn out_of_memory() -> Error {
    Error::new("OutOfMemory", "memory limit exceeded")
        .component(errors::COMPONENT)
        .hint("Ask for more memory in the task's Resources, or have the program use less")
        .fails_execution()
}

/// Whether a container that ended while the node was away was ended with the machine or with Docker itself, so that its
/// exit code says nothing of its work. Docker does not tell; but it was ended by a signal (or nobody knows how, 255), and
/// the daemon that remembers its start is another one. Where Docker has forgotten the start of a container because many
/// others started since, this may be wrong of one that a signal ended; its work is done again then.
pub(super) async fn ended_with_its_daemon(daemon: &Connected, id: &str, state: &ContainerState) -> bool {
    let is_over =
        matches!(state.status, Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD));
    let by_signal = state.exit_code.is_some_and(|code| [KILLED, TERMINATED, UNKNOWN].contains(&code));
    if !is_over || !by_signal || state.oom_killed == Some(true) {
        return false;
    }
    let filters = HashMap::from([
        ("container".to_owned(), vec![id.to_owned()]),
        ("event".to_owned(), vec!["start".to_owned()]),
    ]);
    let options = EventsOptionsBuilder::new().since("1").filters(&filters).build();
    let mut news = Box::pin(daemon.docker.events(Some(options)));
    !matches!(tokio::time::timeout(MEMORY, news.next()).await, Ok(Some(Ok(_))))
}

/// Somebody else removed the container.
pub(super) fn removed() -> Error {
    Error::new("NotFound", "the container was removed while it ran")
        .component(errors::COMPONENT)
        .hint(
            "Somebody or something removed it from Docker on the compute node; containers with the label \
               bacalhau-executor belong to the node",
        )
        .retryable()
}

/// Whether a container that has ended, or a part of it, was killed for want of memory.
pub(super) async fn was_out_of_memory(
    daemon: &Connected,
    id: &str,
    exit_code: i64,
    limited: bool,
) -> Result<bool, Error> {
    let found = daemon.docker.inspect_container(id, None).await.map_err(|error| {
        if errors::is_not_found(&error) {
            return removed().fails_execution();
        }
        errors::explain("the Docker daemon went away when the container ended", &error).fails_execution()
    })?;
    let state = found.state.unwrap_or_default();
    if matches!(state.status, Some(ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD)) {
        return Err(removed().fails_execution());
    }
    if state.oom_killed == Some(true) || exit_code == 0 || !limited {
        return Ok(state.oom_killed == Some(true));
    }
    let wait = if exit_code == KILLED { OOM_NEWS_KILLED } else { OOM_NEWS };
    let filters = HashMap::from([
        ("container".to_owned(), vec![id.to_owned()]),
        ("event".to_owned(), vec!["oom".to_owned()]),
    ]);
    // From the beginning: what was told before is told again.
    let options = EventsOptionsBuilder::new().since("1").filters(&filters).build();
    let mut news = Box::pin(daemon.docker.events(Some(options)));
    Ok(matches!(tokio::time::timeout(wait, news.next()).await, Ok(Some(Ok(_)))))
}

/// Why a container does not start, in words.
pub(super) fn start_failed(error: &DockerError) -> Error {
    let what = "failed to start container";
    let mut explained = errors::explain(what, error);
    let text = explained.message.clone();
    if let Some(short) = unusable_program(&text) {
        explained.message = format!("{what}: {short}");
        return explained
            .fails_execution()
            .hint("Correct the job's Entrypoint or Parameters, or use an image that has the program");
    }
    if text.contains("port is already allocated") || text.contains("address already in use") {
        return explained
            .retryable()
            .hint("Another program on the compute node uses the port; let the node choose one");
    }
    explained
}

/// What is wrong with the program that was to run. The runtime's message is a chain of wrappings around
/// `exec: "<program>": <reason>`.
fn unusable_program(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("exec: \"")?;
    let (program, reason) = rest.split_once("\": ")?;
    if reason.contains("executable file not found") {
        return Some(format!("executable file not found in $PATH: {program:?}"));
    }
    if reason.contains("no such file or directory") {
        return Some(format!("executable file not found: {program:?}"));
    }
    reason.contains("permission denied").then(|| format!("permission denied: {program:?} cannot be executed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtimes_words_become_short() {
        let runc = "OCI runtime create failed: container_linux.go:380: starting container process caused: ";
        let find = |end: &str| unusable_program(&format!("{runc}{end}: unknown"));
        assert_eq!(
            find("exec: \"nope\": executable file not found in $PATH").unwrap(),
            "executable file not found in $PATH: \"nope\""
        );
        assert_eq!(
            find("exec: \"/x\": stat /x: no such file or directory").unwrap(),
            "executable file not found: \"/x\""
        );
        assert_eq!(
            find("exec: \"/x\": permission denied").unwrap(),
            "permission denied: \"/x\" cannot be executed"
        );
        assert_eq!(find("something else"), None);
    }
}
