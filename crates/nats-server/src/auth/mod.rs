//! Who may connect. Knows credentials and nothing of sockets, so that further kinds (documents signed by an operator)
//! can be added here without touching the data path. Must never log or return what a client offered.

pub(crate) mod failures;
pub(crate) mod nkey;
pub(crate) mod operator;
pub(crate) mod replaced;
mod secret;
pub(crate) mod slow;
mod standing;
pub(crate) mod ways;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::certs::Name;
use crate::certs::subject::Subject;
use crate::error::Error;
use crate::options::Options;
use crate::permissions::Compiled;
use crate::proto::connect::Connect;
use crate::users::{NkeyUser, Permissions, User};

use nkey::{PublicKey, Role};
use operator::{Accounts, Caller, ConnectionType, Pass, Trust, TrustedAccount};
use secret::Secret;
use ways::Ways;

pub(crate) use standing::{Member, Standing};

/// Name of the account of users that are in no other, and of local clients. Its number is 0.
pub(crate) const GLOBAL_ACCOUNT: &str = "$G";
/// Name of the system account, unless the options name another.
pub(crate) const SYSTEM_ACCOUNT: &str = "$SYS";

/// Whom a connection speaks for.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Number of the account.
    pub(crate) account: u32,
    /// User name or public key; empty if there was nothing to prove.
    pub(crate) user: Arc<str>,
    pub(crate) permissions: Option<Arc<Compiled>>,
    /// In operator mode: what it was let in with.
    pub(crate) pass: Option<Arc<Pass>>,
}

/// What the credentials are worth.
pub(crate) enum Verdict {
    Accepted(Identity),
    Refused,
    /// `identity`, if `offered` is what `hash` was made from; see [`slow`].
    Slow {
        hash: Box<str>,
        offered: String,
        identity: Identity,
    },
}

/// Everybody who may connect.
pub(crate) struct Authenticator {
    /// Names by number.
    accounts: Vec<Arc<str>>,
    /// Numbers of accounts that are not there any more.
    retired: HashSet<u32>,
    token: Option<Secret>,
    users: HashMap<String, (Secret, Identity)>,
    nkeys: HashMap<PublicKey, Identity>,
    /// The users whose name is the subject of a certificate, by its keys.
    subjects: HashMap<String, String>,
    /// Those who may not come by every kind of connection.
    ways: Ways,
    /// Clients that show nothing are this one; `None`: they are refused.
    nobody: Option<Identity>,
    /// Something must be shown by those who want more.
    has_credentials: bool,
    /// The account whose users see what the server says about itself.
    system: Option<u32>,
    /// Operator mode: users are those that the accounts here have signed for, and nobody else.
    operator: Option<Accounts>,
}

impl Authenticator {
    /// # Errors
    /// [`Error::Option`] for users that cannot work: names that are empty or taken, damaged keys and hashes, subjects
    /// that no message can have.
    pub(crate) fn new(options: &Options) -> Result<Authenticator, Error> {
        let mut book = Authenticator {
            accounts: vec![GLOBAL_ACCOUNT.into()],
            retired: HashSet::new(),
            token: None,
            users: HashMap::new(),
            nkeys: HashMap::new(),
            subjects: HashMap::new(),
            ways: Ways::default(),
            nobody: None,
            has_credentials: options.auth_required(),
            system: None,
            operator: options.operator.as_ref().map(Accounts::new).transpose()?,
        };
        book.accounts.extend(book.operator.iter().flat_map(Accounts::keys).map(Arc::from));
        let defaults = options.default_permissions.as_ref();
        let anonymous = Identity {
            account: 0,
            user: "".into(),
            permissions: compile("default_permissions", defaults)?,
            pass: None,
        };
        if let Some(token) = &options.token {
            book.token = Some(Secret::new(token).map_err(|problem| wrong("token", problem))?);
        }
        book.add(0, &options.users, &options.nkeys, defaults)?;
        for account in &options.accounts {
            let number = book.account_number(&account.name)?;
            book.add(number, &account.users, &account.nkeys, defaults)?;
        }
        book.system = book.find_system(options)?;
        book.nobody = match &options.no_auth_user {
            Some(name) => {
                if book.ways.binds(name) {
                    let problem = format!("user {name:?} may not come by every kind of connection");
                    return Err(wrong("no_auth_user", problem));
                }
                let known = book.users.get(name).map(|(_, identity)| identity.clone());
                Some(known.ok_or_else(|| wrong("no_auth_user", format!("there is no user {name:?}")))?)
            }
            // Who has named nobody but those who look after the server has not closed it to everybody else.
            None if book.only_system_has_users(options) => Some(anonymous),
            None if book.has_credentials => None,
            None => Some(Identity { permissions: None, ..anonymous.clone() }),
        };
        Ok(book)
    }

