//! What can be wrong with a document, a key or a credentials file. No text holds a secret.

use super::Role;

/// Errors of reading and making JWTs, nkeys and credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Longer than any document of its kind.
    #[error("the JWT has {found} bytes, more than the {most} that are read")]
    TooLong {
        /// Bytes given.
        found: usize,
        /// Bytes allowed.
        most: usize,
    },
    /// Not in the form of a JWT, or not with the content that it must have.
    #[error("not a valid JWT: {0}")]
    Malformed(String),
    /// Another kind of document.
    #[error("found a JWT for {found:?} where one for an {expected} is needed")]
    Kind {
        /// What it says it is.
        found: String,
        /// What is needed.
        expected: Role,
    },
    /// Signed with a key that may not sign this, or about a key of another kind.
    #[error("the {field} of the JWT is {found:?}, which is not the public nkey of an {expected}")]
    WrongKey {
        /// `issuer` or `subject`.
        field: &'static str,
        /// The text found.
        found: String,
        /// The role that it must have.
        expected: Role,
    },
    /// The signature is not the issuer's.
    #[error("the signature of the JWT is not that of its issuer; it was changed, or copied incompletely")]
    Signature,
    /// The seed is damaged or of an unknown kind.
    #[error(
        "the nkey seed is damaged: a seed has 58 characters and starts with SO, SA or SU; copy it again from where it \
         was made"
    )]
    Seed,
    /// The credentials file lacks something.
    #[error("not a credentials file: {0}")]
    Creds(&'static str),
    /// The system gave no random bytes.
    #[error("no random bytes from the system; no key can be made")]
    Random,
}

impl Error {
    /// With the reason, which may quote the document; no more of it than helps.
    pub(crate) fn malformed(problem: impl Into<String>) -> Error {
        let mut problem = problem.into();
        if let Some((end, _)) = problem.char_indices().nth(300) {
            problem.truncate(end);
        }
        Error::Malformed(problem)
    }
}
