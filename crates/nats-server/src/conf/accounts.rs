//! `accounts { NAME { users: [...] } }`, or a list of names.

use std::collections::HashSet;

use super::error::ConfError;
use super::fields::{Item, wrong};
use super::permissions::permissions;
use super::users::{Users, users};
use super::value::Value;
use crate::auth::GLOBAL_ACCOUNT;
use crate::users::Account;

/// Reads all accounts. The names of their users go to `taken`.
pub(super) fn accounts(item: &Item<'_>, taken: &mut HashSet<String>) -> Result<Vec<Account>, ConfError> {
    let mut accounts: Vec<Account> = Vec::new();
    let mut names = HashSet::new();
    if let Value::List(nodes) = &item.node.value {
        for node in nodes {
            let name = item.with(node).owned()?;
            check_name(&item.with(node), &name)?;
            if !names.insert(name.clone()) {
                return Err(wrong(&node.place, item.key, format!("duplicate account {name:?}")));
            }
            accounts.push(Account { name, ..Account::default() });
        }
        return Ok(accounts);
    }
    for field in item.items()? {
        check_name(&field, field.key)?;
        accounts.push(account(&field, taken)?);
    }
    Ok(accounts)
}

fn check_name(item: &Item<'_>, name: &str) -> Result<(), ConfError> {
    if name == GLOBAL_ACCOUNT {
        return Err(item.wrong("is a reserved account; choose another name"));
    }
    if name.is_empty() {
        return Err(item.wrong("an account has an empty name"));
    }
    Ok(())
}

fn account(item: &Item<'_>, taken: &mut HashSet<String>) -> Result<Account, ConfError> {
    let (mut all, mut defaults) = (Users::default(), None);
    for field in item.items()? {
        match field.name.as_str() {
            "users" => all = users(&field, taken)?,
            "default_permissions" => defaults = Some(permissions(&field)?),
            // The account's own public key; nothing is signed with it here.
            "nkey" => check_key(&field)?,
            "jetstream" if is_off(&field) => {}
            "imports" | "exports" | "mappings" | "maps" | "limits" | "jetstream" | "msg_trace"
            | "trace_dest" => return Err(field.unsupported()),
            _ => field.unknown()?,
        }
    }
    if let Some(defaults) = &defaults {
        all.set_defaults(defaults);
    }
    Ok(Account { name: item.key.to_owned(), users: all.users, nkeys: all.nkeys })
}

/// Is a feature switched off, so that it need not be there?
pub(super) fn is_off(item: &Item<'_>) -> bool {
    match &item.node.value {
        Value::Bool(value) => !value,
        Value::Text(text) => ["disabled", "disable"].iter().any(|word| text.eq_ignore_ascii_case(word)),
        _ => false,
    }
}

fn check_key(item: &Item<'_>) -> Result<(), ConfError> {
    let text = item.text()?;
    if text.len() == 56
        && text.starts_with('A')
        && data_encoding::BASE32_NOPAD.decode(text.as_bytes()).is_ok()
    {
        return Ok(());
    }
    Err(item.wrong("is not a public nkey of an account; those begin with A and have 56 characters"))
}
