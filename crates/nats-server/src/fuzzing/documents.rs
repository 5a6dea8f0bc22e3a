//! Signed documents and credentials files. Most of what there is to find is behind the signature, so the input is signed
//! here, with keys that are always the same.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::auth::operator::{Accounts, Caller, ConnectionType};
use crate::jwt::{AccountClaims, Creds, Error, KeyPair, OperatorClaims, Role, UserClaims};
use crate::options::OperatorOptions;
use crate::users::Rules;

use super::MAX_INPUT;

/// Bytes of all subjects that a user may be given, in four lists.
const MAX_SUBJECT_BYTES: usize = 4 * 1024 * 1024;
/// When it is judged, in seconds since 1970.
const NOW: i64 = 1_700_000_000;

/// The keys, and a document of each kind.
struct Kit {
    operator: KeyPair,
    account: KeyPair,
    signing: KeyPair,
    user: KeyPair,
    operator_jwt: String,
    user_jwt: String,
}

impl Kit {
    fn new() -> Result<Kit, Error> {
        let operator = KeyPair::from_bytes(Role::Operator, [1; 32])?;
        let account = KeyPair::from_bytes(Role::Account, [2; 32])?;
        let signing = KeyPair::from_bytes(Role::Account, [3; 32])?;
        let user = KeyPair::from_bytes(Role::User, [4; 32])?;
        let operator_jwt = OperatorClaims::new(operator.public_key(), "O").sign(&operator)?;
        let user_jwt = UserClaims::new(user.public_key(), "U").sign(&account)?;
        Ok(Kit { operator, account, signing, user, operator_jwt, user_jwt })
    }

    /// Puts keys in the place of `@O`, `@A`, `@S` and `@U`.
    fn fill(&self, text: &str) -> String {
        let keys = [("@O", &self.operator), ("@A", &self.account), ("@S", &self.signing), ("@U", &self.user)];
        keys.iter().fold(text.to_owned(), |text, (mark, key)| text.replace(mark, key.public_key()))
    }

    fn sign(&self, text: &str, signer: &KeyPair) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let header = encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
        let claims = encode(self.fill(text).as_bytes());
        let signed = format!("{header}.{claims}");
        // The first version, which had the kind outside of `nats`, signed the claims alone.
        let is_old = claims_are_old(&self.fill(text));
        let signature = signer.sign(if is_old { claims.as_bytes() } else { signed.as_bytes() });
        format!("{signed}.{}", encode(&signature))
    }
}

fn claims_are_old(text: &str) -> bool {
    let claims: Result<serde_json::Value, _> = serde_json::from_str(text);
    claims.is_ok_and(|claims| claims.get("type").is_some())
}

/// First byte: what follows. 0: a document as it is. 1: a credentials file, with `@J` for a document and `@K` for a seed.
/// 2 and 3: the claims of an account and, in the next line, of a user, which the account or its signing key signs.
/// 4: the claims of an operator.
pub fn documents(data: &[u8]) {
    static KIT: OnceLock<Option<Kit>> = OnceLock::new();
    let Some(kit) = KIT.get_or_init(|| Kit::new().ok()) else { return };
    let [kind, text @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(text.get(..MAX_INPUT).unwrap_or(text)) else { return };
    match kind % 5 {
        0 => decode(text),
        1 => creds(text, kit),
        4 => operator(text, kit),
        kind => {
            let (account, user) = text.split_once('\n').unwrap_or((text, ""));
            admit(account, user, kit, if kind == 2 { &kit.account } else { &kit.signing });
        }
    }
}

fn decode(token: &str) {
    let errors = [
        OperatorClaims::decode(token).err(),
        AccountClaims::decode(token).err(),
        UserClaims::decode(token).err(),
    ];
    assert!(errors.iter().flatten().all(|error| error.to_string().len() < 1_000), "a long error");
}

fn creds(text: &str, kit: &Kit) {
    let text = kit.fill(text).replace("@J", &kit.user_jwt).replace("@K", &kit.user.seed());
    if let Ok(creds) = Creds::parse(&text) {
        let again = Creds::parse(&creds.to_text());
        assert!(again.is_ok_and(|again| again.jwt() == creds.jwt()), "written and read again");
    }
}

fn operator(claims: &str, kit: &Kit) {
    let jwt = kit.sign(claims, &kit.operator);
    let _ = Accounts::new(&OperatorOptions { jwt, resolver: BTreeMap::new(), system_account: None });
}

fn admit(account: &str, user: &str, kit: &Kit, signer: &KeyPair) {
    let account = kit.sign(account, &kit.operator);
    let (jwt, key) = (kit.operator_jwt.clone(), kit.account.public_key().to_owned());
    let resolver = BTreeMap::from([(key, account)]);
    let Ok(accounts) = Accounts::new(&OperatorOptions { jwt, resolver, system_account: None }) else {
        return;
    };
    let Ok(claims) = UserClaims::decode(&kit.sign(user, signer)) else { return };
    write_and_read(claims.clone(), signer);
    let addr = [127, 0, 0, 1].into();
    let caller = Caller { nonce: None, addr, connection_type: ConnectionType::Standard, now: NOW };
    let Ok(identity) = accounts.admit(Arc::new(claims), &caller) else { return };
    let Some(pass) = &identity.pass else { return };
    let permissions = pass.permissions();
    let bytes = |rules: &Rules| {
        rules.allow.iter().flatten().chain(&rules.deny).map(|subject| subject.len()).sum::<usize>()
    };
    let bytes = bytes(&permissions.publish) + bytes(&permissions.subscribe);
    assert!(bytes <= MAX_SUBJECT_BYTES, "{bytes} bytes of subjects");
}

/// Writing claims down loses none of the restrictions.
fn write_and_read(claims: UserClaims, signer: &KeyPair) {
    let Ok(token) = claims.clone().sign(signer) else { return };
    match UserClaims::decode(&token) {
        Ok(again) => assert_eq!(again.nats.terms, claims.nats.terms, "written and read again"),
        Err(error) => assert!(error.to_string().is_empty(), "written, and not read again: {error}"),
    }
}
