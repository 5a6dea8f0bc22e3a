//! By which kinds of connections users may come. Pure.

use std::collections::HashMap;

use super::operator::ConnectionType;

/// The kinds that the NATS server knows. Those that are not there here can be named, and nobody comes by them.
pub(crate) const KINDS: [&str; 7] =
    ["STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS"];

/// The users that may not come by all of them.
#[derive(Default)]
pub(super) struct Ways(HashMap<String, Vec<String>>);

impl Ways {
    /// Binds a user, or its public key, to these kinds; an empty list leaves it free.
    ///
    /// # Errors
    /// Text: a kind that there is not.
    pub(super) fn bind(&mut self, user: &str, kinds: &[String]) -> Result<(), String> {
        if let Some(unknown) = kinds.iter().find(|kind| !is_known(kind)) {
            return Err(format!("{unknown:?} is no kind of connection; there are {}", KINDS.join(", ")));
        }
        if !kinds.is_empty() {
            self.0.insert(user.to_owned(), kinds.to_vec());
        }
        Ok(())
    }

    /// Is the user bound to some?
    pub(super) fn binds(&self, user: &str) -> bool {
        self.0.contains_key(user)
    }

    /// May the user come in this way?
    pub(super) fn allow(&self, user: &str, by: ConnectionType) -> bool {
        self.0.get(user).is_none_or(|kinds| kinds.iter().any(|kind| kind.eq_ignore_ascii_case(by.name())))
    }
}

/// Is this a kind of connection, in any case?
pub(crate) fn is_known(kind: &str) -> bool {
    KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_come_how() {
        let mut ways = Ways::default();
        ways.bind("page", &["websocket".into(), "MQTT".into()]).unwrap();
        ways.bind("any", &[]).unwrap();
        assert!(ways.bind("x", &["PIGEON".into()]).unwrap_err().contains("\"PIGEON\""));
        assert!(ways.allow("page", ConnectionType::WebSocket));
        assert!(!ways.allow("page", ConnectionType::Standard) && ways.binds("page"));
        for by in [ConnectionType::Standard, ConnectionType::WebSocket] {
            assert!(ways.allow("any", by) && ways.allow("somebody", by));
        }
    }
}
