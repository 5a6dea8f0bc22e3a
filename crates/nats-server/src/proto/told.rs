//! INFO from a client, which has nothing to say with it. But it must be one: a key of INFO with a value of another type is
//! an error like any that is no JSON.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::json::{self, Lists, Text, folded};

/// Is it an INFO document?
pub(crate) fn is_info(json: &[u8]) -> bool {
    json::read::<Told>(json).is_ok()
}

struct Told;

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Document;
        impl<'de> Visitor<'de> for Document {
            type Value = Told;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Told, A::Error> {
                while let Some(Text(key)) = map.next_key()? {
                    check(&folded(&key), &mut map)?;
                }
                Ok(Told)
            }
        }
        deserializer.deserialize_map(Document)
    }
}

/// Reads the value of one key and lets it go.
fn check<'de, A: MapAccess<'de>>(key: &str, map: &mut A) -> Result<(), A::Error> {
    match key {
        "server_id"
        | "server_name"
        | "version"
        | "git_commit"
        | "go"
        | "host"
        | "ip"
        | "client_ip"
        | "nonce"
        | "cluster"
        | "domain"
        | "xkey"
        | "compression"
        | "remote_account"
        | "route_account"
        | "route_acc_add_reqid"
        | "gateway"
        | "gateway_url" => is::<Text, A>(map),
        "headers" | "auth_required" | "tls_required" | "tls_verify" | "tls_available" | "jetstream"
        | "cluster_dynamic" | "ldm" | "connect_info" | "acc_is_sys" | "lnoc" | "lnocu"
        | "info_on_connect" | "gateway_nrp" | "gateway_iom" => is::<bool, A>(map),
        "proto" | "port" | "api_lvl" | "route_pool_size" | "route_pool_idx" => is::<i64, A>(map),
        "max_payload" => is::<i32, A>(map),
        "client_id" => is::<u64, A>(map),
        "gateway_cmd" | "gossip_mode" => is::<u8, A>(map),
        "connect_urls" | "ws_connect_urls" | "gateway_urls" | "leafnode_urls" => {
            is::<Vec<Option<Text>>, A>(map)
        }
        "import" | "export" => is::<Lists, A>(map),
        _ => is::<IgnoredAny, A>(map),
    }
}

/// The next value is such a one, or `null`.
fn is<'de, T: Deserialize<'de>, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<Option<T>>().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_count() {
        for good in ["null", "{}", r#"{"port":null}"#, r#"{"PORT":1,"x":[],"connect_urls":["a",null]}"#] {
            assert!(is_info(good.as_bytes()), "{good}");
        }
        for bad in
            ["", "x", "[]", "1", r#"{"port":"x"}"#, r#"{"headers":1}"#, r#"{"max_payload":2147483648}"#]
        {
            assert!(!is_info(bad.as_bytes()), "{bad}");
        }
    }
}
