//! The CONNECT document of a client. Keys that are absent keep their former value, so that a second CONNECT changes
//! only what it names; `null` counts as absent. Must never be printed: it holds credentials.

use serde::Deserialize;

/// What a client says about itself. Unknown keys are ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
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
}

impl Connect {
    /// Reads the argument of CONNECT.
    ///
    /// # Errors
    /// If it is not a JSON object of the expected types. The error is not kept: it could quote a secret.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, ()> {
        if json == b"null" {
            return Ok(Self::default());
        }
        // A JSON array would deserialize into a struct by position; only an object is a CONNECT.
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(());
        }
        serde_json::from_slice(json).map_err(|_| ())
    }

    /// A client may not pick an account: its credentials say which is its own.
    pub(crate) fn asks_for_account(&self) -> bool {
        self.account.as_deref().is_some_and(|name| !name.is_empty()) || self.new_account == Some(true)
    }
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
    fn only_objects() {
        for bad in ["", "{", "[]", "[true]", r#"{"verbose":}"#, r#"{"verbose":1}"#] {
            assert!(Connect::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
