//! Names for inboxes: the subjects on which answers come back.
//!
//! Whoever can guess an inbox can forge the answers in it, so these names come from the system's secure randomness.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A `nuid`: 22 base-62 characters with 122 random bits, one subject token.
pub fn nuid() -> String {
    base62(uuid::Uuid::new_v4().as_u128(), 22)
}

/// A token of 8 base-62 characters, as log streams have it.
pub fn token8() -> String {
    base62(uuid::Uuid::new_v4().as_u128() >> 64, 8)
}

/// The lowest `len` digits of a number.
pub(crate) fn base62(mut number: u128, len: usize) -> String {
    let mut text = String::with_capacity(len);
    for _ in 0..len {
        let digit = usize::try_from(number % 62).unwrap_or(0);
        text.push(DIGITS.get(digit).copied().unwrap_or(b'0').into());
        number /= 62;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_tokens_of_fixed_length() {
        for (name, len) in [(nuid(), 22), (token8(), 8), (base62(u128::MAX, 22), 22), (base62(0, 3), 3)] {
            assert_eq!(name.len(), len);
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()));
        }
        assert_ne!(nuid(), nuid());
    }
}
