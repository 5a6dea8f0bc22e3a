//! Permissions at work: what one connection may publish, subscribe to and receive. Pure; the caller gives the time.
//!
//! Decisions about subjects are cached per connection, in tables of bounded size: subjects come from the network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::hash::{ByteMap, Keyed};
use crate::subject;
use crate::users::{AllowResponses, Permissions, Rules};

/// Decisions kept per connection and direction.
const MAX_DECISIONS: usize = 128;
/// Requests remembered per connection that may be answered.
const MAX_REPLIES: usize = 4096;

/// A line of a list: a subject, or a subject and a queue group, both with wildcards.
#[derive(Debug, PartialEq)]
struct Entry {
    subject: Box<[u8]>,
    queue: Option<Box<[u8]>>,
}

/// A pair of lists.
#[derive(Debug, PartialEq)]
struct List {
    allow: Option<Vec<Entry>>,
    deny: Vec<Entry>,
}

/// Permissions in the form that is asked; shared by all connections of a user.
#[derive(Debug, PartialEq)]
pub(crate) struct Compiled {
    publish: List,
    subscribe: List,
    responses: Option<AllowResponses>,
}

impl Compiled {
    /// # Errors
    /// A subject that no message can have; the text says which.
    pub(crate) fn new(permissions: &Permissions) -> Result<Compiled, String> {
        let mut publish = List::new(&permissions.publish, false)?;
        if permissions.allow_responses.is_some() && publish.allow.is_none() {
            // Who may answer may not speak unasked, unless that is said.
            publish.allow = Some(Vec::new());
        }
        let subscribe = List::new(&permissions.subscribe, true)?;
        Ok(Compiled { publish, subscribe, responses: permissions.allow_responses })
    }
}

impl List {
    fn rules(&self) -> Rules {
        let texts = |entries: &[Entry]| entries.iter().map(Entry::text).collect();
        Rules { allow: self.allow.as_deref().map(texts), deny: texts(&self.deny) }
    }

    fn new(rules: &Rules, queues: bool) -> Result<List, String> {
        let entries = |texts: &[String]| texts.iter().map(|text| Entry::parse(text, queues)).collect();
        Ok(List { allow: rules.allow.as_deref().map(entries).transpose()?, deny: entries(&rules.deny)? })
    }
}

impl Entry {
    fn parse(text: &str, queues: bool) -> Result<Entry, String> {
        let mut words = text.split_ascii_whitespace();
        let (subject, queue, more) = (words.next().unwrap_or_default(), words.next(), words.next());
        if !subject::is_valid_pattern(subject.as_bytes()) || more.is_some() || (queue.is_some() && !queues) {
            return Err(format!("{text:?} is not a valid subject"));
        }
        Ok(Entry { subject: subject.as_bytes().into(), queue: queue.map(|queue| queue.as_bytes().into()) })
    }

    /// As it was written.
    fn text(&self) -> String {
        let subject = String::from_utf8_lossy(&self.subject);
        match &self.queue {
            Some(queue) => format!("{subject} {}", String::from_utf8_lossy(queue)),
            None => subject.into_owned(),
        }
    }

    fn matches_queue(&self, queue: Option<&[u8]>) -> bool {
        match (&self.queue, queue) {
            (Some(pattern), Some(queue)) => subject::matches(pattern, queue),
            _ => false,
        }
    }
}

/// One connection's permissions and what is remembered about it.
pub(crate) struct Guard {
    rules: Arc<Compiled>,
    /// Decisions about publishing.
    publish: ByteMap<bool>,
    /// Decisions about deliveries; asked only when `filters`.
    receive: ByteMap<bool>,
    /// The connection has a wildcard subscription that covers denied subjects.
    filters: bool,
    /// Requests that may be answered: when they came, and how often they were.
    replies: ByteMap<(Instant, u64)>,
    keyed: Keyed,
}

impl Guard {
    pub(crate) fn new(rules: Arc<Compiled>, keyed: Keyed) -> Guard {
        let table = || ByteMap::with_hasher(keyed);
        Guard {
            rules,
            publish: table(),
            receive: table(),
            filters: false,
            replies: ByteMap::with_hasher(keyed),
            keyed,
        }
    }

    /// Are these its permissions?
    pub(crate) fn has(&self, rules: &Compiled) -> bool {
        *self.rules == *rules
    }

    /// What it may do, to be told.
    pub(crate) fn permissions(&self) -> Permissions {
        Permissions {
            publish: self.rules.publish.rules(),
            subscribe: self.rules.subscribe.rules(),
            allow_responses: self.rules.responses,
        }
    }

