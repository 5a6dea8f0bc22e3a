//! Lists of users, as `authorization` and accounts have them.

use std::collections::HashSet;

use super::error::ConfError;
use super::fields::{Item, items, wrong};
use super::permissions::permissions;
use super::value::{Node, Value};
use crate::auth::nkey::{PublicKey, Role};
use crate::auth::ways;
use crate::users::{NkeyUser, Permissions, User};

/// Users with passwords and users with nkeys, which one list mixes.
#[derive(Default)]
pub(super) struct Users {
    pub(super) users: Vec<User>,
    pub(super) nkeys: Vec<NkeyUser>,
}

impl Users {
    /// What those may do who have no permissions of their own.
    pub(super) fn set_defaults(&mut self, defaults: &Permissions) {
        for permissions in self
            .users
            .iter_mut()
            .map(|user| &mut user.permissions)
            .chain(self.nkeys.iter_mut().map(|user| &mut user.permissions))
        {
            permissions.get_or_insert_with(|| defaults.clone());
        }
    }
}

/// Reads `users: [ ... ]`. `taken` has the names in use anywhere in the configuration.
pub(super) fn users(item: &Item<'_>, taken: &mut HashSet<String>) -> Result<Users, ConfError> {
    let mut all = Users::default();
    for node in item.list()? {
        let Value::Map(map) = &node.value else {
            return Err(wrong(
                &node.place,
                item.key,
                format!("expected a map for a user, found {}", node.value.kind()),
            ));
        };
        let (mut name, mut password, mut nkey, mut own) = (None, None, None, None);
        let mut connection_types = Vec::new();
        for field in items(map) {
            match field.name.as_str() {
                "user" | "username" => name = Some(field.owned()?),
                "pass" | "password" => password = Some(field.owned()?),
                "nkey" => nkey = Some(public_key(&field)?),
                "permission" | "permissions" | "authorization" => own = Some(permissions(&field)?),
                "allowed_connection_types" | "connection_types" | "clients" => {
                    connection_types = kinds(&field)?;
                }
                "proxy_required" if field.boolean()? => return Err(field.unsupported()),
                "proxy_required" => {}
                _ => field.unknown()?,
            }
        }
        let refuse = |problem: String| Err(wrong(&node.place, item.key, problem));
        match (name.filter(|name| !name.is_empty()), nkey) {
            (None, None) => return refuse("a user needs a name (user) or a public key (nkey)".to_owned()),
            (name, Some(_)) if name.is_some() || password.is_some() => {
                return refuse("users with an nkey do not take a name or password".to_owned());
            }
            (_, Some(public_key)) => {
                take(node, item, &public_key, taken)?;
                all.nkeys.push(NkeyUser { public_key, permissions: own, connection_types });
            }
            (Some(name), None) => {
                take(node, item, &name, taken)?;
                let password = password.unwrap_or_default();
                all.users.push(User { name, password, permissions: own, connection_types });
            }
        }
    }
    Ok(all)
}

fn take(node: &Node, item: &Item<'_>, name: &str, taken: &mut HashSet<String>) -> Result<(), ConfError> {
    if taken.insert(name.to_owned()) {
        return Ok(());
    }
    Err(wrong(&node.place, item.key, format!("duplicate user {name:?}; names are unique in all accounts")))
}

/// Kinds of connections. An empty list allows all.
fn kinds(item: &Item<'_>) -> Result<Vec<String>, ConfError> {
    let all = item.texts()?;
    match all.iter().find(|kind| !ways::is_known(kind)) {
        Some(unknown) => {
            Err(item
                .wrong(format!("{unknown:?} is no kind of connection; there are {}", ways::KINDS.join(", "))))
        }
        None => Ok(all),
    }
}

/// A user's public key. It is not shown if it is none: it may be the private one.
fn public_key(item: &Item<'_>) -> Result<String, ConfError> {
    let text = item.text()?;
    PublicKey::parse(text, Role::User).ok_or_else(|| {
        item.wrong("is not a public nkey of a user; those begin with U and have 56 characters")
    })?;
    Ok(text.to_owned())
}
