//! `permissions { publish: ..., subscribe: ..., allow_responses: ... }`

use std::time::Duration;

use super::error::ConfError;
use super::fields::Item;
use super::value::Value;
use crate::permissions::Compiled;
use crate::users::{AllowResponses, Permissions, Rules};

/// What a user may do.
pub(super) fn permissions(item: &Item<'_>) -> Result<Permissions, ConfError> {
    let mut permissions = Permissions::default();
    for field in item.items()? {
        match field.name.as_str() {
            "pub" | "publish" | "import" => permissions.publish = rules(&field)?,
            "sub" | "subscribe" | "export" => permissions.subscribe = rules(&field)?,
            "publish_allow_responses" | "allow_responses" => permissions.allow_responses = responses(&field)?,
            _ => field.unknown()?,
        }
    }
    // Finds subjects that no message can have.
    Compiled::new(&permissions).map_err(|problem| item.wrong(problem))?;
    Ok(permissions)
}

/// Subjects, or lists of those allowed and denied.
fn rules(item: &Item<'_>) -> Result<Rules, ConfError> {
    if !matches!(item.node.value, Value::Map(_)) {
        return Ok(Rules { allow: Some(allowed(item)?), deny: Vec::new() });
    }
    let mut rules = Rules::default();
    for field in item.items()? {
        match field.name.as_str() {
            "allow" => rules.allow = Some(allowed(&field)?),
            "deny" => rules.deny = field.texts()?,
            _ => field.unknown()?,
        }
    }
    Ok(rules)
}

/// Other NATS servers take an empty list for "everything", where it looks like "nothing".
fn allowed(item: &Item<'_>) -> Result<Vec<String>, ConfError> {
    let subjects = item.texts()?;
    if subjects.is_empty() {
        return Err(item.wrong(
            "an empty list is ambiguous; leave it away to allow everything, or deny \">\" to allow nothing",
        ));
    }
    Ok(subjects)
}

fn responses(item: &Item<'_>) -> Result<Option<AllowResponses>, ConfError> {
    match item.node.value {
        Value::Bool(true) => return Ok(Some(AllowResponses::default())),
        Value::Bool(false) => return Ok(None),
        Value::Map(_) => {}
        _ => return Err(item.wrong("expected a boolean or a map")),
    }
    let mut responses = AllowResponses::default();
    for field in item.items()? {
        match field.name.as_str() {
            // Below zero is no limit, zero the default.
            "max" | "max_msgs" | "max_messages" | "max_responses" => match field.integer()? {
                0 => {}
                value => responses.max = u64::try_from(value).unwrap_or(0),
            },
            "expires" | "expiration" | "ttl" => match field.signed_duration()? {
                (_, true) => responses.expires = Duration::ZERO,
                (expires, false) if !expires.is_zero() => responses.expires = expires,
                _ => {}
            },
            _ => field.unknown()?,
        }
    }
    Ok(Some(responses))
}
