//! Who may connect. Knows credentials and nothing of sockets, so that further kinds (keys, tokens signed by an
//! operator) can be added here without touching the data path. Must never log or return what a client offered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use subtle::{Choice, ConstantTimeEq};

use crate::options::Options;
use crate::proto::connect::Connect;

/// Addresses remembered at most, so that a flood from many addresses cannot fill memory.
const MAX_REMEMBERED: usize = 1024;
/// One log line per address in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Are these credentials good? Every configured user is compared in full, so that time tells nothing about names.
pub(crate) fn allowed(options: &Options, offered: &Connect) -> bool {
    if !options.auth_required() {
        return true;
    }
    let mut good = Choice::from(0);
    if let (Some(token), Some(given)) = (&options.token, &offered.auth_token) {
        good |= token.as_bytes().ct_eq(given.as_bytes());
    }
    if let (Some(name), Some(password)) = (&offered.user, &offered.pass) {
        for user in &options.users {
            good |= user.name.as_bytes().ct_eq(name.as_bytes())
                & user.password.as_bytes().ct_eq(password.as_bytes());
        }
    }
    good.into()
}

/// Decides whether a failed log-in is worth a log line.
#[derive(Default)]
pub(crate) struct FailureLog {
    last: HashMap<IpAddr, Instant>,
}

impl FailureLog {
    /// True once per address and interval.
    pub(crate) fn should_log(&mut self, addr: IpAddr, now: Instant) -> bool {
        if self.last.get(&addr).is_some_and(|last| now.duration_since(*last) < LOG_INTERVAL) {
            return false;
        }
        if self.last.len() >= MAX_REMEMBERED {
            self.last.retain(|_, last| now.duration_since(*last) < LOG_INTERVAL);
            if self.last.len() >= MAX_REMEMBERED {
                return false;
            }
        }
        self.last.insert(addr, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::User;

    fn offer(json: &str) -> Connect {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn token_and_users() {
        let mut options = Options::default();
        assert!(allowed(&options, &offer("{}")));
        options.token = Some("s3cr".into());
        assert!(allowed(&options, &offer(r#"{"auth_token":"s3cr"}"#)));
        assert!(!allowed(&options, &offer(r#"{"auth_token":"s3cre"}"#)));
        assert!(!allowed(&options, &offer("{}")));
        options.users = vec![User { name: "u".into(), password: "p".into() }];
        assert!(allowed(&options, &offer(r#"{"user":"u","pass":"p"}"#)));
        assert!(!allowed(&options, &offer(r#"{"user":"u","pass":""}"#)));
        assert!(!allowed(&options, &offer(r#"{"user":"u"}"#)));
    }

    #[test]
    fn one_line_per_address_and_interval() {
        let mut log = FailureLog::default();
        let (now, addr) = (Instant::now(), IpAddr::from([127, 0, 0, 1]));
        assert!(log.should_log(addr, now));
        assert!(!log.should_log(addr, now + Duration::from_secs(59)));
        assert!(log.should_log(addr, now + Duration::from_secs(61)));
        assert!(log.should_log(IpAddr::from([127, 0, 0, 2]), now));
    }
}
