//! How a command ends when it does not end well.

use bacalhau_model::Error;

/// Why a command stops early. `main` turns it into text and an exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something to tell the user; exit code 1.
    Error(Box<Error>),
    /// Nothing (more) to say; end with this code.
    Exit(u8),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(Box::new(error))
    }
}

impl From<std::io::Error> for Failure {
    /// Failures of writing to standard output. A reader that went away (`| head`) is no error.
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::Exit(0),
            _ => Error::plain(format!("cannot write the output: {error}")).into(),
        }
    }
}

/// What every command returns.
pub(crate) type Outcome = Result<(), Failure>;

/// An error without code: what was tried and what was found.
pub(crate) fn fail(message: impl Into<String>) -> Error {
    Error::plain(message)
}
