//! `authorization { ... }`: the users outside of accounts.

use std::collections::HashSet;

use super::error::ConfError;
use super::fields::Item;
use super::permissions::permissions;
use super::users::users;
use crate::options::Options;
use crate::users::User;

/// Reads the block into the options. `taken` has the users of accounts.
pub(super) fn authorization(
    item: &Item<'_>,
    options: &mut Options,
    taken: &mut HashSet<String>,
) -> Result<(), ConfError> {
    let (mut user, mut password, mut token, mut listed, mut defaults) = (None, None, None, None, None);
    for field in item.items()? {
        match field.name.as_str() {
            "user" | "username" => user = Some(field.owned()?),
            "pass" | "password" => password = Some(field.owned()?),
            "token" => token = Some(field.owned()?),
            "timeout" => {
                if let Some(timeout) = field.timeout()? {
                    options.auth_timeout = timeout;
                }
            }
            "users" => listed = Some(users(&field, taken)?),
            "default_permission" | "default_permissions" | "permissions" => {
                defaults = Some(permissions(&field)?);
            }
            "auth_callout" | "auth_hook" => return Err(field.unsupported()),
            "proxy_required" if field.boolean()? => return Err(field.unsupported()),
            "proxy_required" => {}
            _ => field.unknown()?,
        }
    }
    let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if is_given(&token) && (is_given(&user) || is_given(&password)) {
        return Err(item.wrong("cannot have a user/pass and a token"));
    }
    let has_users = listed.is_some() || !taken.is_empty();
    if has_users {
        if is_given(&user) {
            return Err(
                item.wrong("cannot have a single user/pass and a users array (or accounts with users)")
            );
        }
        if is_given(&token) {
            return Err(item.wrong("cannot have a token and a users array (or accounts with users)"));
        }
    }
    // Beside users it is a variable that their passwords refer to.
    if is_given(&password) && !is_given(&user) && !has_users {
        return Err(item.wrong("there is a password and no user; without a user everybody may connect"));
    }
    let mut listed = listed.unwrap_or_default();
    if let Some(defaults) = &defaults {
        listed.set_defaults(defaults);
    }
    if let Some(name) = user.filter(|name| !name.is_empty()) {
        listed.users.push(User::new(name, password.unwrap_or_default()));
    }
    // Who writes this block beside the users of the system means that nobody gets in without being one of those.
    options.closed = !taken.is_empty();
    options.token = token.filter(|token| !token.is_empty());
    options.users = listed.users;
    options.nkeys = listed.nkeys;
    Ok(())
}
