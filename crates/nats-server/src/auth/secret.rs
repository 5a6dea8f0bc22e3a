//! Stored passwords and tokens, and how an offered one is compared.

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

/// A password or token of the configuration.
#[derive(Clone)]
pub(crate) enum Secret {
    /// The digest of a plain one: comparing digests tells nothing about the secret, not even its length.
    Plain([u8; 32]),
    /// A bcrypt hash. Comparing takes some 50 ms on purpose, too long for the loop thread.
    Bcrypt(Box<str>),
}

impl Secret {
    /// `text` as it stands in a configuration: plain, or a bcrypt hash.
    ///
    /// # Errors
    /// It looks like a bcrypt hash and is none.
    pub(crate) fn new(text: &str) -> Result<Secret, String> {
        if !["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            return Ok(Secret::Plain(sha256(text)));
        }
        match text.parse::<bcrypt::HashParts>() {
            Ok(_) => Ok(Secret::Bcrypt(text.into())),
            Err(_) => Err("starts like a bcrypt hash and is none".to_owned()),
        }
    }

    /// Does a plain secret equal this offer? In constant time. `None`: it takes [`is_bcrypt_of`] to find out.
    pub(crate) fn equals(&self, offered: &str) -> Option<bool> {
        match self {
            Secret::Plain(digest) => Some(digest.ct_eq(&sha256(offered)).into()),
            Secret::Bcrypt(_) => None,
        }
    }
}

/// Slow on purpose. bcrypt looks at the first 72 bytes of a password.
pub(crate) fn is_bcrypt_of(hash: &str, offered: &str) -> bool {
    bcrypt::verify(offered, hash).unwrap_or(false)
}

fn sha256(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_bcrypt() {
        let plain = Secret::new("s3cr").unwrap();
        assert_eq!(
            (plain.equals("s3cr"), plain.equals("s3cre"), plain.equals("")),
            (Some(true), Some(false), Some(false))
        );
        // `bcrypt::hash("hush", 4)`; cost 4 keeps the test quick.
        let hash = bcrypt::hash("hush", 4).unwrap();
        assert_eq!(Secret::new(&hash).unwrap().equals("hush"), None);
        assert!(is_bcrypt_of(&hash, "hush") && !is_bcrypt_of(&hash, "hus"));
        assert!(Secret::new("$2a$x").is_err());
    }
}
