//! The event stream as server-sent events: from any place that is kept, then as things happen.
//!
//! The number of an event is its `id:`, so a browser that reconnects goes on where it was; a header beats the query
//! for that. Nothing is made before the client takes it: one that reads slowly is served from the store, and one that
//! does not read at all is cut like any other (see [`super::stall`]).

use super::input::Input;
use super::listener::{Phase, reached};
use super::reply::{Failure, bad_request};
use super::{App, Length};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bacalhau_model::error::code;
use bacalhau_model::{EncodedEvent, Error, EventKind, ids};
use bacalhau_orchestrator::{Cursor, Next};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Events read from the store at once.
const PAGE: usize = 512;
/// Bytes made at once, about.
const CHUNK: usize = 64 * 1024;
/// Longest silence, so that neither client nor proxies take a quiet stream for a dead one.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How soon a browser reconnects, milliseconds.
const RETRY: u32 = 1000;

/// Which events.
#[derive(Debug, Default)]
struct Filter {
    /// Of this job: full ID; empty for all.
    job_id: String,
    /// Of these types; empty for all.
    kinds: Vec<EventKind>,
}

impl Filter {
    fn admits(&self, event: &EncodedEvent) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (self.job_id.is_empty() || (event.kind != EventKind::Node && event.subject_id == self.job_id))
    }
}

/// Where a client wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// With what happens next.
    Now,
    /// With the oldest that is kept.
    Oldest,
    /// After this number.
    After(u64),
}

pub(super) async fn events(State(app): State<App>, input: Input) -> Result<Response, Failure> {
    let (from, kinds) = (from(&input)?, kinds(&input)?);
    let follow = input.text("follow")?.is_empty() || input.boolean("follow")?;
    let (namespace, job) = (input.text("namespace")?, input.text("job")?);
    let place = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        Failure(
            Error::new(code::SERVICE_UNAVAILABLE, "too many streams are open")
                .component("APIServer")
                .hint("Try again later")
                .retryable(),
        )
    })?;
    // Before the store is looked at: what is committed in between comes twice and is given once.
    let live = app.backend()?.live_events()?;
    let looked_up = app.read(Length::Short, move |records| {
        let job_id = match job.as_str() {
            "" => String::new(),
            text => match records.resolve(&namespace, text) {
                Ok(job) => job.id,
                // What is kept of a deleted job can still be read.
                Err(error) if error.code == code::NOT_FOUND && ids::is_full_id(text) => job,
                Err(error) => return Err(Failure(error)),
            },
        };
        Ok((job_id, records.event_bounds()?))
    });
    let (job_id, bounds) = looked_up.await?;
    let (oldest, newest) = bounds.unwrap_or((1, 0));
    let mut first = format!("retry: {RETRY}\n");
    let position = match from {
        From::Now => newest,
        From::Oldest => oldest.saturating_sub(1),
        From::After(since) if since > newest => {
            let why =
                "events up to there are not known here: the orchestrator's data is another or an older one";
            push_reset(&mut first, since, oldest, newest, why);
            newest
        }
        From::After(since) => since,
    };
    push_position(&mut first, position);
    let mut keep_alive = interval(KEEP_ALIVE);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    keep_alive.reset();
    let tail = Tail {
        cursor: Cursor::new(live, position),
        filter: Filter { job_id, kinds },
        until: (!follow).then_some(newest),
        told: position,
        first: Some(first),
        over: false,
        keep_alive,
        phase: app.phase.clone(),
        app,
        _place: place,
    };
    let body = stream::unfold(tail, |mut tail| async {
        tail.chunk().await.map(|chunk| (Ok::<Bytes, Infallible>(Bytes::from(chunk)), tail))
    });
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies of nginx's kind would hold events back otherwise.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// A reconnecting browser repeats its first address, so what the header says is newer than what the query says.
fn from(input: &Input) -> Result<From, Failure> {
    let last = input.header("last-event-id");
    if !last.is_empty() {
        let number = last.parse().map_err(|_| {
            bad_request(format!("Last-Event-ID must be the number of an event, and {last:?} is none"))
        })?;
        return Ok(From::After(number));
    }
    Ok(match input.text("since")?.is_empty() {
        true => From::Now,
        false => match input.number("since")? {
            0 => From::Oldest,
            number => From::After(number),
        },
    })
}

