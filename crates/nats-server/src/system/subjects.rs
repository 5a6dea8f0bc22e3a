//! Which request a subject is. Pure.

use crate::monitor::documents::Document;

/// A request that the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// Who am I?
    UserInfo,
    /// The same with a name in it, from the system account: there is nobody it could be about.
    NoUser,
    Server(ServerRequest),
    /// Closes a connection.
    Kick,
    /// Asks one client to go elsewhere.
    LameDuck,
    Reload,
    /// Operator mode: replaces the document of an account.
    ClaimsUpdate {
        name: &'a str,
    },
    Account {
        name: &'a str,
        what: AccountRequest,
    },
    /// About the account of whoever asks.
    OwnAccount(AccountRequest),
}

/// A request about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerRequest {
    Statsz,
    Idz,
    Healthz,
    Profilez,
    /// Something that this server has none of.
    Empty,
    Document(Document),
}

/// A request about an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountRequest {
    Connz,
    Subsz,
    Info,
    Conns,
    Statz,
    Leafz,
    Jsz,
}

/// Whose connections and traffic are asked for by `PING` in the place of an account.
const ALL: &str = "PING";

/// Reads a subject. `account_services`: users of other accounts than that of the system may ask about their own.
pub(crate) fn parse<'a>(
    subject: &'a [u8],
    server_id: &str,
    is_system: bool,
    account_services: bool,
) -> Option<Request<'a>> {
    let subject = std::str::from_utf8(subject).ok()?.strip_prefix("$SYS.")?;
    if is_system && let Some(name) = claims_update(subject) {
        return Some(Request::ClaimsUpdate { name });
    }
    let subject = subject.strip_prefix("REQ.")?;
    match subject {
        "USER.INFO" => return Some(Request::UserInfo),
        "ACCOUNT.PING.CONNZ" | "SERVER.PING.CONNZ" if !is_system && account_services => {
            return Some(Request::OwnAccount(AccountRequest::Connz));
        }
        "ACCOUNT.PING.STATZ" if !is_system && account_services => {
            return Some(Request::OwnAccount(AccountRequest::Statz));
        }
        _ if !is_system => return None,
        "SERVER.PING" => return Some(Request::Server(ServerRequest::Statsz)),
        _ => {}
    }
    let mut tokens = subject.split('.');
    let (kind, name, what) = (tokens.next()?, tokens.next()?, tokens.next()?);
    if tokens.next().is_some() || name.is_empty() {
        return None;
    }
    match (kind, what) {
        ("USER", "INFO") => Some(Request::NoUser),
        ("SERVER", what) if name == ALL => server(what).map(Request::Server),
        ("SERVER", what) if name == server_id => match what {
            "KICK" => Some(Request::Kick),
            "LDM" => Some(Request::LameDuck),
            "RELOAD" => Some(Request::Reload),
            what => server(what).map(Request::Server),
        },
        ("ACCOUNT", what) => account(what).map(|what| Request::Account { name, what }),
        _ => None,
    }
}

/// The account in `ACCOUNT.<account>.CLAIMS.UPDATE`, an old form, or the same with `REQ.` before it.
fn claims_update(subject: &str) -> Option<&str> {
    let subject = subject.strip_prefix("REQ.").unwrap_or(subject);
    let name = subject.strip_prefix("ACCOUNT.")?.strip_suffix(".CLAIMS.UPDATE")?;
    Some(name).filter(|name| !name.is_empty() && !name.contains('.'))
}

fn server(what: &str) -> Option<ServerRequest> {
    Some(match what {
        "STATSZ" => ServerRequest::Statsz,
        "IDZ" => ServerRequest::Idz,
        "HEALTHZ" => ServerRequest::Healthz,
        "PROFILEZ" => ServerRequest::Profilez,
        "IPQUEUESZ" | "RAFTZ" => ServerRequest::Empty,
        "VARZ" => ServerRequest::Document(Document::Varz),
        "CONNZ" => ServerRequest::Document(Document::Connz),
        "SUBSZ" => ServerRequest::Document(Document::Subsz),
        "ACCOUNTZ" => ServerRequest::Document(Document::Accountz),
        "ROUTEZ" => ServerRequest::Document(Document::Routez),
        "GATEWAYZ" => ServerRequest::Document(Document::Gatewayz),
        "LEAFZ" => ServerRequest::Document(Document::Leafz),
        "JSZ" => ServerRequest::Document(Document::Jsz),
        _ => return None,
    })
}

fn account(what: &str) -> Option<AccountRequest> {
    Some(match what {
        "CONNZ" => AccountRequest::Connz,
        "SUBSZ" => AccountRequest::Subsz,
        "INFO" => AccountRequest::Info,
        "CONNS" => AccountRequest::Conns,
        "STATZ" => AccountRequest::Statz,
        "LEAFZ" => AccountRequest::Leafz,
        "JSZ" => AccountRequest::Jsz,
        _ => return None,
    })
}

/// Does `PING` in the place of an account stand for all of them?
pub(super) fn means_all(name: &str) -> bool {
    name == ALL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_ask_what() {
        let of = |subject: &'static str, is_system, services| {
            parse(subject.as_bytes(), "NID", is_system, services)
        };
        for (is_system, services) in [(false, false), (false, true), (true, false)] {
            assert_eq!(of("$SYS.REQ.USER.INFO", is_system, services), Some(Request::UserInfo));
        }
        let own = Some(Request::OwnAccount(AccountRequest::Connz));
        for subject in ["$SYS.REQ.ACCOUNT.PING.CONNZ", "$SYS.REQ.SERVER.PING.CONNZ"] {
            assert_eq!((of(subject, false, true), of(subject, false, false)), (own, None), "{subject}");
        }
        for subject in [
            "$SYS.REQ.SERVER.PING",
            "$SYS.REQ.SERVER.PING.VARZ",
            "$SYS.REQ.SERVER.NID.KICK",
            "$SYS.REQ.ACCOUNT.A.CONNZ",
            "$SYS.REQ.ACCOUNT.A.INFO",
            "$SYS.REQ.USER.A.INFO",
            "$SYS.REQ.ACCOUNT.A.CLAIMS.UPDATE",
            "$SYS.ACCOUNT.A.CLAIMS.UPDATE",
        ] {
            assert!(of(subject, true, false).is_some() && of(subject, false, true).is_none(), "{subject}");
        }
        for subject in [
            "$SYS.REQ.SERVER.PING.KICK",
            "$SYS.REQ.SERVER.OTHER.VARZ",
            "$SYS.REQ.SERVER.NID",
            "$SYS.REQ.SERVER.PING.VARZ.x",
            "$SYS.REQ.ACCOUNT..CONNZ",
            "$SYS.ACCOUNT..CLAIMS.UPDATE",
            "$SYS.ACCOUNT.A.CONNECT",
            "$SYS.REQ.",
            "$SYS.REQ.USER",
        ] {
            assert_eq!(of(subject, true, true), None, "{subject}");
        }
        assert_eq!(parse(b"$SYS.REQ.ACCOUNT.\xff.CONNZ", "NID", true, true), None);
    }
}
