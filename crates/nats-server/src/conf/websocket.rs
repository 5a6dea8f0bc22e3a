//! `websocket { ... }`

use super::address::{Port, listen, port};
use super::error::ConfError;
use super::fields::Item;
use super::tls::tls;
use crate::options::WebSocketOptions;

/// Reads the block; `None` if it has no port, which is how the listener is switched off.
pub(super) fn websocket(item: &Item<'_>) -> Result<Option<WebSocketOptions>, ConfError> {
    let mut options = WebSocketOptions::default();
    let (mut number, mut is_plain) = (Port::Unset, false);
    for field in item.items()? {
        match field.name.as_str() {
            "listen" => {
                let (host, port) = listen(&field)?;
                options.host = host.unwrap_or(options.host);
                number = port;
            }
            "port" => number = port(&field)?,
            "host" | "net" => options.host = field.owned()?,
            "tls" => options.tls = Some(tls(&field)?),
            "no_tls" => is_plain = field.boolean()?,
            "same_origin" => options.same_origin = field.boolean()?,
            "allowed_origins" | "allowed_origin" | "allow_origins" | "allow_origin" | "origins"
            | "origin" => {
                options.allowed_origins = field.texts()?;
            }
            "handshake_timeout" => {
                if let Some(timeout) = field.timeout()? {
                    options.handshake_timeout = timeout;
                }
            }
            // A client asks for compression and goes without if the server does not agree.
            "compression" => drop(field.boolean()?),
            "advertise" | "authorization" | "authentication" | "jwt_cookie" | "user_cookie"
            | "username_cookie" | "pass_cookie" | "password_cookie" | "token_cookie" | "no_auth_user"
            | "ping_interval" | "headers" => return Err(field.unsupported()),
            _ => field.unknown()?,
        }
    }
    let Some(number) = number.number() else { return Ok(None) };
    if options.tls.is_none() && !is_plain {
        return Err(
            item.wrong("needs a tls block; for tests, or behind a proxy that encrypts, set no_tls: true")
        );
    }
    options.port = number;
    Ok(Some(options))
}