    fn find_system(&mut self, options: &Options) -> Result<Option<u32>, Error> {
        if let Some(accounts) = &self.operator {
            return Ok(accounts.system_account());
        }
        let wanted = options.system_account.as_deref().unwrap_or(SYSTEM_ACCOUNT);
        match self.accounts.iter().position(|name| **name == *wanted) {
            Some(number) => Ok(u32::try_from(number).ok()),
            None if wanted == SYSTEM_ACCOUNT => self.account_number(SYSTEM_ACCOUNT).map(Some),
            None => Err(wrong("system_account", format!("there is no account {wanted:?}"))),
        }
    }

    fn only_system_has_users(&self, options: &Options) -> bool {
        // Another account, even one without users, is a sign that accounts are meant to be kept apart.
        let is_alone = options.accounts.len() == 1;
        let elsewhere = !is_alone
            || options.token.is_some()
            || options.closed
            || self
                .users
                .values()
                .map(|(_, identity)| identity)
                .chain(self.nkeys.values())
                .any(|identity| Some(identity.account) != self.system);
        self.has_credentials && self.operator.is_none() && !elsewhere
    }

    fn account_number(&mut self, name: &str) -> Result<u32, Error> {
        if name.is_empty() {
            return Err(wrong("accounts", "an account has an empty name".to_owned()));
        }
        if name == GLOBAL_ACCOUNT {
            return Ok(0);
        }
        if self.accounts.iter().any(|known| **known == *name) {
            return Err(wrong("accounts", format!("{name:?} is there twice")));
        }
        self.accounts.push(name.into());
        Ok(u32::try_from(self.accounts.len() - 1).unwrap_or(0))
    }

    fn add(
        &mut self,
        account: u32,
        users: &[User],
        nkeys: &[NkeyUser],
        defaults: Option<&Permissions>,
    ) -> Result<(), Error> {
        for user in users {
            if user.name.is_empty() {
                return Err(wrong("users", "a user has an empty name".to_owned()));
            }
            let about = |problem: String| wrong("users", format!("{:?}: {problem}", user.name));
            let secret =
                Secret::new(&user.password).map_err(|problem| about(format!("its password {problem}")))?;
            self.ways.bind(&user.name, &user.connection_types).map_err(about)?;
            if let Some(subject) = Subject::parse(&user.name) {
                // Of two who differ in the order only, the first is the one that any order means.
                for key in [subject.in_order(), subject.in_any_order()] {
                    self.subjects.entry(key).or_insert_with(|| user.name.clone());
                }
            }
            let permissions = compile("users", user.permissions.as_ref().or(defaults))?;
            let identity = Identity { account, user: user.name.as_str().into(), permissions, pass: None };
            if self.users.insert(user.name.clone(), (secret, identity)).is_some() {
                return Err(about("is there twice".to_owned()));
            }
        }
        for user in nkeys {
            let about = |problem: &str| wrong("nkeys", format!("{:?} {problem}", user.public_key));
            self.ways.bind(&user.public_key, &user.connection_types).map_err(|problem| about(&problem))?;
            let key = PublicKey::parse(&user.public_key, Role::User)
                .ok_or_else(|| about("is not the public nkey of a user"))?;
            let permissions = compile("nkeys", user.permissions.as_ref().or(defaults))?;
            let identity =
                Identity { account, user: user.public_key.as_str().into(), permissions, pass: None };
            if self.nkeys.insert(key, identity).is_some() {
                return Err(about("is there twice"));
            }
        }
        Ok(())
    }

