//! `tls { ... }`

use std::path::PathBuf;
use std::time::Duration;

use super::duration;
use super::error::ConfError;
use super::fields::Item;
use super::value::Value;
use crate::options::{HandshakeFirst, TlsOptions};

/// How long `handshake_first: auto` waits for a client to begin.
const AUTO: Duration = Duration::from_millis(50);

/// Reads the block. The files must be there.
pub(super) fn tls(item: &Item<'_>) -> Result<TlsOptions, ConfError> {
    let (mut cert, mut key) = (None, None);
    let mut tls = TlsOptions::new("", "");
    for field in item.items()? {
        match field.name.as_str() {
            "cert_file" => cert = Some(file(&field)?),
            "key_file" => key = Some(file(&field)?),
            "ca_file" => tls.ca_file = Some(file(&field)?),
            "verify" => tls.verify = field.boolean()?,
            "verify_and_map" => tls.verify_and_map = field.boolean()?,
            "timeout" => {
                if let Some(timeout) = field.timeout()? {
                    tls.timeout = timeout;
                }
            }
            "handshake_first" | "first" | "immediate" => tls.handshake_first = handshake_first(&field)?,
            // About connections that the server opens; this one opens none.
            "insecure" => drop(field.boolean()?),
            "verify_cert_and_check_known_urls" if field.boolean()? => return Err(field.unsupported()),
            "verify_cert_and_check_known_urls" => {}
            // Nothing older is spoken anyway.
            "min_version" if field.text()? == "1.2" => {}
            "min_version"
            | "cipher_suites"
            | "curve_preferences"
            | "pinned_certs"
            | "connection_rate_limit"
            | "certs"
            | "certificates"
            | "ocsp_peer"
            | "cert_store"
            | "cert_match"
            | "cert_match_by"
            | "cert_match_skip_invalid"
            | "ca_certs_match" => return Err(field.unsupported()),
            _ => field.unknown()?,
        }
    }
    let (Some(cert), Some(key)) = (cert, key) else {
        return Err(item.wrong("cert_file and key_file are needed"));
    };
    tls.cert_file = cert;
    tls.key_file = key;
    Ok(tls)
}

/// A file that can be opened. Its path is relative to the working directory, not to the configuration.
fn file(item: &Item<'_>) -> Result<PathBuf, ConfError> {
    let path = PathBuf::from(item.text()?);
    match std::fs::File::open(&path) {
        Ok(_) => Ok(path),
        Err(reason) => Err(item.wrong(format!("cannot open {}: {reason}", path.display()))),
    }
}

fn handshake_first(item: &Item<'_>) -> Result<HandshakeFirst, ConfError> {
    let (always, never) = (HandshakeFirst::Always, HandshakeFirst::Never);
    if let Value::Bool(value) = item.node.value {
        return Ok(if value { always } else { never });
    }
    let text = item.text().map_err(|_| item.wrong("expected a boolean, \"auto\" or a time"))?;
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" => Ok(always),
        "false" | "off" | "no" => Ok(never),
        "auto" | "auto_fallback" => Ok(HandshakeFirst::Auto(AUTO)),
        other => match duration::parse(other) {
            Some((time, false)) => Ok(HandshakeFirst::Auto(time)),
            _ => Err(item.wrong(format!("{text:?} is neither a boolean, \"auto\" nor a time"))),
        },
    }
}
