//! `/connz`: the connections that are open, and the last ones that were.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::Instant;

use serde::Serialize;

use super::State;
use super::failure::Failure;
use super::params::Params;
use super::rows::{ConnRow, Question};
use super::subsz::{MAX_LIMIT, SubDetail, limit};
use super::text::{long, lossy, short};
use crate::auth::GLOBAL_ACCOUNT;

/// Which connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Open,
    Closed,
    Any,
}

/// What to say about their subscriptions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subs {
    Count,
    Subjects,
    Details,
}

#[derive(Clone, Copy)]
enum Order {
    Cid,
    Subs,
    Pending,
    MsgsTo,
    MsgsFrom,
    BytesTo,
    BytesFrom,
    Last,
    Idle,
    Uptime,
    Stop,
    Reason,
    Rtt,
}

pub(super) struct Wanted<'a> {
    order: Order,
    which: Which,
    subs: Subs,
    auth: bool,
    offset: usize,
    limit: usize,
    /// 0: any.
    cid: u64,
    user: Option<&'a str>,
    account: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    pub(super) fn parse(params: &'a Params) -> Result<Wanted<'a>, Failure> {
        let which = match params.text("state").map(str::to_ascii_lowercase).as_deref() {
            None | Some("open") => Which::Open,
            Some("closed") => Which::Closed,
            Some("any" | "all") => Which::Any,
            Some(other) => return Err(Failure::bad(format!("Error decoding state for {other}"))),
        };
        let order = Order::parse(params.text("sort").unwrap_or("cid"), which)?;
        let subs = match params.text("subs") {
            Some("detail") => Subs::Details,
            _ if params.flag("subs")? => Subs::Subjects,
            _ => Subs::Count,
        };
        let cid = params.number("cid")?;
        Ok(Wanted {
            order,
            which,
            subs,
            auth: params.flag("auth")?,
            offset: params.count("offset")?,
            limit: if cid > 0 { 1 } else { limit(params)? },
            cid,
            user: params.text("user"),
            account: params.text("acc"),
        })
    }
}

impl Order {
    fn parse(word: &str, which: Which) -> Result<Order, Failure> {
        Ok(match word {
            "cid" | "start" => Order::Cid,
            "subs" => Order::Subs,
            "pending" => Order::Pending,
            "msgs_to" => Order::MsgsTo,
            "msgs_from" => Order::MsgsFrom,
            "bytes_to" => Order::BytesTo,
            "bytes_from" => Order::BytesFrom,
            "last" => Order::Last,
            "idle" => Order::Idle,
            "uptime" => Order::Uptime,
            "rtt" => Order::Rtt,
            "stop" | "reason" if which != Which::Closed => {
                return Err(Failure::bad(format!("sort by {word} only valid on closed connections")));
            }
            "stop" => Order::Stop,
            "reason" => Order::Reason,
            other => return Err(Failure::bad(format!("invalid sorting option: {other}"))),
        })
    }

    /// Large figures first; the number of the connection decides between equals.
    fn compare(self, one: &ConnRow, other: &ConnRow, now: Instant) -> Ordering {
        let down = |figure: fn(&ConnRow) -> u64| figure(other).cmp(&figure(one));
        let reason = |row: &ConnRow| row.end.map(|(_, reason)| reason.to_string());
        let by_figure = match self {
            Order::Cid => Ordering::Equal,
            Order::Subs => down(|row| row.subscriptions),
            Order::Pending => down(|row| row.pending),
            Order::MsgsTo => down(|row| row.traffic.out_msgs),
            Order::MsgsFrom => down(|row| row.traffic.in_msgs),
            Order::BytesTo => down(|row| row.traffic.out_bytes),
            Order::BytesFrom => down(|row| row.traffic.in_bytes),
            Order::Last => other.traffic.last.cmp(&one.traffic.last),
            Order::Idle => idle(other, now).cmp(&idle(one, now)),
            // As in the NATS server: the youngest first.
            Order::Uptime => uptime(one, now).cmp(&uptime(other, now)),
            Order::Stop => other.end.map(|(at, _)| at).cmp(&one.end.map(|(at, _)| at)),
            Order::Reason => reason(one).cmp(&reason(other)),
            Order::Rtt => other.rtt.cmp(&one.rtt),
        };
        by_figure.then(one.cid.cmp(&other.cid))
    }
}

/// The end of a connection, or now.
fn until(row: &ConnRow, now: Instant) -> Instant {
    row.end.map_or(now, |(at, _)| at)
}

fn uptime(row: &ConnRow, now: Instant) -> std::time::Duration {
    until(row, now).saturating_duration_since(row.start)
}

fn idle(row: &ConnRow, now: Instant) -> std::time::Duration {
    until(row, now).saturating_duration_since(row.traffic.last)
}

/// The best rows seen so far. Holds no more than twice as many as are wanted.
struct Best {
    rows: Vec<ConnRow>,
    keep: usize,
    order: Order,
    now: Instant,
}

impl Best {
    fn push(&mut self, row: ConnRow) {
        self.rows.push(row);
        if self.rows.len() >= self.keep.saturating_mul(2).max(1024) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let (order, now) = (self.order, self.now);
        self.rows.sort_unstable_by(|one, other| order.compare(one, other, now));
        self.rows.truncate(self.keep);
    }
}

#[derive(Serialize)]
pub(super) struct Connz {
    server_id: String,
    now: String,
    num_connections: usize,
    total: usize,
    offset: usize,
    limit: usize,
    connections: Vec<ConnInfo>,
}

