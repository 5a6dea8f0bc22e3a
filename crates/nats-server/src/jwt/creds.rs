//! Credentials files (`.creds`): a user's JWT and its seed between lines of dashes, as `nsc` writes them.

use super::{Error, KeyPair, Role, UserClaims};

/// Longest file read, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// A user's document and key.
pub struct Creds {
    jwt: String,
    keys: KeyPair,
}

impl Creds {
    /// Puts them together.
    ///
    /// # Errors
    /// The JWT is not a user's, or is about another key.
    pub fn new(jwt: String, keys: KeyPair) -> Result<Creds, Error> {
        if keys.role() != Role::User {
            return Err(Error::Creds("its seed is not that of a user (SU...)"));
        }
        let claims = UserClaims::decode(&jwt)?;
        // Whoever shows a bearer token signs nothing, so its file may have any seed.
        if claims.sub != keys.public_key() && !claims.nats.terms.bearer_token {
            return Err(Error::Creds("its JWT and its seed belong to different users"));
        }
        Ok(Creds { jwt, keys })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// A block is missing or damaged. The text tells nothing of what is in the file.
    pub fn parse(text: &str) -> Result<Creds, Error> {
        if text.len() > MAX_BYTES {
            return Err(Error::Creds("it is longer than any that a tool makes"));
        }
        let jwt = block(text, "JWT").ok_or(Error::Creds("there is no JWT between BEGIN and END lines"))?;
        let seed = block(text, "SEED").ok_or(Error::Creds("there is no seed between BEGIN and END lines"))?;
        Creds::new(jwt.to_owned(), KeyPair::from_seed(seed)?)
    }

    /// The file. Secret: write it where only its user can read it.
    pub fn to_text(&self) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             NKEY Seed printed below can be used to sign and prove identity.\n\
             NKEYs are sensitive and should be treated as secrets.\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n\n\
             *************************************************************\n",
            self.jwt,
            self.keys.seed()
        )
    }

    /// The document. For a bearer token it is a secret.
    pub fn jwt(&self) -> &str {
        &self.jwt
    }

    /// The key.
    pub fn keys(&self) -> &KeyPair {
        &self.keys
    }
}

impl std::fmt::Debug for Creds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Creds").field("user", &self.keys.public_key()).finish_non_exhaustive()
    }
}

/// The line after `---BEGIN ... KIND---`, if a line with END follows it. Any three or more dashes will do: tools differ.
fn block<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    let mark = |line: &str, word: &str| {
        let line = line.trim();
        let inner = line.trim_matches('-').trim();
        let dashed = line.starts_with("---") && line.ends_with("---");
        dashed && inner.starts_with(word) && inner.ends_with(kind)
    };
    let mut lines = text.lines().skip_while(|line| !mark(line, "BEGIN")).skip(1);
    let mut lines = lines.by_ref().filter(|line| !line.trim().is_empty());
    let content = lines.next()?.trim();
    lines.next().filter(|line| mark(line, "END")).map(|_| content)
}
