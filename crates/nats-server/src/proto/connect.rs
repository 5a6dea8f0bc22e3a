//! The CONNECT document of a client. Keys that are absent keep their former value, so that a second CONNECT changes
//! only what it names; `null` counts as absent. Must never be printed: it holds credentials.
//!
//! How it is read: see [`json`].

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::json::{self, Lists, Text, folded};

/// What a client says about itself. Unknown keys are ignored.
#[derive(Clone, Default)]
pub(crate) struct Connect {
    pub(crate) verbose: Option<bool>,
    pub(crate) pedantic: Option<bool>,
    pub(crate) echo: Option<bool>,
    pub(crate) headers: Option<bool>,
    pub(crate) no_responders: Option<bool>,
    pub(crate) protocol: Option<i64>,
    pub(crate) name: Option<String>,
    pub(crate) lang: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) auth_token: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) pass: Option<String>,
    pub(crate) nkey: Option<String>,
    pub(crate) sig: Option<String>,
    pub(crate) jwt: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) new_account: Option<bool>,
    /// In place of `pass`: the password of the user that clients are who show nothing.
    pub(crate) is_nobody: bool,
}

impl Connect {
    /// Reads the argument of CONNECT.
    ///
    /// # Errors
    /// If it is not a JSON object of the expected types. The error is not kept: it could quote a secret.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, ()> {
        json::read(json).map(Option::unwrap_or_default)
    }

    /// A client may not pick an account: its credentials say which is its own.
    pub(crate) fn asks_for_account(&self) -> bool {
        self.account.as_deref().is_some_and(|name| !name.is_empty()) || self.new_account == Some(true)
    }

    /// Takes the credentials that it does not name from what the client showed before.
    pub(crate) fn complete(&mut self, before: &Connect) {
        self.is_nobody = before.is_nobody && self.pass.is_none();
        let pairs = [
            (&mut self.auth_token, &before.auth_token),
            (&mut self.user, &before.user),
            (&mut self.pass, &before.pass),
            (&mut self.nkey, &before.nkey),
            (&mut self.sig, &before.sig),
            (&mut self.jwt, &before.jwt),
        ];
        for (new, old) in pairs {
            if new.is_none() {
                new.clone_from(old);
            }
        }
    }

    /// The credentials alone, for [`complete`](Self::complete); `None` if it has none.
    pub(crate) fn into_credentials(self) -> Option<Box<Connect>> {
        let Connect { auth_token, user, pass, nkey, sig, jwt, is_nobody, .. } = self;
        let is_empty = [&auth_token, &user, &pass, &nkey, &sig, &jwt].iter().all(|value| value.is_none());
        let credentials = Connect { auth_token, user, pass, nkey, sig, jwt, is_nobody, ..Connect::default() };
        (!is_empty).then(|| Box::new(credentials))
    }
}

impl<'de> Deserialize<'de> for Connect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Document;
        impl<'de> Visitor<'de> for Document {
            type Value = Connect;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Connect, A::Error> {
                let mut connect = Connect::default();
                while let Some(Text(key)) = map.next_key()? {
                    connect.take(&folded(&key), &mut map)?;
                }
                Ok(connect)
            }
        }
        deserializer.deserialize_map(Document)
    }
}

impl Connect {
    /// Reads the value of one key.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "verbose" => flag(&mut self.verbose, map),
            "pedantic" => flag(&mut self.pedantic, map),
            "echo" => flag(&mut self.echo, map),
            "headers" => flag(&mut self.headers, map),
            "no_responders" => flag(&mut self.no_responders, map),
            "new_account" => flag(&mut self.new_account, map),
            "protocol" => set(&mut self.protocol, map.next_value()?),
            "name" => text(&mut self.name, map),
            "lang" => text(&mut self.lang, map),
            "version" => text(&mut self.version, map),
            "auth_token" => text(&mut self.auth_token, map),
            "user" => text(&mut self.user, map),
            "pass" => text(&mut self.pass, map),
            "nkey" => text(&mut self.nkey, map),
            "sig" => text(&mut self.sig, map),
            "jwt" => text(&mut self.jwt, map),
            "account" => text(&mut self.account, map),
            // Known, and of no use here; but their types count.
            "tls_required" => flag(&mut None, map),
            "remote_account" | "proxy_sig" => text(&mut None, map),
            "import" | "export" => map.next_value::<Option<Lists>>().map(drop),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
}

fn set<T, E>(field: &mut Option<T>, value: Option<T>) -> Result<(), E> {
    if value.is_some() {
        *field = value;
    }
    Ok(())
}

fn flag<'de, A: MapAccess<'de>>(field: &mut Option<bool>, map: &mut A) -> Result<(), A::Error> {
    set(field, map.next_value()?)
}

fn text<'de, A: MapAccess<'de>>(field: &mut Option<String>, map: &mut A) -> Result<(), A::Error> {
    set(field, map.next_value::<Option<Text>>()?.map(|Text(text)| text))
}

