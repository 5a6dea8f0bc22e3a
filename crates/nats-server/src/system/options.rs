//! The bodies of requests: which servers are meant, and what is wanted of them. Errors are told in the words of the NATS
//! server, whose tools show them.

use serde_json::{Map, Value};

use crate::monitor::params::Params;

use super::server::ServerBlock;

/// Longest body that is read.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// A body that was read. Keys are in lower case.
pub(super) struct Body {
    fields: Map<String, Value>,
    /// What the NATS server calls it.
    kind: &'static str,
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if number.is_i64() || number.is_u64() => "number".to_owned(),
        Value::Number(number) => format!("number {number}"),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

impl Body {
    /// Reads a body; an empty one asks for nothing special.
    pub(super) fn parse(bytes: &[u8], kind: &'static str) -> Result<Body, String> {
        if bytes.is_empty() {
            return Ok(Body { fields: Map::new(), kind });
        }
        if bytes.len() > MAX_BODY {
            return Err(format!("the request is longer than {MAX_BODY} bytes"));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => {
                let fields = fields.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value));
                Ok(Body { fields: fields.collect(), kind })
            }
            Ok(Value::Null) => Ok(Body { fields: Map::new(), kind }),
            Ok(other) => {
                let is = kind_of(&other);
                let is = is.split(' ').next().unwrap_or_default();
                Err(format!("json: cannot unmarshal {is} into Go value of type server.{kind}"))
            }
            Err(error) if error.is_eof() => Err("unexpected end of JSON input".to_owned()),
            Err(error) => Err(format!("invalid JSON: {error}")),
        }
    }

    fn field<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| {
                let (is, kind) = (kind_of(value), self.kind);
                format!("json: cannot unmarshal {is} into Go struct field {kind}.{key} of type {wanted}")
            }),
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>, String> {
        let text = self.field(key, "string", |value| value.as_str().map(str::to_owned))?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, String> {
        Ok(self.field(key, "bool", Value::as_bool)?.unwrap_or(false))
    }

    fn int(&self, key: &str) -> Result<i64, String> {
        Ok(self.field(key, "int", Value::as_i64)?.unwrap_or(0))
    }

    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        let read =
            |value: &Value| value.as_array()?.iter().map(|entry| entry.as_str().map(str::to_owned)).collect();
        Ok(self.field(key, "[]string", read)?.unwrap_or_default())
    }

    /// Is this server one of those that should answer?
    pub(super) fn concerns(&self, server: &ServerBlock) -> Result<bool, String> {
        let exact = self.flag("exact_match")?;
        let fits = |key: &str, own: &str| {
            let wanted = self.text(key)?;
            Ok::<bool, String>(
                wanted.is_none_or(|wanted| if exact { own == wanted } else { own.contains(&wanted) }),
            )
        };
        // It is in no cluster, has no tags and no domain.
        Ok(fits("server_name", &server.name)?
            && fits("host", &server.host)?
            && fits("cluster", "")?
            && fits("domain", "")?
            && self.texts("tags")?.is_empty())
    }

    /// As the parameters of `/connz`; `account`: only of this one.
    pub(super) fn connz(&self, account: Option<&str>) -> Result<Params, String> {
        let mut pairs = self.page()?;
        let mut add = |key, value: Option<String>| pairs.extend(value.map(|value| (key, value)));
        let account = account.map(str::to_owned).or(self.text("acc")?);
        let filter = self.text("filter_subject")?;
        if filter.is_some() && account.is_none() {
            return Err("filter by subject only valid with account filtering".to_owned());
        }
        add("acc", account);
        add("filter_subject", filter);
        add("user", self.text("user")?);
        add("sort", self.text("sort")?);
        add("auth", self.flag("auth")?.then(|| "1".to_owned()));
        let details = self.flag("subscriptions_detail")?.then_some("detail");
        let subs = details.or(self.flag("subscriptions")?.then_some("1"));
        add("subs", subs.map(str::to_owned));
        add("cid", Some(self.field("cid", "uint64", Value::as_u64)?.unwrap_or(0).to_string()));
        let state = match self.field("state", "server.ConnState", Value::as_i64)?.unwrap_or(0) {
            1 => "closed",
            2 => "any",
            _ => "open",
        };
        add("state", Some(state.to_owned()));
        Ok(Params::of(pairs))
    }

    /// As the parameters of `/subsz`; `account`: only of this one, and with a list.
    pub(super) fn subsz(&self, account: Option<&str>) -> Result<Params, String> {
        let mut pairs = self.page()?;
        let listed = account.is_some() || self.flag("subscriptions")?;
        pairs.extend(account.map(str::to_owned).or(self.text("account")?).map(|name| ("acc", name)));
        pairs.extend(self.text("test")?.map(|test| ("test", test)));
        pairs.extend(listed.then(|| ("subs", "1".to_owned())));
        Ok(Params::of(pairs))
    }

    /// As the parameters of `/accountz`.
    pub(super) fn accountz(&self) -> Result<Params, String> {
        Ok(Params::of(self.text("account")?.map(|name| ("acc", name)).into_iter().collect()))
    }

    fn page(&self) -> Result<Vec<(&'static str, String)>, String> {
        Ok(vec![("offset", self.int("offset")?.to_string()), ("limit", self.int("limit")?.to_string())])
    }
}

