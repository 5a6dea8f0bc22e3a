//! nkeys: ed25519 public keys in the text form of the NATS ecosystem, and signatures made with them.
//!
//! Text form: base 32 without padding of a prefix byte, 32 bytes of key and a CRC-16 (XMODEM, little end first) of
//! those. Source: the `nkeys` package of the NATS project.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, UnparsedPublicKey};

/// What a key is for; the value is the prefix byte, which makes the first letter of the text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Role {
    /// `A...`: signs for users.
    Account = 0,
    /// `O...`: signs for accounts.
    Operator = 14 << 3,
    /// `U...`: logs in.
    User = 20 << 3,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Account => "account",
            Role::Operator => "operator",
            Role::User => "user",
        })
    }
}

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads the text form; `None` if it is damaged or of another role.
    pub(crate) fn parse(text: &str, role: Role) -> Option<PublicKey> {
        let bytes = data_encoding::BASE32_NOPAD.decode(text.as_bytes()).ok()?;
        let (body, sum) = bytes.split_last_chunk::<2>()?;
        let (prefix, key) = body.split_first()?;
        let good = *prefix == role as u8 && crc16(body) == u16::from_le_bytes(*sum);
        good.then_some(PublicKey(key.try_into().ok()?))
    }

    /// The public half of a key pair.
    pub(crate) fn new(bytes: [u8; 32]) -> PublicKey {
        PublicKey(bytes)
    }

    /// The text form.
    pub(crate) fn to_text(self, role: Role) -> String {
        text_form(&[role as u8], &self.0)
    }

    /// Did the holder of this key sign `message`? The signature comes in base 64, of either alphabet.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &str) -> bool {
        let signature = signature.trim_end_matches('=');
        let decoded = URL_SAFE_NO_PAD.decode(signature).or_else(|_| STANDARD_NO_PAD.decode(signature));
        decoded.is_ok_and(|bytes| UnparsedPublicKey::new(&ED25519, self.0).verify(message, &bytes).is_ok())
    }
}

/// What a client has to sign: 11 random bytes as 15 characters, as the Go server does. `None` without randomness.
pub(crate) fn nonce() -> Option<Box<str>> {
    let mut bytes = [0; 11];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes).into())
}

/// Base 32 of a prefix, a key and their checksum.
pub(crate) fn text_form(prefix: &[u8], key: &[u8; 32]) -> String {
    let mut bytes = prefix.to_vec();
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&crc16(&bytes).to_le_bytes());
    let text = data_encoding::BASE32_NOPAD.encode(&bytes);
    // It may have been a seed.
    bytes.fill(0);
    text
}

/// The CRC-16 (XMODEM) of these bytes.
pub(crate) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    /// The text form of a key.
    pub(crate) fn text(role: Role, key: &[u8]) -> String {
        text_form(&[role as u8], key.try_into().unwrap())
    }

    /// A key pair made from one byte.
    pub(crate) fn pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    #[test]
    fn keys_of_the_ecosystem_are_read() {
        // From the tests of the Go server (auth_test.go).
        let known = "UC6NLCN7AS34YOJVCYD4PJ3QB7QGLYG5B5IMBT25VW5K4TNUJODM7BOX";
        assert!(PublicKey::parse(known, Role::User).is_some());
        assert!(PublicKey::parse(&known.replace("UC6", "UC7"), Role::User).is_none());
        assert!(PublicKey::parse(&known[1..], Role::User).is_none());
        assert!(PublicKey::parse("", Role::User).is_none());
    }

    #[test]
    fn only_the_holder_can_sign() {
        let (pair, other) = (pair(1), pair(2));
        let text = text(Role::User, pair.public_key().as_ref());
        assert!(text.starts_with('U') && text.len() == 56, "{text}");
        let key = PublicKey::parse(&text, Role::User).unwrap();
        let nonce = nonce().unwrap();
        assert_eq!(nonce.len(), 15);
        let sign = |pair: &Ed25519KeyPair| URL_SAFE_NO_PAD.encode(pair.sign(nonce.as_bytes()));
        assert!(key.has_signed(nonce.as_bytes(), &sign(&pair)));
        assert!(!key.has_signed(nonce.as_bytes(), &sign(&other)));
        assert!(!key.has_signed(b"another nonce", &sign(&pair)));
        assert!(!key.has_signed(nonce.as_bytes(), "not base 64 !"));
    }
}
