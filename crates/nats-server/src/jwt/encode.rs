//! Making documents.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA512_256, digest};

use super::claims::{Body, Claims};
use super::token::{HEADER, MAX_BYTES, VERSION};
use super::{Error, KeyPair};
use crate::auth::nkey::PublicKey;

impl<T: Body> Claims<T> {
    /// Signs the claims: the document in text form. `iss`, `jti`, type and version are set here, and `iat` if it is 0.
    ///
    /// # Errors
    /// The signer or the subject has the wrong role, or the document would be too long to be read.
    pub fn sign(mut self, signer: &KeyPair) -> Result<String, Error> {
        let wrong =
            |field, found: &str, expected| Error::WrongKey { field, found: found.to_owned(), expected };
        if signer.role() != T::ISSUER {
            return Err(wrong("issuer", signer.public_key(), T::ISSUER));
        }
        if PublicKey::parse(&self.sub, T::SUBJECT).is_none() {
            return Err(wrong("subject", &self.sub, T::SUBJECT));
        }
        if self.iat == 0 {
            // A clock before 1970 is refused by nobody: the document is then simply very old.
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.iat = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        }
        self.iss = signer.public_key().to_owned();
        self.jti = String::new();
        let common = self.nats.common();
        common.kind = T::SUBJECT.to_string();
        common.version = VERSION;
        let plain = to_json(&self)?;
        self.jti = data_encoding::BASE32_NOPAD.encode(digest(&SHA512_256, &plain).as_ref());
        let payload = to_json(&self)?;
        let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(payload));
        let signature = URL_SAFE_NO_PAD.encode(signer.sign(token.as_bytes()));
        token.push('.');
        token.push_str(&signature);
        if token.len() > MAX_BYTES {
            return Err(Error::TooLong { found: token.len(), most: MAX_BYTES });
        }
        Ok(token)
    }
}

fn to_json<T: Body>(claims: &Claims<T>) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(claims).map_err(|error| Error::malformed(error.to_string()))
}
