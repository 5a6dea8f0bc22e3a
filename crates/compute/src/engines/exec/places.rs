//! Where a task's data may lie in what it sees of the host.
//!
//! Only where the host has nothing: nothing is made on the host, nothing of it is hidden from the task, and no program
//! of it can be replaced by the task's own.

use super::error;
use bacalhau_model::Error;
use std::fs;
use std::path::Path;

/// Checks a place: an absolute, normalised path. Blocks briefly.
pub(super) fn check(place: &str) -> Result<(), Error> {
    let path = Path::new(place);
    let refuse = |why: String| {
        Err(error(format!("{place} cannot be a place for the task's data: {why}"))
            .hint("Use a path below a folder that hosts do not have, such as /inputs/data or /outputs"))
    };
    let mut parents: Vec<&Path> = path.ancestors().collect();
    parents.reverse();
    match parents.get(1) {
        None => return refuse("it is the root".to_owned()),
        // The task's own folder, empty when it starts.
        Some(top) if *top == Path::new("/tmp") && path != *top => return Ok(()),
        Some(top) if *top == path && path == Path::new("/tmp") => {
            return refuse("/tmp is the task's own folder for temporary files".to_owned());
        }
        Some(_) => {}
    }
    let exists = |path: &Path| fs::symlink_metadata(path).is_ok();
    if exists(path) {
        let is_empty_folder = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
            && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        return if is_empty_folder { Ok(()) } else { refuse("the node has something there".to_owned()) };
    }
    match parents.into_iter().skip(1).rev().find(|parent| exists(parent)) {
        None => Ok(()),
        Some(parent) => {
            refuse(format!("the node has a folder {}, and nothing can be made in it", parent.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_the_host_has_nothing() {
        for place in ["/bacalhau-no-such-folder", "/bacalhau-no-such-folder/a/b", "/tmp/x", "/tmp/x/y"] {
            check(place).unwrap();
        }
        for (place, why) in [
            ("/", "the root"),
            ("/tmp", "own folder"),
            ("/bin", "something there"),
            ("/usr/bin", "something there"),
            ("/etc/passwd", "something there"),
            ("/usr/no-such-folder/x", "a folder /usr"),
            ("/bin/no-such-file", "a folder /bin"),
        ] {
            let message = check(place).unwrap_err().message;
            assert!(message.contains(why), "{place}: {message}");
        }
    }

    #[test]
    fn an_empty_folder_is_as_good() {
        let dir = tempfile::tempdir_in("/var").unwrap();
        check(dir.path().to_str().unwrap()).unwrap();
    }
}
