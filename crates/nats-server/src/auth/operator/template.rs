//! The template of a scoped signing key, filled in for one user: `{{name()}}`, `{{subject()}}`, `{{account-name()}}`,
//! `{{account-subject()}}`, and `{{tag(k)}}` and `{{account-tag(k)}}`, which stand for every `v` among the tags `k:v`.
//!
//! A variable takes the place of a whole token. What it stands for may be several tokens, but no wildcard: who may sign
//! with a scoped key must not get out of its scope by choosing a name.

use crate::jwt::{Permission, Terms, UserClaims};
use crate::users::{Permissions, Rules};

use super::account::TrustedAccount;
use super::{Refusal, terms};

/// Subjects that one line may become: tags multiply.
const MAX_SUBJECTS: usize = 4096;
/// Bytes of all subjects that one list of lines may become: names and tags may be long, and repeated.
const MAX_BYTES: usize = 1024 * 1024;

/// A template after filling in.
pub(super) struct Scoped {
    /// As in the document; its permissions are not filled in.
    pub(super) terms: Terms,
    /// Filled in.
    pub(super) permissions: Permissions,
}

/// Fills in a template for a user.
pub(super) fn apply(
    template: &Terms,
    claims: &UserClaims,
    account: &TrustedAccount,
) -> Result<Scoped, Refusal> {
    let values = Values { claims, account };
    let given = &template.permissions;
    let permissions = Permissions {
        publish: values.rules(&given.publish)?,
        subscribe: values.rules(&given.subscribe)?,
        allow_responses: terms::permissions(given).allow_responses,
    };
    Ok(Scoped { terms: template.clone(), permissions })
}

/// What the variables stand for.
struct Values<'a> {
    claims: &'a UserClaims,
    account: &'a TrustedAccount,
}

impl Values<'_> {
    fn rules(&self, given: &Permission) -> Result<Rules, Refusal> {
        let allow = match given.allow.as_slice() {
            [] => None,
            // A line that means nothing for this user allows nothing; if none is left, nothing at all is allowed.
            lines => Some(self.lines(lines)?.into_iter().flatten().flatten().collect()),
        };
        let mut deny = Vec::new();
        for (line, subjects) in given.deny.iter().zip(self.lines(&given.deny)?) {
            // But a line that should deny something and cannot be read must not be left out.
            deny.extend(subjects.ok_or_else(|| {
                Refusal::Unsupported(format!(
                    "{line:?} in the template of its signing key has no value for this user"
                ))
            })?);
        }
        Ok(Rules { allow, deny })
    }

    fn lines(&self, lines: &[String]) -> Result<Vec<Option<Vec<String>>>, Refusal> {
        let mut done = Vec::new();
        let (mut count, mut bytes) = (0, 0);
        for line in lines {
            let filled = self.line(line)?;
            for subject in filled.iter().flatten() {
                count += 1;
                bytes += subject.len();
            }
            check_size(count, bytes)?;
            done.push(filled);
        }
        Ok(done)
    }

    /// `None`: a variable has no value.
    fn line(&self, line: &str) -> Result<Option<Vec<String>>, Refusal> {
        let mut texts = vec![String::new()];
        // Of all texts together.
        let mut bytes = 0_usize;
        for (index, word) in line.split_ascii_whitespace().enumerate() {
            for (place, token) in word.split('.').enumerate() {
                let separator = match (index, place) {
                    (0, 0) => "",
                    (_, 0) => " ",
                    _ => ".",
                };
                let Some(values) = self.token(token) else { return Ok(None) };
                let added: usize = values.iter().map(|value| separator.len() + value.len()).sum();
                bytes = bytes.saturating_mul(values.len()).saturating_add(added.saturating_mul(texts.len()));
                check_size(texts.len().saturating_mul(values.len()), bytes)?;
                if let [value] = values.as_slice() {
                    // Most tokens; copying all that came before them would be quadratic.
                    texts.iter_mut().for_each(|text| text.extend([separator, value]));
                    continue;
                }
                let with = |text: &String| {
                    values.iter().map(|value| format!("{text}{separator}{value}")).collect::<Vec<_>>()
                };
                texts = texts.iter().flat_map(with).collect();
            }
        }
        Ok(Some(texts))
    }

    /// `None`: it is a variable without a value.
    fn token(&self, token: &str) -> Option<Vec<String>> {
        let Some(variable) = token.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) else {
            return Some(vec![token.to_owned()]);
        };
        let variable = variable.to_lowercase();
        let argument = |name: &str| variable.strip_prefix(name)?.strip_suffix(')');
        let values = match variable.as_str() {
            "name()" => vec![self.claims.name.as_str()],
            "subject()" => vec![self.claims.sub.as_str()],
            "account-name()" => vec![self.account.name.as_str()],
            "account-subject()" => vec![self.account.key()],
            _ => match (argument("tag("), argument("account-tag(")) {
                (Some(key), _) => tagged(&self.claims.nats.common.tags, key),
                (_, Some(key)) => tagged(&self.account.tags, key),
                _ => return None,
            },
        };
        let usable = !values.is_empty() && values.iter().all(|value| is_literal(value));
        usable.then(|| values.into_iter().map(str::to_owned).collect())
    }
}

fn tagged<'a>(tags: &'a [String], key: &str) -> Vec<&'a str> {
    tags.iter().filter_map(|tag| tag.strip_prefix(key)?.strip_prefix(':')).collect()
}

fn is_literal(value: &str) -> bool {
    crate::subject::is_printable(value.as_bytes()) && crate::subject::is_valid_literal(value.as_bytes())
}

/// Before there are so many.
fn check_size(count: usize, bytes: usize) -> Result<(), Refusal> {
    if count <= MAX_SUBJECTS && bytes <= MAX_BYTES {
        return Ok(());
    }
    Err(Refusal::Unsupported(format!(
        "the template of its signing key gives more than {MAX_SUBJECTS} subjects or {MAX_BYTES} bytes"
    )))
}
