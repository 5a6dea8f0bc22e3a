//! Tokens: how a registry wants to be convinced, and what convinced it lately.

use super::transport::read_bounded;
use crate::credentials::Login;
use reqwest::{Client, StatusCode, header};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a token is used that does not say how long it is valid, as the specification has it.
const USUAL_VALIDITY: Duration = Duration::from_secs(60);

/// Taken off a token's validity, for the way to the registry.
const MARGIN: Duration = Duration::from_secs(10);

/// Bytes of a token's answer at most.
const LARGEST: u64 = 1 << 20;

/// Tokens that are kept at most.
const MOST: usize = 1_000;

/// How a registry wants to be asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: String },
}

impl Challenge {
    /// Reads the header `WWW-Authenticate`.
    pub(super) fn parse(header: &str) -> Option<Challenge> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut found = BTreeMap::new();
        let mut rest = rest;
        while let Some((key, after)) = rest.split_once('=') {
            let after = after.trim_start();
            let (value, next) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after.split_once(',').unwrap_or((after, "")),
            };
            found.insert(key.trim_matches([' ', ',']).to_ascii_lowercase(), value.to_owned());
            rest = next.trim_start_matches([' ', ',']);
        }
        let mut take = |key: &str| found.remove(key).unwrap_or_default();
        let (realm, service, scope) = (take("realm"), take("service"), take("scope"));
        (!realm.is_empty()).then_some(Challenge::Bearer { realm, service, scope })
    }
}

/// What goes into the header `Authorization`.
#[derive(Clone)]
pub(super) enum Proof {
    Basic { username: String, password: String },
    Bearer(String),
}

impl Proof {
    pub(super) fn apply(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self {
            Proof::Basic { username, password } => request.basic_auth(username, Some(password)),
            Proof::Bearer(token) => request.bearer_auth(token),
        }
    }
}

/// Tokens that worked, by registry and repository.
#[derive(Default)]
pub(super) struct Tokens {
    kept: BTreeMap<(String, String), Kept>,
}

struct Kept {
    login: Login,
    proof: Proof,
    until: Option<Instant>,
}

impl Tokens {
    /// What worked with the same credentials and is still valid.
    pub(super) fn get(&self, registry: &str, repository: &str, login: &Login) -> Option<Proof> {
        let kept = self.kept.get(&(registry.to_owned(), repository.to_owned()))?;
        let valid = kept.until.is_none_or(|until| Instant::now() < until) && kept.login == *login;
        valid.then(|| kept.proof.clone())
    }

    pub(super) fn put(
        &mut self,
        registry: &str,
        repository: &str,
        login: Login,
        (proof, validity): (Proof, Option<Duration>),
    ) {
        if self.kept.len() >= MOST {
            self.kept.clear();
        }
        let until = validity.and_then(|validity| Instant::now().checked_add(validity.saturating_sub(MARGIN)));
        self.kept.insert((registry.to_owned(), repository.to_owned()), Kept { login, proof, until });
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// Gets what a registry wants; how long it is valid, if not for ever. `Err` says why there is none.
pub(super) async fn prove(
    client: &Client,
    challenge: &Challenge,
    repository: &str,
    login: &Login,
) -> Result<(Proof, Option<Duration>), String> {
    let (realm, service, scope) = match (challenge, login) {
        (Challenge::Basic, Login::Basic { username, password }) => {
            return Ok((Proof::Basic { username: username.clone(), password: password.clone() }, None));
        }
        (Challenge::Basic, _) => return Err("it wants a name and a password".to_owned()),
        (Challenge::Bearer { .. }, Login::Registry(token)) => {
            return Ok((Proof::Bearer(token.clone()), None));
        }
        (Challenge::Bearer { realm, service, scope }, _) => (realm, service, scope),
    };
    let usual = format!("repository:{repository}:pull");
    let scope = if scope.is_empty() { &usual } else { scope };
    let request = match login {
        Login::Identity(token) => client.post(realm).form_body(&[
            ("grant_type", "refresh_token"),
            ("service", service),
            ("scope", scope),
            ("client_id", "bacalhau"),
            ("refresh_token", token),
        ]),
        Login::Basic { username, password } => client
            .get(realm)
            .query(&[("service", service), ("scope", scope)])
            .basic_auth(username, Some(password)),
        // The latter has gone above.
        Login::Anonymous | Login::Registry(_) => {
            client.get(realm).query(&[("service", service), ("scope", scope)])
        }
    };
    let response = request
        .send()
        .await
        .map_err(|e| format!("its token service cannot be asked: {}", e.without_url()))?;
    if response.status() != StatusCode::OK {
        return Err(format!("its token service answers {}", response.status()));
    }
    let bytes = read_bounded(response, LARGEST).await?;
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|_| "the answer of its token service cannot be read".to_owned())?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    let token = token.ok_or("its token service gives no token")?;
    Ok((Proof::Bearer(token), Some(answer.expires_in.map_or(USUAL_VALIDITY, Duration::from_secs))))
}

trait FormBody {
    fn form_body(self, fields: &[(&str, &str)]) -> Self;
}

impl FormBody for reqwest::RequestBuilder {
    fn form_body(self, fields: &[(&str, &str)]) -> Self {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        self.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn challenges() {
        let bearer = |realm: &str, service: &str, scope: &str| {
            Some(Challenge::Bearer { realm: realm.into(), service: service.into(), scope: scope.into() })
        };
        let header = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#;
        let expected = bearer("https://auth.example/token", "registry.example", "repository:a/b:pull,push");
        assert_eq!(Challenge::parse(header), expected);
        assert_eq!(Challenge::parse("bearer realm=x, service=y"), bearer("x", "y", ""));
        assert_eq!(Challenge::parse("Basic realm=\"r\""), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Digest realm=\"r\""), None);
        assert_eq!(Challenge::parse("Bearer"), None);
    }

    proptest! {
        #[test]
        fn any_header_is_survived(header in ".{0,60}") {
            let _ = Challenge::parse(&header);
            let _ = Challenge::parse(&format!("Bearer {header}"));
        }
    }
}
