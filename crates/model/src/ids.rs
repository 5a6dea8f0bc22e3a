//! Identifiers: a prefix letter and a UUIDv4, and their short form for tables.

use uuid::Uuid;

/// New job ID, `j-<uuid4>`.
pub fn new_job_id() -> String {
    format!("j-{}", Uuid::new_v4())
}

/// New execution ID, `e-<uuid4>`. One execution is one attempt, so this ID is also the fencing token of the attempt.
pub fn new_execution_id() -> String {
    format!("e-{}", Uuid::new_v4())
}

/// New node ID, `n-<uuid4>`.
pub fn new_node_id() -> String {
    format!("n-{}", Uuid::new_v4())
}

/// New evaluation ID, a bare UUIDv4 as Bacalhau 1.9 prints it.
pub fn new_evaluation_id() -> String {
    Uuid::new_v4().to_string()
}

/// An ID of the usual shape from 128 random bits of the caller's; for code that must not draw its own randomness.
pub fn from_random(prefix: &str, bits: u128) -> String {
    format!("{prefix}{}", uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid())
}

/// True for `x-<uuid>` and for a bare UUID: text that names exactly one thing and is never a prefix.
pub fn is_full_id(text: &str) -> bool {
    uuid_part(text).is_some()
}

/// Short form for people: prefix and the first eight hex digits. Text that is not an ID stays as it is.
///
/// ```
/// assert_eq!(bacalhau_model::ids::short("j-51225160-807e-4c1c-b3ab-5e2b0d9c9a11"), "j-51225160");
/// assert_eq!(bacalhau_model::ids::short("my-host"), "my-host");
/// ```
pub fn short(id: &str) -> &str {
    match uuid_part(id) {
        Some(start) => id.get(..start + 8).unwrap_or(id),
        None => id,
    }
}

/// Where the UUID starts: 0 for a bare one, 2 after a prefix letter.
fn uuid_part(text: &str) -> Option<usize> {
    let start = match text.as_bytes() {
        [letter, b'-', ..] if letter.is_ascii_alphabetic() => 2,
        _ => 0,
    };
    let rest = text.get(start..)?;
    (rest.len() == 36 && Uuid::try_parse(rest).is_ok()).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms() {
        let id = new_job_id();
        assert_eq!(short(&id).len(), 10);
        assert!(is_full_id(&id));
        assert_eq!(short(&new_evaluation_id()).len(), 8);
        for odd in ["", "j-", "x", "é-51225160", "n-12345678"] {
            assert_eq!(short(odd), odd);
            assert!(!is_full_id(odd));
        }
    }
}