    /// The name of an account.
    pub(crate) fn account(&self, number: u32) -> Arc<str> {
        self.accounts.get(number as usize).cloned().unwrap_or_else(|| GLOBAL_ACCOUNT.into())
    }

    /// Its name for people.
    pub(crate) fn account_label(&self, number: u32) -> Arc<str> {
        let label = self.operator.as_ref().and_then(|accounts| accounts.label(number));
        label.map_or_else(|| self.account(number), Arc::from)
    }

    /// The number of an account with this name.
    pub(crate) fn find_account(&self, name: &str) -> Option<u32> {
        let number = self.accounts.iter().position(|known| **known == *name)?;
        u32::try_from(number).ok()
    }

    /// The account whose users see what the server says about itself.
    pub(crate) fn system_account(&self) -> Option<u32> {
        self.system
    }

    /// How many accounts there are.
    pub(crate) fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// Are there credentials that a client could show?
    pub(crate) fn has_credentials(&self) -> bool {
        self.has_credentials
    }

    /// Must a client show something before anything else?
    pub(crate) fn must_authenticate(&self) -> bool {
        self.nobody.is_none()
    }

    /// Must clients be given something to sign?
    pub(crate) fn wants_signatures(&self) -> bool {
        !self.nkeys.is_empty() || self.operator.is_some()
    }

    /// What decides about the documents of accounts, in operator mode.
    pub(crate) fn trust(&self) -> Option<&Arc<Trust>> {
        self.operator.as_ref().map(Accounts::trust)
    }

    /// The accounts of operator mode.
    pub(crate) fn operator(&self) -> Option<&Accounts> {
        self.operator.as_ref()
    }

    /// Adds or replaces an account of operator mode; gives its number.
    pub(crate) fn put_account(&mut self, account: TrustedAccount) -> Option<u32> {
        let name: Arc<str> = account.key().into();
        let number = self.operator.as_mut()?.put(account);
        if number as usize == self.accounts.len() {
            self.accounts.push(name);
        }
        self.retired.remove(&number);
        Some(number)
    }

    /// Connections that an account may have at one time.
    pub(crate) fn connection_limit(&self, account: u32) -> Option<usize> {
        self.operator.as_ref()?.connection_limit(account)
    }

    /// Whom a client speaks for that has shown nothing yet.
    pub(crate) fn nobody(&self) -> Option<&Identity> {
        self.nobody.as_ref()
    }

    /// Judges a client whose certificate says who it is: the first name that is a user's, whatever CONNECT says. If that
    /// user has a password, it is asked for, too.
    pub(crate) fn judge_certificate(&self, offered: &Connect, names: &[Name], by: ConnectionType) -> Verdict {
        let user = names.iter().find_map(|name| match name {
            Name::Plain(name) => self.users.get(name),
            Name::Subject(key) => self.users.get(self.subjects.get(key)?),
        });
        let Some((secret, identity)) = user else { return Verdict::Refused };
        self.by_way(verdict(secret, offered.pass.as_deref().unwrap_or_default(), identity), by)
    }

    /// Judges what a client shows.
    pub(crate) fn judge(&self, offered: &Connect, caller: &Caller<'_>) -> Verdict {
        self.by_way(self.judge_shown(offered, caller), caller.connection_type)
    }

    /// The verdict, if whom it is about may come in this way.
    fn by_way(&self, verdict: Verdict, by: ConnectionType) -> Verdict {
        match &verdict {
            Verdict::Accepted(identity) | Verdict::Slow { identity, .. }
                if !self.ways.allow(&identity.user, by) =>
            {
                Verdict::Refused
            }
            _ => verdict,
        }
    }

