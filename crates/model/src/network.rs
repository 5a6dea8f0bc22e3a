//! Network access of a task.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// How a task may reach the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NetworkType {
    /// What the node gives by default.
    #[default]
    Default,
    /// No network.
    None,
    /// The host's network.
    Host,
    /// Old name of [`NetworkType::Host`].
    Full,
    /// HTTP through a filtering proxy, to listed domains.
    Http,
    /// A bridge with port mappings.
    Bridge,
}

impl NetworkType {
    const ALL: [(NetworkType, &'static str); 6] = [
        (NetworkType::Default, "Default"),
        (NetworkType::None, "None"),
        (NetworkType::Host, "Host"),
        (NetworkType::Full, "Full"),
        (NetworkType::Http, "HTTP"),
        (NetworkType::Bridge, "Bridge"),
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            NetworkType::Default => "Default",
            NetworkType::None => "None",
            NetworkType::Host => "Host",
            NetworkType::Full => "Full",
            NetworkType::Http => "HTTP",
            NetworkType::Bridge => "Bridge",
        }
    }

    /// Reads the word in any case.
    pub fn parse(text: &str) -> Result<NetworkType, String> {
        NetworkType::ALL
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
            .map(|(value, _)| *value)
            .ok_or_else(|| format!("models.Network: unknown type '{text}'"))
    }
}

impl fmt::Display for NetworkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for NetworkType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for NetworkType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        NetworkType::parse(&text).map_err(de::Error::custom)
    }
}

/// Network section of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkConfig {
    /// Kind of access.
    pub r#type: NetworkType,
    /// Allowed domains, only for [`NetworkType::Http`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
    /// Ports, only for Host, Full and Bridge.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
}

/// One port of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortMapping {
    /// Name; becomes part of `BACALHAU_PORT_<name>`.
    pub name: String,
    /// Host port; 0 lets the node choose.
    #[serde(skip_serializing_if = "is_zero")]
    pub r#static: i64,
    /// Port inside, Bridge only; 0 means the host port.
    #[serde(skip_serializing_if = "is_zero")]
    pub target: i64,
    /// Host address to bind; empty means all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host_network: String,
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}