#[derive(Serialize)]
struct ConnInfo {
    cid: u64,
    kind: &'static str,
    #[serde(rename = "type")]
    protocol: &'static str,
    ip: String,
    port: u16,
    start: String,
    last_activity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt: Option<String>,
    uptime: String,
    idle: String,
    pending_bytes: u64,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    stalls: u64,
    subscriptions: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    lang: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    authorized_user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    account: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list_detail: Vec<SubDetail>,
    #[serde(skip_serializing_if = "String::is_empty")]
    name_tag: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ConnInfo {
    fn new(state: &State, row: &ConnRow, now: Instant, auth: bool) -> ConnInfo {
        let about_user = |text: &str| if auth { text.to_owned() } else { String::new() };
        let global = *row.account == *GLOBAL_ACCOUNT;
        ConnInfo {
            cid: row.cid,
            kind: "Client",
            protocol: "nats",
            ip: row.addr.ip().to_canonical().to_string(),
            port: row.addr.port(),
            start: state.clock.at(row.start),
            last_activity: state.clock.at(row.traffic.last),
            stop: row.end.map(|(at, _)| state.clock.at(at)),
            reason: row.end.map(|(_, reason)| reason.to_string()),
            rtt: row.rtt.map(short),
            uptime: long(uptime(row, now)),
            idle: long(idle(row, now)),
            pending_bytes: row.pending,
            in_msgs: row.traffic.in_msgs,
            out_msgs: row.traffic.out_msgs,
            in_bytes: row.traffic.in_bytes,
            out_bytes: row.traffic.out_bytes,
            stalls: row.traffic.stalls,
            subscriptions: row.subscriptions,
            name: row.name.to_string(),
            lang: row.lang.to_string(),
            version: row.version.to_string(),
            authorized_user: about_user(&row.user),
            account: about_user(if global { "" } else { &row.account }),
            subscriptions_list: Vec::new(),
            subscriptions_list_detail: Vec::new(),
            // As in the NATS server: among the closed, nothing says that an account is the global one.
            name_tag: about_user(if global && row.end.is_some() { "" } else { &row.account }),
        }
    }
}

/// # Errors
/// For parameters that cannot be understood, and if the loop does not answer.
pub(super) async fn connz(state: &State, params: &Params) -> Result<Connz, Failure> {
    let wanted = Wanted::parse(params)?;
    let now = Instant::now();
    let keep = wanted.offset.saturating_add(wanted.limit);
    let mut best = Best { rows: Vec::new(), keep, order: wanted.order, now };
    let mut total = 0;
    let mut take = |row: ConnRow| {
        if wanted.account.is_some_and(|account| account != &*row.account) {
            return;
        }
        total += 1;
        let this_one = wanted.cid == 0 || wanted.cid == row.cid;
        if this_one && wanted.user.is_none_or(|user| user == &*row.user) {
            best.push(row);
        }
    };
    // The closed ones first: whatever is open afterwards cannot be among them. One that ends in between is in neither.
    if wanted.which != Which::Open {
        state.walk(Question::Closed, &mut take).await?;
    }
    if wanted.which != Which::Closed {
        state.walk(Question::Open, &mut take).await?;
    }
    best.cut();
    let rows = best.rows.get(wanted.offset..).unwrap_or_default();
    let mut connections: Vec<ConnInfo> =
        rows.iter().map(|row| ConnInfo::new(state, row, now, wanted.auth)).collect();
    if wanted.subs != Subs::Count {
        list_subscriptions(state, &mut connections, wanted.subs).await?;
    }
    Ok(Connz {
        server_id: state.facts.server_id.to_string(),
        now: state.clock.now(),
        num_connections: connections.len(),
        total,
        offset: wanted.offset,
        limit: wanted.limit,
        connections,
    })
}

/// Adds the subscriptions of open connections, up to a bound over all of them.
async fn list_subscriptions(state: &State, conns: &mut [ConnInfo], subs: Subs) -> Result<(), Failure> {
    let open = conns.iter_mut().filter(|conn| conn.stop.is_none());
    let mut by_cid: HashMap<u64, &mut ConnInfo> = open.map(|conn| (conn.cid, conn)).collect();
    if by_cid.is_empty() {
        return Ok(());
    }
    let mut listed = 0;
    state
        .walk(Question::Subscriptions, |row| {
            let Some(conn) = by_cid.get_mut(&row.cid).filter(|_| listed < MAX_LIMIT) else { return };
            listed += 1;
            match subs {
                Subs::Details => conn.subscriptions_list_detail.push(SubDetail::new(&row, false)),
                _ => conn.subscriptions_list.push(lossy(&row.subject)),
            }
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str) -> String {
        let params = Params::parse(Some(query));
        Wanted::parse(&params).err().map(|failure| failure.text).unwrap_or_default()
    }

    #[test]
    fn parameters() {
        assert_eq!(refused("sort=bogus"), "invalid sorting option: bogus");
        assert_eq!(refused("sort=stop&state=any"), "sort by stop only valid on closed connections");
        assert_eq!(refused("state=odd"), "Error decoding state for odd");
        assert!(refused("subs=maybe").contains("'subs'") && refused("cid=-1").contains("'cid'"));
        let params = Params::parse(Some("sort=reason&state=CLOSED&subs=detail&limit=-3&auth=true&acc=A"));
        let wanted = Wanted::parse(&params).unwrap();
        assert!(wanted.subs == Subs::Details && wanted.which == Which::Closed && wanted.auth);
        assert_eq!((wanted.limit, wanted.account), (1024, Some("A")));
    }
}
