//! nkeys with their secret half: made, read, and used to sign.
//!
//! Text form of a seed: base 32 of two bytes that hold `S` and the role, the 32 secret bytes, and their checksum.

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::{Error, Role};
use crate::auth::nkey::{PublicKey, crc16, text_form};

/// The prefix that makes a seed start with `S`.
const SEED: u8 = 18 << 3;

/// A public nkey and its seed. The seed is wiped from memory at the end, and never printed.
pub struct KeyPair {
    role: Role,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
    public: String,
}

impl KeyPair {
    /// A new pair.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn generate(role: Role) -> Result<KeyPair, Error> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| Error::Random)?;
        KeyPair::from_bytes(role, seed)
    }

    /// Reads the text form of a seed (`SO...`, `SA...` or `SU...`).
    ///
    /// # Errors
    /// [`Error::Seed`].
    pub fn from_seed(text: &str) -> Result<KeyPair, Error> {
        let mut bytes =
            data_encoding::BASE32_NOPAD.decode(text.trim().as_bytes()).map_err(|_| Error::Seed)?;
        let parts = read(&bytes);
        bytes.fill(0);
        let (role, seed) = parts.ok_or(Error::Seed)?;
        KeyPair::from_bytes(role, seed)
    }

    pub(crate) fn from_bytes(role: Role, seed: [u8; 32]) -> Result<KeyPair, Error> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| Error::Seed)?;
        let key = pair.public_key().as_ref().try_into().map_err(|_| Error::Seed)?;
        Ok(KeyPair { role, seed, pair, public: PublicKey::new(key).to_text(role) })
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The text form of the public half: 56 characters.
    pub fn public_key(&self) -> &str {
        &self.public
    }

    /// The text form of the seed: 58 characters. Secret: never log it.
    pub fn seed(&self) -> String {
        let role = self.role as u8;
        text_form(&[SEED | (role >> 5), (role & 0b1_1111) << 3], &self.seed)
    }

    /// Signs; 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

fn read(bytes: &[u8]) -> Option<(Role, [u8; 32])> {
    let (body, sum) = bytes.split_last_chunk::<2>()?;
    let ([first, second], seed) = body.split_first_chunk::<2>()?;
    let role = ((first & 0b111) << 5) | ((second & 0b1111_1000) >> 3);
    let role = [Role::Operator, Role::Account, Role::User].into_iter().find(|known| *known as u8 == role)?;
    let good = first & 0b1111_1000 == SEED && crc16(body) == u16::from_le_bytes(*sum);
    good.then_some((role, seed.try_into().ok()?))
}

impl Drop for KeyPair {
    fn drop(&mut self) {
        self.seed.fill(0);
        // The compiler must not leave out a write that nobody reads.
        std::hint::black_box(&self.seed);
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair").field("public_key", &self.public).finish_non_exhaustive()
    }
}
