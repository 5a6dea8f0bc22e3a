//! `operator`, `resolver`, `resolver_preload`, `system_account`: trust in users that come with JWTs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use super::error::{ConfError, Place};
use super::fields::{Item, wrong};
use super::value::Value;
use crate::auth::SYSTEM_ACCOUNT;
use crate::options::{OperatorOptions, Options};

/// What every JWT begins with: `{"` in base 64.
const JWT_START: &str = "eyJ";
/// Bytes of a file with a JWT.
const MAX_FILE: u64 = 1024 * 1024;

/// The fields, until all are known.
#[derive(Default)]
pub(super) struct Operator {
    jwt: Option<String>,
    preload: Option<(Place, BTreeMap<String, String>)>,
    system_account: Option<(Place, String)>,
}

impl Operator {
    /// `operator`: the JWT, or the path of a file with it.
    pub(super) fn set_operator(&mut self, item: &Item<'_>) -> Result<(), ConfError> {
        let text = item.text()?;
        if text.starts_with(JWT_START) {
            self.jwt = Some(text.to_owned());
            return Ok(());
        }
        let unreadable =
            |reason| item.wrong(format!("is neither a JWT nor a file with one; {text:?}: {reason}"));
        let mut content = String::new();
        File::open(text)
            .and_then(|file| file.take(MAX_FILE).read_to_string(&mut content))
            .map_err(unreadable)?;
        // Such files have lines of dashes around the JWT.
        let jwt = content.lines().map(str::trim).find(|line| line.starts_with(JWT_START));
        self.jwt =
            Some(jwt.ok_or_else(|| item.wrong(format!("there is no JWT in the file {text:?}")))?.to_owned());
        Ok(())
    }

    /// `resolver`: only the one in memory.
    pub(super) fn set_resolver(item: &Item<'_>) -> Result<(), ConfError> {
        let Value::Text(text) = &item.node.value else { return Err(item.unsupported()) };
        let name = text.trim().to_ascii_lowercase();
        if name == "mem" || name == "memory" {
            return Ok(());
        }
        if name.starts_with("url") {
            return Err(item.unsupported());
        }
        Err(item.wrong("should be MEMORY"))
    }

    /// `resolver_preload { A...: "eyJ..." }`
    pub(super) fn set_preload(&mut self, item: &Item<'_>) -> Result<(), ConfError> {
        let mut preload = BTreeMap::new();
        for field in item.items()? {
            let jwt = field.text()?.trim();
            if !jwt.starts_with(JWT_START) || jwt.split('.').count() != 3 {
                return Err(field.wrong("is not the JWT of an account"));
            }
            preload.insert(field.key.to_owned(), jwt.to_owned());
        }
        self.preload = Some((item.place().clone(), preload));
        Ok(())
    }

    /// `system_account`
    pub(super) fn set_system_account(&mut self, item: &Item<'_>) -> Result<(), ConfError> {
        self.system_account = Some((item.place().clone(), item.owned()?));
        Ok(())
    }

    /// Puts what was found into the options.
    pub(super) fn finish(self, options: &mut Options) -> Result<(), ConfError> {
        if let Some(jwt) = self.jwt {
            options.operator = Some(OperatorOptions {
                jwt,
                resolver: self.preload.map(|(_, preload)| preload).unwrap_or_default(),
                system_account: self.system_account.map(|(_, name)| name),
            });
            return Ok(());
        }
        if let Some((place, _)) = self.preload.filter(|(_, preload)| !preload.is_empty()) {
            return Err(wrong(
                &place,
                "resolver_preload",
                "there is no operator who vouches for these accounts",
            ));
        }
        if let Some((place, name)) = self.system_account {
            if name != SYSTEM_ACCOUNT && !options.accounts.iter().any(|account| account.name == name) {
                return Err(wrong(&place, "system_account", format!("there is no account {name:?}")));
            }
            options.system_account = Some(name);
        }
        Ok(())
    }
}
