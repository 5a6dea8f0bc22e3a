//! Passwords and tokens that are not what they were, found by comparing two sets of options. A password and a hash of it
//! are the same secret: who writes hashes into his configuration does not cut anybody off.

use std::collections::{HashMap, HashSet};

use crate::options::Options;
use crate::users::User;

use super::secret::{Secret, is_bcrypt_of};

/// Hashes computed at most; they take some 50 ms each. Beyond that a hash counts as another secret.
const MAX_HASHES: usize = 64;

/// The secrets that were replaced.
#[derive(Default)]
pub(crate) struct Replaced {
    users: HashSet<String>,
    token: bool,
}

impl Replaced {
    /// What differs from `old` to `new`. Who is only in one of them is not looked at.
    pub(crate) fn between(old: &Options, new: &Options) -> Replaced {
        let mut hashes = MAX_HASHES;
        let known: HashMap<&str, &str> =
            all_users(old).map(|user| (user.name.as_str(), user.password.as_str())).collect();
        let differs = |user: &&User| {
            known.get(user.name.as_str()).is_some_and(|old| !is_same(old, &user.password, &mut hashes))
        };
        let users = all_users(new).filter(differs).map(|user| user.name.clone()).collect();
        let token = match (&old.token, &new.token) {
            (Some(old), Some(new)) => !is_same(old, new, &mut MAX_HASHES.clone()),
            _ => false,
        };
        Replaced { users, token }
    }

    /// These, too.
    pub(crate) fn add(&mut self, more: Replaced) {
        self.users.extend(more.users);
        self.token |= more.token;
    }

    /// Has this user another password?
    pub(crate) fn has_user(&self, name: &str) -> bool {
        self.users.contains(name)
    }

    /// Is the token another one?
    pub(crate) fn has_token(&self) -> bool {
        self.token
    }
}

fn all_users(options: &Options) -> impl Iterator<Item = &User> {
    options.users.iter().chain(options.accounts.iter().flat_map(|account| &account.users))
}

fn is_same(old: &str, new: &str, hashes: &mut usize) -> bool {
    if old == new {
        return true;
    }
    let is_hash = |text: &str| matches!(Secret::new(text), Ok(Secret::Bcrypt(_)));
    let (hash, plain) = match (is_hash(old), is_hash(new)) {
        (true, false) => (old, new),
        (false, true) => (new, old),
        // Two hashes of one password cannot be told from hashes of two.
        _ => return false,
    };
    let Some(left) = hashes.checked_sub(1) else { return false };
    *hashes = left;
    is_bcrypt_of(hash, plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::Account;

    #[test]
    fn a_hash_of_the_password_is_the_same_secret() {
        let hash = |text: &str| bcrypt::hash(text, 4).unwrap();
        let users = |list: &[(&str, &str)]| {
            let (one, rest) = list.split_first().unwrap();
            let accounts = vec![Account {
                name: "A".into(),
                users: rest.iter().map(|(name, password)| User::new(*name, *password)).collect(),
                nkeys: Vec::new(),
            }];
            Options { users: vec![User::new(one.0, one.1)], accounts, ..Options::default() }
        };
        let (good, bad) = (hash("p"), hash("q"));
        let old = users(&[("same", "p"), ("other", "p"), ("hashed", "p"), ("plain", &good), ("gone", "p")]);
        let new = users(&[("same", "p"), ("other", "q"), ("hashed", &good), ("plain", "p"), ("new", "p")]);
        let replaced = Replaced::between(&old, &new);
        assert_eq!(replaced.users, HashSet::from(["other".to_owned()]));
        let new = users(&[("same", "p"), ("hashed", &bad), ("plain", &hash("p"))]);
        let replaced = Replaced::between(&old, &new);
        assert!(replaced.has_user("hashed") && replaced.has_user("plain") && !replaced.has_user("same"));
    }

    #[test]
    fn tokens() {
        let with = |token: Option<&str>| Options { token: token.map(str::to_owned), ..Options::default() };
        assert!(Replaced::between(&with(Some("a")), &with(Some("b"))).has_token());
        assert!(!Replaced::between(&with(Some("a")), &with(Some("a"))).has_token());
        assert!(!Replaced::between(&with(Some("a")), &with(None)).has_token());
    }

    #[test]
    fn time_is_bounded() {
        let mut hashes = 0;
        assert!(!is_same("p", &bcrypt::hash("p", 4).unwrap(), &mut hashes));
    }
}
