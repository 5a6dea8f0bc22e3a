//! Another book of users takes the place of this one while connections are open: accounts keep their numbers, and each
//! connection is looked up again. Nobody shows anything a second time, so what a connection has proved is compared with
//! what it would have to prove now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::nkey::{PublicKey, Role};
use super::operator::ConnectionType;
use super::replaced::Replaced;
use super::{Authenticator, Identity};

/// A connection, as it was let in.
pub(crate) struct Member<'a> {
    pub(crate) user: &'a str,
    pub(crate) account: u32,
    /// It has shown something.
    pub(crate) has_proved: bool,
    /// How it has come.
    pub(crate) by: ConnectionType,
}

/// What becomes of a connection.
#[derive(Debug)]
pub(crate) enum Standing {
    /// It is this one from now on.
    Stays(Identity),
    /// There is no such user any more, or it is in another account.
    Gone,
    /// What it has shown is not enough any more.
    Refused,
}

impl Authenticator {
    /// Gives the accounts the numbers that they have in `old`, and new ones to those that are not there. Accounts that
    /// are not here any more keep theirs: nobody else gets them, so nobody hears what was meant for them.
    pub(crate) fn keep_numbers(&mut self, old: &Authenticator) {
        let mut names = old.accounts.clone();
        let known: HashMap<Arc<str>, usize> = names.iter().cloned().zip(0..).collect();
        let mut numbers = Vec::with_capacity(self.accounts.len());
        for name in &self.accounts {
            let number = known.get(name).copied().unwrap_or(names.len());
            if number == names.len() {
                names.push(Arc::clone(name));
            }
            numbers.push(u32::try_from(number).unwrap_or(0));
        }
        let renumber = |identity: &mut Identity| {
            identity.account = numbers.get(identity.account as usize).copied().unwrap_or(0);
        };
        self.users.values_mut().for_each(|(_, identity)| renumber(identity));
        self.nkeys.values_mut().for_each(renumber);
        self.nobody.iter_mut().for_each(renumber);
        self.system = self.system.and_then(|number| numbers.get(number as usize)).copied();
        if let Some(operator) = &mut self.operator {
            operator.renumber(&names);
        }
        let present: HashSet<u32> = numbers.into_iter().collect();
        self.retired = (0..).zip(&names).map(|(number, _)| number).filter(|n| !present.contains(n)).collect();
        self.accounts = names;
    }

    /// Is there an account with this number?
    pub(crate) fn has_account(&self, number: u32) -> bool {
        !self.retired.contains(&number)
    }

    /// What becomes of a connection. Not for operator mode. The accounts must have their numbers.
    pub(crate) fn standing(&self, member: &Member<'_>, replaced: &Replaced) -> Standing {
        if member.user.is_empty() {
            return self.nameless(member.has_proved, replaced);
        }
        let by_password = self.users.get(member.user).map(|(_, identity)| identity);
        let key = PublicKey::parse(member.user, Role::User);
        let Some(identity) = by_password.or_else(|| self.nkeys.get(&key?)) else { return Standing::Gone };
        if identity.account != member.account {
            return Standing::Gone;
        }
        if !self.ways.allow(member.user, member.by) {
            return Standing::Refused;
        }
        match by_password.is_some() && replaced.has_user(member.user) {
            true => Standing::Refused,
            false => Standing::Stays(identity.clone()),
        }
    }

    /// Those with the token, and those who had nothing to show.
    fn nameless(&self, has_token: bool, replaced: &Replaced) -> Standing {
        if has_token && self.token.is_some() && !replaced.has_token() {
            return Standing::Stays(Identity { account: 0, user: "".into(), permissions: None, pass: None });
        }
        match &self.nobody {
            Some(nobody) if nobody.user.is_empty() => Standing::Stays(nobody.clone()),
            _ => Standing::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::users::{Account, User};

    fn account(name: &str, users: &[&str]) -> Account {
        let users = users.iter().map(|user| User::new(*user, "p")).collect();
        Account { name: name.into(), users, nkeys: Vec::new() }
    }

    fn with(accounts: Vec<Account>) -> Options {
        Options { accounts, ..Options::default() }
    }

    fn member<'a>(user: &'a str, account: u32) -> Member<'a> {
        Member { user, account, has_proved: true, by: ConnectionType::Standard }
    }

    #[test]
    fn accounts_keep_their_numbers() {
        // Number 3 is that of the system account.
        let mut book = Authenticator::new(&with(vec![account("A", &["a"]), account("B", &["b"])])).unwrap();
        for (accounts, expected) in [
            (vec![account("B", &["b"]), account("A", &["a"])], [("a", 1), ("b", 2)]),
            (vec![account("C", &["c"]), account("B", &["b"])], [("b", 2), ("c", 4)]),
            (vec![account("A", &["a"]), account("C", &["c"])], [("a", 1), ("c", 4)]),
        ] {
            let mut next = Authenticator::new(&with(accounts)).unwrap();
            next.keep_numbers(&book);
            book = next;
            for (user, number) in expected {
                let standing = book.standing(&member(user, number), &Replaced::default());
                assert!(matches!(standing, Standing::Stays(_)), "{user} {standing:?}");
                assert_eq!(*book.account(number), *user.to_ascii_uppercase());
            }
        }
        assert!(book.has_account(0) && book.has_account(1) && !book.has_account(2) && book.has_account(4));
        assert_eq!(book.accounts(), 5);
    }

    #[test]
    fn who_stays_and_who_goes() {
        let old = with(vec![account("A", &["a", "b", "c", "d"])]);
        let mut new = with(vec![account("A", &["a", "b"]), account("D", &["d"])]);
        new.accounts[0].users[1].password = "q".into();
        let mut book = Authenticator::new(&new).unwrap();
        book.keep_numbers(&Authenticator::new(&old).unwrap());
        let replaced = Replaced::between(&old, &new);
        assert!(matches!(book.standing(&member("a", 1), &replaced), Standing::Stays(_)));
        assert!(matches!(book.standing(&member("b", 1), &replaced), Standing::Refused));
        assert!(matches!(book.standing(&member("c", 1), &replaced), Standing::Gone));
        assert!(matches!(book.standing(&member("d", 1), &replaced), Standing::Gone));
        let nobody = Member { has_proved: false, ..member("", 0) };
        assert!(matches!(book.standing(&nobody, &replaced), Standing::Refused));
        new.accounts[0].users[0].connection_types = vec!["WEBSOCKET".into()];
        let mut book = Authenticator::new(&new).unwrap();
        book.keep_numbers(&Authenticator::new(&old).unwrap());
        assert!(matches!(book.standing(&member("a", 1), &replaced), Standing::Refused));
        let by_page = Member { by: ConnectionType::WebSocket, ..member("a", 1) };
        assert!(matches!(book.standing(&by_page, &replaced), Standing::Stays(_)));
    }

    #[test]
    fn tokens_and_those_without() {
        let token = |token: Option<&str>| Options { token: token.map(str::to_owned), ..Options::default() };
        let standing = |old: Option<&str>, new: Option<&str>, has_proved| {
            let (old, new) = (token(old), token(new));
            let mut book = Authenticator::new(&new).unwrap();
            book.keep_numbers(&Authenticator::new(&old).unwrap());
            let member = Member { has_proved, ..member("", 0) };
            matches!(book.standing(&member, &Replaced::between(&old, &new)), Standing::Stays(_))
        };
        assert!(standing(Some("t"), Some("t"), true) && !standing(Some("t"), Some("u"), true));
        assert!(standing(Some("t"), None, true) && standing(None, None, false));
        assert!(!standing(None, Some("t"), false));
    }
}
