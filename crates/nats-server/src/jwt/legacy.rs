//! Documents as they were and as they are left out: brought into the one form that `claims` describes.

use serde_json::{Map, Value, json};

use super::NO_LIMIT;

/// Fields that the first version had beside `nats`.
const MOVED: [&str; 3] = ["type", "tags", "issuer_account"];
/// Limits that the first version did not have for users: absent must not become "none at all".
const USER_LIMITS: [&str; 3] = ["subs", "data", "payload"];

/// Brings claims of the first version into the form of the second.
pub(super) fn upgrade(claims: &mut Value, kind: &str) {
    let Some(claims) = claims.as_object_mut() else { return };
    let moved: Vec<(String, Value)> =
        MOVED.iter().filter_map(|field| Some(((*field).to_owned(), claims.remove(*field)?))).collect();
    let nats = claims.entry("nats").or_insert_with(|| json!({}));
    let Some(nats) = nats.as_object_mut() else { return };
    nats.extend(moved);
    nats.insert("version".to_owned(), json!(2));
    if kind == "user" {
        // There was a maximum of messages (`max`), which no server ever looked at.
        unlimited(nats);
    }
}

/// In the template of a scoped key an absent limit is none, while in the claims of a user or an account it is zero.
pub(super) fn complete(claims: &mut Value) {
    let Some(nats) = claims.get_mut("nats").and_then(Value::as_object_mut) else { return };
    nats.entry("limits").or_insert_with(|| json!({}));
    let keys = nats.get_mut("signing_keys");
    for key in keys.and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(scope) = key.as_object_mut() else { continue };
        let template = scope.entry("template").or_insert_with(|| json!({}));
        if let Some(template) = template.as_object_mut() {
            unlimited(template);
        }
    }
}

fn unlimited(map: &mut Map<String, Value>) {
    for field in USER_LIMITS {
        map.entry(field).or_insert_with(|| json!(NO_LIMIT));
    }
}