    fn judge_shown(&self, offered: &Connect, caller: &Caller<'_>) -> Verdict {
        if let Some(accounts) = &self.operator {
            return match accounts.judge(offered, caller) {
                Ok(identity) => Verdict::Accepted(identity),
                Err(refusal) => {
                    tracing::debug!(addr = %caller.addr, %refusal, "NATS server: refused a user of operator mode");
                    Verdict::Refused
                }
            };
        }
        let nonce = caller.nonce;
        if !self.has_credentials {
            return self.nobody.clone().map_or(Verdict::Refused, Verdict::Accepted);
        }
        // Clients may show all that they have, for one server or another: what this one has none of says nothing here.
        if !self.nkeys.is_empty()
            && let Some(key) = given(&offered.nkey)
        {
            let identity = PublicKey::parse(key, Role::User).and_then(|key| {
                let (signature, nonce) = (offered.sig.as_deref()?, nonce?);
                self.nkeys.get(&key).filter(|_| key.has_signed(nonce.as_bytes(), signature))
            });
            return identity.cloned().map_or(Verdict::Refused, Verdict::Accepted);
        }
        if !self.users.is_empty()
            && let Some(name) = given(&offered.user)
        {
            let Some((secret, identity)) = self.users.get(name) else { return Verdict::Refused };
            if offered.is_nobody {
                let nobody = self.nobody.clone().filter(|nobody| *nobody.user == *name);
                return nobody.map_or(Verdict::Refused, Verdict::Accepted);
            }
            // Users whose certificate says who they are have no password: nobody logs in with that.
            let Some(password) = given(&offered.pass) else { return Verdict::Refused };
            return verdict(secret, password, identity);
        }
        if let Some(token) = given(&offered.auth_token) {
            let Some(secret) = &self.token else { return Verdict::Refused };
            return verdict(
                secret,
                token,
                &Identity { account: 0, user: "".into(), permissions: None, pass: None },
            );
        }
        match &self.nobody {
            Some(identity) if given(&offered.pass).is_none() && !offered.is_nobody => {
                Verdict::Accepted(identity.clone())
            }
            _ => Verdict::Refused,
        }
    }

