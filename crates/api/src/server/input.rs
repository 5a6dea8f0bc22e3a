//! What a request says: query parameters and a JSON body, bound by the rules of Bacalhau 1.9's framework.
//!
//! Names match in any case. The body overrides the query; on PUT and POST only the namespace is read from the query.
//! An empty parameter is the zero value.

mod body;
mod id;

pub(super) use id::Id;

use super::reply::{Failure, bad_request};
use super::{App, Shared};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, Method};
use body::Room;
use serde_json::{Map, Value};

/// A request's parameters.
pub(super) struct Input {
    query: Vec<(String, String)>,
    body: Map<String, Value>,
    headers: HeaderMap,
    /// Only the namespace counts in the query.
    is_write: bool,
    /// Held as long as the body is in memory.
    _room: Room,
}

impl FromRequest<App> for Input {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Input, Failure> {
        Input::read(request, app).await
    }
}

impl Input {
    async fn read(request: Request, app: &Shared) -> Result<Input, Failure> {
        let (head, body) = request.into_parts();
        let query = url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
            .map(|(k, v)| (k.into_owned(), v.into_owned()))
            .collect();
        let is_write = matches!(head.method, Method::PUT | Method::POST);
        let (bytes, room) = body::collect(body, app).await?;
        let body = body::parse(&head.headers, bytes).await?;
        Ok(Input { query, body, headers: head.headers, is_write, _room: room })
    }

    /// A member of the body that is not null.
    fn body(&self, name: &str) -> Option<&Value> {
        let exact = self.body.get(name);
        let found =
            exact.or_else(|| self.body.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v));
        found.filter(|value| !value.is_null())
    }

    /// Takes a member out of the body.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let key = self.body.keys().find(|k| k.eq_ignore_ascii_case(name))?.clone();
        self.body.remove(&key)
    }

    /// A parameter of the query that is not empty.
    fn parameter(&self, name: &str) -> Option<&str> {
        if self.is_write && !name.eq_ignore_ascii_case("namespace") {
            return None;
        }
        let exact = self.query.iter().find(|(k, _)| k == name);
        exact
            .or_else(|| self.query.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)))
            .map(|(_, v)| v.as_str())
            .filter(|text| !text.is_empty())
    }

    /// A text; empty when missing.
    pub(super) fn text(&self, name: &str) -> Result<String, Failure> {
        match self.body(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            None | Some(Value::String(_)) => Ok(self.parameter(name).unwrap_or_default().to_owned()),
            Some(other) => Err(wrong_type(name, "string", other)),
        }
    }

    /// All values of a repeated parameter.
    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        self.query.iter().filter(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// A number from 0; 0 when missing.
    pub(super) fn number(&self, name: &str) -> Result<u64, Failure> {
        match self.body(name) {
            Some(value) => value.as_u64().ok_or_else(|| wrong_type(name, "uint", value)),
            None => match self.parameter(name) {
                None => Ok(0),
                Some(text) => text.parse().map_err(|_| unparsable("ParseUint", text)),
            },
        }
    }

    /// A number that fits 32 bits.
    pub(super) fn small_number(&self, name: &str) -> Result<u32, Failure> {
        let number = self.number(name)?;
        u32::try_from(number).map_err(|_| {
            let why = format!("strconv.ParseUint: parsing \"{number}\": value out of range");
            bad_request(format!("code=400, message={why}, internal={why}"))
        })
    }

    /// A boolean in any of Go's spellings; false when missing.
    pub(super) fn boolean(&self, name: &str) -> Result<bool, Failure> {
        match self.body(name) {
            Some(Value::Bool(value)) => Ok(*value),
            None => match self.parameter(name) {
                None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
                Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
                Some(text) => Err(unparsable("ParseBool", text)),
            },
            Some(other) => Err(wrong_type(name, "bool", other)),
        }
    }

    /// A header as text; empty when missing.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

fn unparsable(function: &str, text: &str) -> Failure {
    let why = format!("strconv.{function}: parsing {text:?}: invalid syntax");
    bad_request(format!("code=400, message={why}, internal={why}"))
}

fn wrong_type(field: &str, expected: &str, found: &Value) -> Failure {
    let found = body::kind(found);
    bad_request(format!(
        "code=400, message=Unmarshal type error: expected={expected}, got={found}, field={field}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(method: &Method, query: &[(&str, &str)], body: Value) -> Input {
        let Value::Object(body) = body else { panic!("no object") };
        Input {
            query: query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            body,
            headers: HeaderMap::new(),
            is_write: method == Method::PUT,
            _room: Room::default(),
        }
    }

    #[test]
    fn query_and_body_are_bound_as_clients_expect() {
        let query = [("Limit", "5"), ("reverse", "True"), ("NAMESPACE", "q"), ("since", ""), ("limit", "x")];
        let body = serde_json::json!({"reason": "b", "nAmEsPaCe": "", "Null": null, "JobVersion": 3});
        let get = input(&Method::GET, &query, body.clone());
        assert_eq!(get.number("Limit").unwrap(), 5);
        assert!(get.boolean("reverse").unwrap());
        assert_eq!(get.text("namespace").unwrap(), "q");
        assert_eq!(get.text("Reason").unwrap(), "b");
        assert_eq!((get.number("since").unwrap(), get.number("null").unwrap()), (0, 0));
        assert_eq!(get.number("job_version").unwrap(), 0);
        assert_eq!(get.small_number("jobversion").unwrap(), 3);
        let put = input(&Method::PUT, &query, body);
        assert_eq!((put.number("Limit").unwrap(), put.text("namespace").unwrap().as_str()), (0, "q"));
    }

    #[test]
    fn wrong_values_are_told() {
        let message = |failure: Failure| failure.0.message;
        let get = input(
            &Method::GET,
            &[("a", "x"), ("b", "-1"), ("c", "yes"), ("d", "4294967296")],
            serde_json::json!({"e": "1", "f": 1.0, "g": 1}),
        );
        let syntax = |f: &str, t: &str| {
            let why = format!("strconv.{f}: parsing \"{t}\": invalid syntax");
            format!("code=400, message={why}, internal={why}")
        };
        assert_eq!(message(get.number("a").unwrap_err()), syntax("ParseUint", "x"));
        assert_eq!(message(get.number("b").unwrap_err()), syntax("ParseUint", "-1"));
        assert_eq!(message(get.boolean("c").unwrap_err()), syntax("ParseBool", "yes"));
        assert!(message(get.small_number("d").unwrap_err()).contains("value out of range"));
        assert!(message(get.number("e").unwrap_err()).contains("expected=uint, got=string, field=e"));
        assert!(get.number("f").is_err() && get.boolean("g").is_err() && get.text("g").is_err());
    }
}