fn kinds(input: &Input) -> Result<Vec<EventKind>, Failure> {
    let words =
        input.texts("type").into_iter().flat_map(|text| text.split(',')).filter(|word| !word.is_empty());
    words.map(|word| word.parse().map_err(bad_request)).collect()
}

/// What is left of a stream.
struct Tail {
    app: App,
    cursor: Cursor,
    filter: Filter,
    /// Number after which it ends; `None` for a stream that goes on.
    until: Option<u64>,
    /// The place that the client knows.
    told: u64,
    first: Option<String>,
    over: bool,
    keep_alive: Interval,
    phase: watch::Receiver<Phase>,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    /// The next piece, with one event or more, or a sign of life.
    async fn chunk(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let mut out = String::new();
        while out.is_empty() && !self.over {
            if self.until.is_some_and(|until| self.cursor.position() >= until) {
                self.over = true;
                self.tell_position(&mut out);
            } else if self.cursor.is_behind() {
                self.catch_up(&mut out).await;
            } else {
                self.wait(&mut out).await;
            }
        }
        if out.is_empty() {
            return None;
        }
        self.keep_alive.reset();
        Some(out)
    }

    /// A page of what is stored.
    async fn catch_up(&mut self, out: &mut String) {
        let from = self.cursor.position();
        let read = self.app.read(Length::Short, move |records| Ok(records.events(from, PAGE)?));
        let page = tokio::select! {
            page = read => page,
            () = reached(&mut self.phase, Phase::Draining) => {
                self.over = true;
                return;
            }
        };
        match page {
            Ok(page) => match self.cursor.accept(&page, PAGE) {
                Ok(()) => page.iter().for_each(|event| self.push(event, out)),
                Err(oldest) => {
                    let why = "events in between are not kept any more";
                    push_reset(out, from, oldest, 0, why);
                    self.cursor.move_to(oldest.saturating_sub(1));
                    self.tell_position(out);
                }
            },
            Err(Failure(error)) => {
                tracing::error!(%error, "a stream of events ends: the store cannot be read");
                self.over = true;
            }
        }
    }

    /// What happens now, and what has happened since.
    async fn wait(&mut self, out: &mut String) {
        tokio::select! {
            next = self.cursor.next() => match next {
                Next::Event(event) => {
                    self.push(&event, out);
                    while out.len() < CHUNK {
                        let Some(event) = self.cursor.try_next() else { break };
                        self.push(&event, out);
                    }
                }
                Next::Behind => {}
                Next::Over => self.over = true,
            },
            _ = self.keep_alive.tick() => match self.told == self.cursor.position() {
                true => out.push_str(": nothing new\n\n"),
                false => self.tell_position(out),
            },
            () = reached(&mut self.phase, Phase::Draining) => self.over = true,
        }
    }

    fn push(&mut self, event: &EncodedEvent, out: &mut String) {
        if self.filter.admits(event) {
            self.told = event.seq_num;
            let kind = event.kind.as_str();
            // Writing to a text cannot fail.
            let _ = write!(out, "id: {}\nevent: {kind}\ndata: {}\n\n", event.seq_num, event.text);
        }
    }

    /// Where the client goes on when it reconnects, although the last events were not for it.
    fn tell_position(&mut self, out: &mut String) {
        self.told = self.cursor.position();
        push_position(out, self.told);
    }
}

/// An ID alone is no event: browsers remember it and say nothing.
fn push_position(out: &mut String, position: u64) {
    let _ = write!(out, "id: {position}\n\n");
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Reset<'a> {
    /// What the client has.
    since: u64,
    /// Number of the oldest event that is kept.
    oldest: u64,
    /// Number of the newest; left out when it does not matter.
    #[serde(skip_serializing_if = "is_zero")]
    newest: u64,
    message: &'a str,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Tells that there is a gap.
fn push_reset(out: &mut String, since: u64, oldest: u64, newest: u64, message: &str) {
    let text = serde_json::to_string(&Reset { since, oldest, newest, message }).unwrap_or_default();
    let _ = write!(out, "event: reset\ndata: {text}\n\n");
}