    /// Whoever has shown nothing is taken for the user that such clients are, and has in effect shown its name.
    pub(crate) fn note_nobody(&self, offered: &mut Connect, identity: &Identity) {
        let shown = [&offered.user, &offered.pass, &offered.auth_token];
        if self.has_credentials
            && self.nobody.as_ref().is_some_and(|nobody| nobody.user == identity.user)
            && !offered.is_nobody
            && shown.into_iter().all(|value| given(value).is_none())
        {
            offered.user = Some(identity.user.to_string());
            offered.pass = None;
            offered.is_nobody = true;
        }
    }
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn verdict(secret: &Secret, offered: &str, identity: &Identity) -> Verdict {
    match (secret.equals(offered), secret) {
        (Some(true), _) => Verdict::Accepted(identity.clone()),
        (None, Secret::Bcrypt(hash)) => {
            Verdict::Slow { hash: hash.clone(), offered: offered.to_owned(), identity: identity.clone() }
        }
        _ => Verdict::Refused,
    }
}

fn compile(option: &'static str, permissions: Option<&Permissions>) -> Result<Option<Arc<Compiled>>, Error> {
    let compiled = permissions.map(Compiled::new).transpose().map_err(|problem| wrong(option, problem))?;
    Ok(compiled.map(Arc::new))
}

fn wrong(option: &'static str, problem: String) -> Error {
    Error::Option { option, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::Account;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::signature::KeyPair;

    fn judge(options: &Options, json: &str) -> Option<(String, String)> {
        let book = Authenticator::new(options).unwrap();
        let caller = Caller {
            nonce: Some("nonce"),
            addr: [127, 0, 0, 1].into(),
            connection_type: operator::ConnectionType::Standard,
            now: 0,
        };
        match book.judge(&serde_json::from_str(json).unwrap(), &caller) {
            Verdict::Accepted(identity) => {
                Some((identity.user.to_string(), book.account(identity.account).to_string()))
            }
            Verdict::Refused => None,
            Verdict::Slow { hash, offered, identity } => slow::is_good(&hash, &offered)
                .then(|| (identity.user.to_string(), book.account(identity.account).to_string())),
        }
    }

    #[test]
    fn token_and_users() {
        let mut options = Options::default();
        assert!(judge(&options, "{}").is_some());
        options.token = Some("s3cr".into());
        assert!(judge(&options, r#"{"auth_token":"s3cr"}"#).is_some());
        assert!(judge(&options, r#"{"auth_token":"s3cre"}"#).is_none());
        assert!(judge(&options, "{}").is_none());
        let everything = r#"{"auth_token":"s3cr","user":"u","pass":"x","nkey":"x","sig":"x","jwt":"x"}"#;
        assert!(judge(&options, everything).is_some(), "there are no users and nkeys to be compared with");
        options.users = vec![User::new("u", "p"), User::new("h", bcrypt::hash("p", 4).unwrap())];
        for name in ["u", "h"] {
            let right = format!(r#"{{"user":"{name}","pass":"p"}}"#);
            assert_eq!(judge(&options, &right), Some((name.to_owned(), "$G".to_owned())));
            assert!(judge(&options, &format!(r#"{{"user":"{name}","pass":""}}"#)).is_none());
            assert!(judge(&options, &format!(r#"{{"user":"{name}"}}"#)).is_none());
            assert!(judge(&options, &format!(r#"{{"user":"{name}","auth_token":"s3cr"}}"#)).is_none());
        }
    }

    #[test]
    fn nkeys_and_accounts() {
        let pair = nkey::tests::pair(1);
        let public_key = nkey::tests::text(Role::User, pair.public_key().as_ref());
        let account = Account {
            name: "A".into(),
            users: vec![User::new("u", "p")],
            nkeys: vec![NkeyUser::new(public_key.clone())],
        };
        let options =
            Options { accounts: vec![account], no_auth_user: Some("u".into()), ..Options::default() };
        let signed = |message: &[u8]| {
            let signature = URL_SAFE_NO_PAD.encode(pair.sign(message));
            format!(r#"{{"nkey":"{public_key}","sig":"{signature}"}}"#)
        };
        assert_eq!(judge(&options, &signed(b"nonce")), Some((public_key.clone(), "A".to_owned())));
        assert!(judge(&options, &signed(b"other")).is_none());
        let also = signed(b"nonce").replace('}', ",\"user\":\"x\"}");
        assert!(judge(&options, &also).is_some(), "a key comes before a name");
        assert!(judge(&options, &format!(r#"{{"nkey":"{public_key}"}}"#)).is_none());
        assert_eq!(judge(&options, "{}"), Some(("u".to_owned(), "A".to_owned())));
        assert!(judge(&options, r#"{"user":"nobody"}"#).is_none(), "who shows something wrong is not nobody");
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let refused =
            |options: Options| Authenticator::new(&options).err().map(|e| e.to_string()).unwrap_or_default();
        let twice = Options { users: vec![User::new("u", "p"), User::new("u", "q")], ..Options::default() };
        assert!(refused(twice).contains("\"u\": is there twice"));
        let empty = Options { users: vec![User::new("", "p")], ..Options::default() };
        assert!(refused(empty).contains("empty name"));
        let key = NkeyUser::new("UXX");
        assert!(refused(Options { nkeys: vec![key], ..Options::default() }).contains("UXX"));
        let hash = Options { users: vec![User::new("u", "$2a$hush")], ..Options::default() };
        let text = refused(hash);
        assert!(text.contains("bcrypt") && !text.contains("hush"), "{text}");
        let unknown =
            Options { no_auth_user: Some("x".into()), token: Some("t".into()), ..Options::default() };
        assert!(refused(unknown).contains("no user \"x\""));
        let account = || Account { name: "A".into(), ..Account::default() };
        assert!(
            refused(Options { accounts: vec![account(), account()], ..Options::default() }).contains("\"A\"")
        );
    }
}