/// Which connection is to be closed; `None`: the body says nothing that could be understood.
pub(crate) fn connection_number(body: &[u8]) -> Option<u64> {
    if body.is_empty() {
        return None;
    }
    let body = Body::parse(body, "KickClientReq").ok()?;
    Some(body.field("cid", "uint64", Value::as_u64).ok()?.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(body: &str) -> String {
        let body = Body::parse(body.as_bytes(), "ConnzEventOptions");
        body.and_then(|body| body.connz(None)).err().unwrap_or_default()
    }

    #[test]
    fn problems_in_the_words_of_the_nats_server() {
        assert_eq!(problem("{\"x\":"), "unexpected end of JSON input");
        let of = "json: cannot unmarshal";
        assert_eq!(problem("[]"), format!("{of} array into Go value of type server.ConnzEventOptions"));
        assert_eq!(problem("1"), format!("{of} number into Go value of type server.ConnzEventOptions"));
        let field = "into Go struct field ConnzEventOptions";
        assert_eq!(problem(r#"{"offset":"a"}"#), format!("{of} string {field}.offset of type int"));
        assert_eq!(problem(r#"{"offset":1.5}"#), format!("{of} number 1.5 {field}.offset of type int"));
        assert_eq!(problem(r#"{"auth":1}"#), format!("{of} number {field}.auth of type bool"));
        for fine in ["", "null", " {} ", r#"{"Offset":1,"limit":-1,"other":[]}"#, r#"{"user":null}"#] {
            assert_eq!(problem(fine), "", "{fine}");
        }
        assert!(!problem(&format!("{{\"user\":\"{}\"}}", "x".repeat(MAX_BODY))).is_empty());
    }

    #[test]
    fn servers_that_are_meant() {
        let server = ServerBlock::new("NID".into(), "probe".into(), "127.0.0.1".into());
        let meant = |body: &str| Body::parse(body.as_bytes(), "X").unwrap().concerns(&server).unwrap();
        for body in ["", r#"{"server_name":"prob"}"#, r#"{"host":"127"}"#, r#"{"id":"other"}"#] {
            assert!(meant(body), "{body}");
        }
        for body in [
            r#"{"server_name":"x"}"#,
            r#"{"server_name":"prob","exact_match":true}"#,
            r#"{"cluster":"x"}"#,
            r#"{"domain":"x"}"#,
            r#"{"tags":["x"]}"#,
        ] {
            assert!(!meant(body), "{body}");
        }
    }

    #[test]
    fn connections_to_close() {
        assert_eq!((connection_number(br#"{"cid":7}"#), connection_number(b"{}")), (Some(7), Some(0)));
        for bad in ["", "{", r#"{"cid":"x"}"#, r#"{"cid":-1}"#] {
            assert_eq!(connection_number(bad.as_bytes()), None, "{bad}");
        }
    }
}