    /// May it publish to this subject? Uses up one answer if that is why it may.
    pub(crate) fn may_publish(&mut self, subject: &[u8], now: Instant) -> bool {
        self.is_publish_allowed(subject) || self.may_answer(subject, now)
    }

    fn is_publish_allowed(&mut self, subject: &[u8]) -> bool {
        if let Some(known) = self.publish.get(subject) {
            return *known;
        }
        let list = &self.rules.publish;
        let is_whole = subject::has_no_gap(subject);
        let listed =
            |entries: &[Entry]| is_whole && entries.iter().any(|e| subject::matches(&e.subject, subject));
        let allowed = list.allow.as_deref().is_none_or(listed) && !listed(&list.deny);
        remember(&mut self.publish, subject, allowed, self.keyed);
        allowed
    }

    fn may_answer(&mut self, subject: &[u8], now: Instant) -> bool {
        let Some(rule) = self.rules.responses else { return false };
        let Some((since, used)) = self.replies.get_mut(subject) else { return false };
        *used += 1;
        let good = (rule.max == 0 || *used <= rule.max) && !is_over(rule.expires, *since, now);
        if !good {
            self.replies.remove(subject);
        }
        good
    }

    /// A request was delivered: remembers where its answer goes, unless it may be sent anyway. One that is delivered again
    /// before it is answered uses up an answer, as it does in the reference.
    pub(crate) fn note_reply(&mut self, reply: &[u8], now: Instant) {
        let Some(rule) = self.rules.responses else { return };
        if self.may_publish(reply, now) {
            return;
        }
        if self.replies.len() >= MAX_REPLIES {
            self.replies.retain(|_, (since, used)| {
                (rule.max == 0 || *used < rule.max) && !is_over(rule.expires, *since, now)
            });
            if self.replies.len() >= MAX_REPLIES {
                // Older requests have waited longest; who sends thousands and answers none loses these.
                self.replies = ByteMap::with_hasher(self.keyed);
            }
        }
        self.replies.insert(reply.into(), (now, 0));
    }

    /// May it subscribe? An allowed wildcard may cover denied subjects: those are then kept from it at delivery.
    ///
    /// Stricter than the Go server in one thing: a wildcard is allowed only if everything that it can match is. There
    /// an allowed `foo.*` also opens `foo.>`.
    pub(crate) fn may_subscribe(&mut self, pattern: &[u8], queue: Option<&[u8]>) -> bool {
        let list = &self.rules.subscribe;
        let is_whole = subject::has_no_gap(pattern);
        let covering = |e: &&Entry| is_whole && subject::is_subset(pattern, &e.subject);
        let allowed = list.allow.as_deref().is_none_or(|entries| {
            decide(entries.iter().filter(covering), queue, |plain, grouped| match (queue, grouped) {
                (Some(_), Some(grouped)) => grouped,
                _ => plain,
            })
        });
        let naming = |e: &&Entry| is_whole && subject::matches(&e.subject, pattern);
        let denied =
            decide(list.deny.iter().filter(naming), queue, |plain, grouped| match (queue, grouped) {
                (Some(_), Some(grouped)) => grouped,
                _ => plain,
            });
        if allowed && !denied && subject::has_wildcard(pattern) {
            let hidden = |e: &Entry| e.queue.is_none() && subject::overlap(&e.subject, pattern);
            self.filters |= list.deny.iter().any(hidden);
        }
        allowed && !denied
    }

    /// May a message on this subject reach it?
    #[inline]
    pub(crate) fn may_receive(&mut self, subject: &[u8]) -> bool {
        !self.filters || self.is_receive_allowed(subject)
    }

    fn is_receive_allowed(&mut self, subject: &[u8]) -> bool {
        if let Some(known) = self.receive.get(subject) {
            return *known;
        }
        let denied = |e: &Entry| e.queue.is_none() && subject::matches(&e.subject, subject);
        let allowed = !self.rules.subscribe.deny.iter().any(denied);
        remember(&mut self.receive, subject, allowed, self.keyed);
        allowed
    }
}

/// Looks through the entries that are about a subject: is there a plain one, and what do those with a queue group say?
fn decide<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    queue: Option<&[u8]>,
    verdict: impl Fn(bool, Option<bool>) -> bool,
) -> bool {
    let (mut plain, mut grouped) = (false, None);
    for entry in entries {
        if entry.queue.is_none() {
            plain = true;
        } else {
            grouped = Some(grouped.unwrap_or(false) || entry.matches_queue(queue));
        }
    }
    verdict(plain, grouped)
}

fn is_over(expires: Duration, since: Instant, now: Instant) -> bool {
    !expires.is_zero() && now.saturating_duration_since(since) > expires
}

