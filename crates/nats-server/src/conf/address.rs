//! Addresses to listen on: `host:port`, `:port`, or the port alone.

use super::error::ConfError;
use super::fields::Item;
use super::value::Value;

/// What a port number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// 0: the default, or no listener at all where there need not be one.
    Unset,
    /// -1: any that is free.
    Any,
    Number(u16),
}

impl Port {
    /// The number to bind, where 0 lets the system choose; `None` if it is unset.
    pub(super) fn number(self) -> Option<u16> {
        match self {
            Port::Unset => None,
            Port::Any => Some(0),
            Port::Number(number) => Some(number),
        }
    }

    fn from_integer(value: i64) -> Option<Port> {
        match value {
            0 => Some(Port::Unset),
            -1 => Some(Port::Any),
            _ => u16::try_from(value).ok().map(Port::Number),
        }
    }
}

/// A field that is a port.
pub(super) fn port(item: &Item<'_>) -> Result<Port, ConfError> {
    let value = item.integer()?;
    Port::from_integer(value)
        .ok_or_else(|| item.wrong(format!("{value} is not a port; 1 to 65535, or -1 for any that is free")))
}

/// A field that is an address: its host, if it has one, and its port.
pub(super) fn listen(item: &Item<'_>) -> Result<(Option<String>, Port), ConfError> {
    if matches!(item.node.value, Value::Integer { .. }) {
        return Ok((None, port(item)?));
    }
    let text = item.text().map_err(|_| item.wrong("expected a port or \"host:port\""))?;
    let refuse = || {
        item.wrong(format!(
            "{text:?} is not an address; it looks like \"host:port\", with brackets around IPv6"
        ))
    };
    let (host, port) = split(text).ok_or_else(refuse)?;
    let port = port.parse().ok().and_then(Port::from_integer).ok_or_else(refuse)?;
    Ok(((!host.is_empty()).then(|| host.to_owned()), port))
}

/// Host and port of `host:port` or `[host]:port`.
fn split(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').map(|host| (host, port)),
        None => (!host.contains([':', '[', ']'])).then_some((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_split() {
        assert_eq!(split("a:1"), Some(("a", "1")));
        assert_eq!(split(":1"), Some(("", "1")));
        assert_eq!(split("[::1]:4222"), Some(("::1", "4222")));
        for bad in ["a", "::1:4222", "[::1:4222", "[::1]", "a]:1"] {
            assert_eq!(split(bad), None, "{bad}");
        }
        assert_eq!(Port::from_integer(-1).and_then(Port::number), Some(0));
        assert_eq!(Port::from_integer(0).and_then(Port::number), None);
        assert_eq!(Port::from_integer(65_536), None);
        assert_eq!(Port::from_integer(-2), None);
    }
}