/// How the server must behave towards one client. The defaults hold until CONNECT says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behaviour {
    /// Answer every good operation with `+OK`.
    pub(crate) verbose: bool,
    /// Check subjects of publications.
    pub(crate) pedantic: bool,
    /// Deliver a client's own messages to its own subscriptions.
    pub(crate) echo: bool,
    /// The client understands HMSG.
    pub(crate) headers: bool,
    /// Tell the client when nobody received a request.
    pub(crate) no_responders: bool,
    /// 1: the client accepts INFO at any time.
    pub(crate) protocol: i64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { verbose: true, pedantic: true, echo: true, headers: false, no_responders: false, protocol: 0 }
    }
}

impl Behaviour {
    /// Takes over what a CONNECT names.
    pub(crate) fn update(&mut self, connect: &Connect) {
        self.verbose = connect.verbose.unwrap_or(self.verbose);
        self.pedantic = connect.pedantic.unwrap_or(self.pedantic);
        self.echo = connect.echo.unwrap_or(self.echo);
        self.headers = connect.headers.unwrap_or(self.headers);
        self.no_responders = connect.no_responders.unwrap_or(self.no_responders);
        self.protocol = connect.protocol.unwrap_or(self.protocol);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_and_null_keep_what_was() {
        let mut behaviour = Behaviour::default();
        behaviour.update(&Connect::parse(br#"{"verbose":false,"headers":true,"protocol":1}"#).unwrap());
        behaviour.update(&Connect::parse(br#" {"pedantic":false,"verbose":null,"other":[1]}"#).unwrap());
        let expected =
            Behaviour { verbose: false, pedantic: false, headers: true, protocol: 1, ..Behaviour::default() };
        assert_eq!(behaviour, expected);
    }

    #[test]
    fn only_objects_of_the_right_types() {
        let bad = [
            "",
            "{",
            "[]",
            "[true]",
            "true",
            "\"x\"",
            "{} x",
            r#"{"verbose":}"#,
            r#"{"verbose":1}"#,
            r#"{"VERBOSE":1}"#,
            r#"{"verbose":"x","verbose":true}"#,
            r#"{"name":1}"#,
            r#"{"name":["x"]}"#,
            r#"{"name":[97]}"#,
            r#"{"protocol":1.0}"#,
            r#"{"protocol":"1"}"#,
            r#"{"protocol":99999999999999999999}"#,
            r#"{"tls_required":0}"#,
            r#"{"proxy_sig":0}"#,
            r#"{"import":[]}"#,
            r#"{"export":{"Allow":"x"}}"#,
            r#"{"export":{"deny":[1]}}"#,
            "{\"name\":\"\u{1}\"}",
        ];
        for bad in bad {
            assert!(Connect::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let good = [
            "null",
            "{}",
            r#"{"":[],"x":{"y":[null]},"n":1e999,"s":"\ud800"}"#,
            r#"{"import":null,"export":{"allow":["a",null],"deny":null,"x":1}}"#,
        ];
        for good in good {
            assert!(Connect::parse(good.as_bytes()).is_ok(), "{good}");
        }
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(2000), "]".repeat(2000));
        assert!(Connect::parse(deep.as_bytes()).is_ok());
    }

    #[test]
    fn keys_in_any_case_and_the_last_one_counts() {
        let connect = Connect::parse(
            "{\"NAME\":\"a\",\"name\":\"b\",\"Na\\u004De\":\"c\",\"u\u{17f}er\":\"d\",\"n\u{212a}ey\":\"e\",\"name\":null}"
                .as_bytes(),
        )
        .unwrap();
        assert_eq!(connect.name.as_deref(), Some("c"));
        assert_eq!((connect.user.as_deref(), connect.nkey.as_deref()), (Some("d"), Some("e")));
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        let name = |json: &[u8]| Connect::parse(json).unwrap().name.unwrap();
        assert_eq!(name(b"{\"name\":\"a\xffb\"}"), "a\u{fffd}b");
        assert_eq!(name(b"{\"name\":\"\xe2\x82x\"}"), "\u{fffd}\u{fffd}x");
        assert_eq!(name(b"{\"name\":\"\\ud800\\u0041\"}"), "\u{fffd}A");
        assert_eq!(name(b"{\"name\":\"\\ud83d\\ude00\\u0000\"}"), "\u{1f600}\0");
    }

    #[test]
    fn credentials_are_kept() {
        let mut one = Connect::parse(br#"{"user":"u","pass":"p","name":"n"}"#).unwrap();
        let before = one.clone().into_credentials().unwrap();
        assert!(before.name.is_none() && Connect::default().into_credentials().is_none());
        one = Connect::parse(br#"{"pass":""}"#).unwrap();
        one.complete(&before);
        assert_eq!((one.user.as_deref(), one.pass.as_deref()), (Some("u"), Some("")));
    }
}
