//! `$SYS.REQ.USER.INFO`: tells a user who it is and what it may do. Nothing about anybody else.

use std::time::Duration;

use serde::Serialize;

use crate::users::Permissions;

use super::answers::envelope;
use super::server::{ServerBlock, written};

/// What a user learns of itself.
pub(crate) struct UserInfo<'a> {
    pub(crate) user: &'a str,
    pub(crate) account: &'a str,
    pub(crate) account_name: &'a str,
    pub(crate) user_name: Option<&'a str>,
    pub(crate) permissions: Option<Permissions>,
    /// In operator mode lists are told that are empty.
    pub(crate) is_operator_mode: bool,
    /// Time left.
    pub(crate) expires: Option<Duration>,
}

#[derive(Serialize)]
struct Data<'a> {
    user: &'a str,
    account: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    account_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<Written>,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u128>,
}

#[derive(Serialize)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    publish: Option<Rules>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribe: Option<Rules>,
    #[serde(skip_serializing_if = "Option::is_none")]
    responses: Option<Responses>,
}

#[derive(Serialize)]
struct Rules {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deny: Vec<String>,
}

#[derive(Serialize)]
struct Responses {
    max: u64,
    ttl: u128,
}

/// The answer.
pub(crate) fn user_info(block: &ServerBlock, time: String, info: UserInfo<'_>) -> Vec<u8> {
    let data = Data {
        user: info.user,
        account: info.account,
        account_name: info.account_name,
        user_name: info.user_name,
        permissions: info.permissions.map(|given| permissions(given, info.is_operator_mode)),
        expires: info.expires.map(|left| left.as_nanos()),
    };
    envelope(block, time, "data", &written(&data))
}

fn permissions(given: Permissions, with_empty: bool) -> Written {
    let rules = |rules: crate::users::Rules| {
        let rules = Rules { allow: rules.allow.unwrap_or_default(), deny: rules.deny };
        Some(rules).filter(|rules| with_empty || !rules.allow.is_empty() || !rules.deny.is_empty())
    };
    Written {
        publish: rules(given.publish),
        subscribe: rules(given.subscribe),
        responses: given
            .allow_responses
            .map(|rule| Responses { max: rule.max, ttl: rule.expires.as_nanos() }),
    }
}
