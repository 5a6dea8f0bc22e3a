//! How many connections the process may have.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Twice the connections that a server takes by default; programs that the process starts inherit the limit, and some of
/// them walk through all numbers up to it.
const ENOUGH: u64 = 131_072;

/// Raises the soft limit of open files to what the hard one allows, at most to 131,072, and gives what it is now. Shells and
/// service managers set it to 1,024 as a rule, for programs that do not know better; a server would have no room for its
/// 1,000th client.
///
/// # Errors
/// The system does not let it.
pub fn raise_file_limit() -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` is no limit.
    let wanted = maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    let Some(current) = current.filter(|current| *current < wanted) else {
        return Ok(current.unwrap_or(u64::MAX));
    };
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).map_err(|error| {
        io::Error::new(io::Error::from(error).kind(), format!("{current} open files at most: {error}"))
    })?;
    Ok(wanted)
}
