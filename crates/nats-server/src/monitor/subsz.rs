//! `/subsz`: figures of the tables of interest, and who subscribes to what.

use serde::Serialize;

use super::State;
use super::failure::Failure;
use super::params::Params;
use super::rows::{Question, SubRow};
use super::text::lossy;
use crate::router::Interest;
use crate::subject;

/// Entries of a listing without `limit`.
pub(super) const DEFAULT_LIMIT: usize = 1024;
/// Most entries of a listing, whatever is asked for.
pub(super) const MAX_LIMIT: usize = 65_536;

/// `limit`: absent and 0 stand for the default.
pub(super) fn limit(params: &Params) -> Result<usize, Failure> {
    Ok(match params.count("limit")? {
        0 => DEFAULT_LIMIT,
        limit => limit.min(MAX_LIMIT),
    })
}

/// One subscription.
#[derive(Serialize)]
pub(super) struct SubDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_tag: Option<String>,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    qgroup: Option<String>,
    sid: String,
    msgs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u64>,
    cid: u64,
}

impl SubDetail {
    pub(super) fn new(row: &SubRow, with_account: bool) -> SubDetail {
        let account = with_account.then(|| row.account.to_string());
        SubDetail {
            account_tag: account.clone(),
            account,
            subject: lossy(&row.subject),
            qgroup: row.queue.as_deref().map(lossy),
            sid: lossy(&row.sid),
            msgs: row.delivered,
            max: Some(row.max).filter(|max| *max > 0),
            cid: row.cid,
        }
    }
}

/// The figures of one account, or of all of them.
#[derive(Default, Serialize)]
pub(super) struct Figures {
    pub(super) num_subscriptions: u64,
    num_cache: u64,
    num_inserts: u64,
    num_removes: u64,
    num_matches: u64,
    cache_hit_rate: f64,
    /// Of all searches since the start; the NATS server takes those that are cached now.
    max_fanout: u64,
    avg_fanout: f64,
    #[serde(skip)]
    misses: u64,
    #[serde(skip)]
    fanout: u64,
}

impl Figures {
    pub(super) fn add(&mut self, interest: &Interest) {
        self.num_subscriptions += interest.subscriptions;
        self.num_cache += interest.cached;
        self.num_inserts += interest.inserts;
        self.num_removes += interest.removes;
        self.num_matches += interest.lookups;
        self.misses += interest.misses;
        self.fanout += interest.fanout;
        self.max_fanout = self.max_fanout.max(interest.max_fanout);
        self.cache_hit_rate = ratio(self.num_matches.saturating_sub(self.misses), self.num_matches);
        self.avg_fanout = ratio(self.fanout, self.misses);
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[derive(Serialize)]
pub(super) struct Subsz {
    server_id: String,
    now: String,
    #[serde(flatten)]
    figures: Figures,
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list: Option<Vec<SubDetail>>,
}

/// # Errors
/// For parameters that cannot be understood, and if the loop does not answer.
pub(super) async fn subsz(state: &State, params: &Params) -> Result<Subsz, Failure> {
    let (list, offset, limit) = (params.flag("subs")?, params.count("offset")?, limit(params)?);
    let (account, test) = (params.text("acc"), params.text("test"));
    if let Some(test) = test.filter(|test| !subject::is_valid_literal(test.as_bytes())) {
        return Err(Failure::bad(format!("invalid test subject, must be valid publish subject: {test}")));
    }
    let mut figures = Figures::default();
    state
        .walk(Question::Accounts, |row| {
            if account.is_none_or(|account| account == &*row.name) {
                figures.add(&row.interest);
            }
        })
        .await?;
    let (mut total, mut found) = (0, Vec::new());
    if list {
        let window = offset..offset.saturating_add(limit);
        state
            .walk(Question::Subscriptions, |row| {
                let wanted = account.is_none_or(|account| account == &*row.account)
                    && test.is_none_or(|test| subject::matches(&row.subject, test.as_bytes()));
                if wanted {
                    if window.contains(&total) {
                        found.push(SubDetail::new(&row, true));
                    }
                    total += 1;
                }
            })
            .await?;
    }
    Ok(Subsz {
        server_id: state.facts.server_id.to_string(),
        now: state.clock.now(),
        figures,
        total,
        offset,
        limit,
        subscriptions_list: Some(found).filter(|found| !found.is_empty()),
    })
}