fn remember(table: &mut ByteMap<bool>, subject: &[u8], decision: bool, keyed: Keyed) {
    if table.len() >= MAX_DECISIONS {
        *table = ByteMap::with_hasher(keyed);
    }
    table.insert(subject.into(), decision);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(publish: Rules, subscribe: Rules, allow_responses: Option<AllowResponses>) -> Guard {
        let permissions = Permissions { publish, subscribe, allow_responses };
        Guard::new(Arc::new(Compiled::new(&permissions).unwrap()), Keyed::default())
    }

    fn rules(allow: &[&str], deny: &[&str]) -> Rules {
        let texts = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        Rules { allow: (!allow.is_empty()).then(|| texts(allow)), deny: texts(deny) }
    }

    #[test]
    fn deny_wins_and_an_allow_list_is_all_there_is() {
        let mut guard = guard(rules(&["foo.*", "x.>"], &["foo.bad"]), Rules::default(), None);
        let now = Instant::now();
        for _ in 0..2 {
            assert!(guard.may_publish(b"foo.a", now) && guard.may_publish(b"x.y.z", now));
            assert!(!guard.may_publish(b"foo.bad", now) && !guard.may_publish(b"bar", now));
        }
        for n in 0..1000 {
            assert!(!guard.may_publish(format!("bar.{n}").as_bytes(), now));
        }
        assert!(guard.publish.len() <= MAX_DECISIONS);
    }

    #[test]
    fn wildcards_must_be_covered_and_denied_subjects_are_kept_out() {
        let mut guard = guard(Rules::default(), rules(&["foo.*", "w.>"], &["foo.no", "w.secret"]), None);
        assert!(guard.may_subscribe(b"foo.x", None) && guard.may_subscribe(b"foo.x", Some(b"q")));
        assert!(!guard.may_subscribe(b"foo.no", None) && !guard.may_subscribe(b"bar", None));
        assert!(!guard.may_subscribe(b">", None), "more than w.>");
        assert!(!guard.may_subscribe(b"foo.>", None), "more than foo.*");
        assert!(guard.may_receive(b"w.secret"), "nothing covers it yet");
        assert!(guard.may_subscribe(b"w.>", None));
        assert!(!guard.may_receive(b"w.secret") && guard.may_receive(b"w.ok"));
    }

    #[test]
    fn no_entry_covers_an_empty_token() {
        let mut guard = guard(rules(&[">"], &[]), rules(&["a.>"], &[]), None);
        let now = Instant::now();
        assert!(guard.may_publish(b"a.b", now) && !guard.may_publish(b"a..b", now));
        assert!(!guard.may_publish(b".", now) && !guard.may_publish(b"a.", now));
        assert!(guard.may_subscribe(b"a.b", None) && !guard.may_subscribe(b"a..b", None));
    }

    #[test]
    fn queue_entries_are_about_queue_subscriptions() {
        let mut guard = guard(Rules::default(), rules(&["q.* grp.*", "dq"], &["dq bad"]), None);
        assert!(!guard.may_subscribe(b"q.a", None));
        assert!(guard.may_subscribe(b"q.a", Some(b"grp.1")));
        assert!(!guard.may_subscribe(b"q.a", Some(b"other")));
        assert!(guard.may_subscribe(b"dq", None) && guard.may_subscribe(b"dq", Some(b"good")));
        assert!(!guard.may_subscribe(b"dq", Some(b"bad")));
    }

    #[test]
    fn requests_may_be_answered_so_often_and_so_long() {
        let responses = AllowResponses { max: 2, expires: Duration::from_secs(1) };
        let mut guard = guard(Rules::default(), Rules::default(), Some(responses));
        let start = Instant::now();
        assert!(!guard.may_publish(b"reply", start));
        guard.note_reply(b"reply", start);
        assert!(guard.may_publish(b"reply", start) && guard.may_publish(b"reply", start));
        assert!(!guard.may_publish(b"reply", start));
        guard.note_reply(b"again", start);
        guard.note_reply(b"again", start);
        assert!(guard.may_publish(b"again", start) && !guard.may_publish(b"again", start));
        guard.note_reply(b"late", start);
        assert!(!guard.may_publish(b"late", start + Duration::from_millis(1_001)));
        for n in 0..3 * MAX_REPLIES {
            guard.note_reply(format!("r.{n}").as_bytes(), start);
        }
        assert!(guard.replies.len() <= MAX_REPLIES);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "a..b", "a b", "a.>.b"] {
            let permissions = Permissions { publish: rules(&[bad], &[]), ..Permissions::default() };
            assert!(Compiled::new(&permissions).unwrap_err().contains(bad), "{bad}");
        }
        let permissions = Permissions { subscribe: rules(&["a b c"], &[]), ..Permissions::default() };
        assert!(Compiled::new(&permissions).is_err());
    }
}
