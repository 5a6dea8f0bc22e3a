//! The event stream: server-sent events as a sequence of values, across lost connections.
//!
//! [`EventStream`] is one connection. [`EventFeed`] goes on where it was on a new one, and says when it did.

use super::{Client, errors};
use bacalhau_model::{ClusterEvent, Error, EventKind};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use std::time::Duration;
use tokio::time::Instant;

/// Longest line of a stream, bytes. The server cuts the texts of events far below.
const MOST_LINE: usize = 1 << 20;
/// Longest silence: the server says something every fifteen seconds.
const SILENCE: Duration = Duration::from_secs(50);
/// Between two attempts to connect, and the longest such pause.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long the server may be away.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct EventsQuery {
    /// Namespace in which a job's name is looked up; empty for the default one.
    pub namespace: String,
    /// Only those of a job, by name, ID or unique prefix; empty for all.
    pub job: String,
    /// Only of these types; empty for all.
    pub kinds: Vec<EventKind>,
    /// Those after this number, 0 for all that are kept; `None` for what happens from now on.
    pub since: Option<u64>,
    /// End with what is stored already.
    pub stored_only: bool,
}

/// What a stream says.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    /// Something happened.
    Event(Box<ClusterEvent>),
    /// Events are missing here: they are not kept any more, or the server's data is another. In words.
    Reset(String),
    /// The connection was lost and is there again; nothing is missing unless [`Signal::Reset`] follows.
    Reconnected,
}

/// One connection. Dropping it closes that.
#[derive(Debug)]
pub struct EventStream {
    response: reqwest::Response,
    shown: String,
    lines: Lines,
    /// Last number heard, with which another connection goes on.
    position: Option<u64>,
}

impl Client {
    /// Opens the event stream. `None` when the server has none, as Bacalhau 1.9.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses, for example because there is no such job.
    pub async fn events(&self, query: &EventsQuery) -> Result<Option<EventStream>, Error> {
        self.events_after(query, None).await
    }

    /// The same, going on after number `last` of an earlier connection.
    async fn events_after(
        &self,
        query: &EventsQuery,
        last: Option<u64>,
    ) -> Result<Option<EventStream>, Error> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        for (key, text) in [("namespace", &query.namespace), ("job", &query.job)] {
            if !text.is_empty() {
                pairs.push((key, text.clone()));
            }
        }
        pairs.extend(query.kinds.iter().map(|kind| ("type", kind.as_str().to_owned())));
        pairs.extend(query.since.map(|number| ("since", number.to_string())));
        if query.stored_only {
            pairs.push(("follow", "false".to_owned()));
        }
        let url = self.url(&["orchestrator", "events"], &pairs)?;
        let mut request = self.raw().get(url).header(ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let sent = tokio::time::timeout(SILENCE, request.send()).await.map_err(|_| silent(self.address()))?;
        let response = sent.map_err(|e| errors::transport(self.address(), &e))?;
        let status = response.status().as_u16();
        let is_stream = |value: &HeaderValue| value.as_bytes().starts_with(b"text/event-stream");
        if status == 200 && response.headers().get(CONTENT_TYPE).is_some_and(is_stream) {
            let shown = self.address().to_owned();
            return Ok(Some(EventStream { response, shown, lines: Lines::default(), position: last }));
        }
        if status == 200 {
            return Ok(None);
        }
        let error = errors::refused(status, &self.read(response, 1 << 20).await?);
        match is_unknown(status, &error) {
            true => Ok(None),
            false => Err(error),
        }
    }

    /// The same, going on across lost connections for as long as a minute of absence.
    ///
    /// # Errors
    /// As [`Client::events`].
    pub async fn event_feed(&self, query: EventsQuery) -> Result<Option<EventFeed>, Error> {
        let stream = self.events(&query).await?;
        Ok(stream.map(|stream| EventFeed { client: self.clone(), query, stream, lost: None }))
    }
}

/// There is no such route: servers that do not know one say 404, and users with few rights may hear 403.
fn is_unknown(status: u16, error: &Error) -> bool {
    let is_job = error.component == "JobStore" || error.message.starts_with("job not found");
    match status {
        404 => !is_job,
        403 | 405 | 501 => true,
        _ => false,
    }
}

fn silent(address: &str) -> Error {
    Error::new("NetworkFailure", format!("{address} is silent"))
        .component("HTTPClient")
        .hint("the server is busy or the network is slow: try again")
        .retryable()
}

impl EventStream {
    /// The next; `None` when the server ended the stream, which it does when it stops. Safe to cancel.
    ///
    /// # Errors
    /// When the connection is lost, or says what nobody understands.
    pub async fn next(&mut self) -> Result<Option<Signal>, Error> {
        loop {
            while let Some(line) = self.lines.take() {
                if let Some(signal) = self.lines.block.line(&line, &mut self.position)? {
                    return Ok(Some(signal));
                }
            }
            let read = tokio::time::timeout(SILENCE, self.response.chunk()).await;
            let chunk = read.map_err(|_| silent(&self.shown))?;
            let Some(chunk) = chunk.map_err(|e| errors::transport(&self.shown, &e))? else {
                return Ok(None);
            };
            self.lines.add(&chunk)?;
        }
    }

    /// Number of the last event that was passed, also of those left out.
    pub fn position(&self) -> Option<u64> {
        self.position
    }
}

/// Lines of a stream, however its pieces are cut.
#[derive(Debug, Default)]
struct Lines {
    /// What came and was not taken.
    bytes: Vec<u8>,
    /// So much of it was taken.
    taken: usize,
    /// So much of it is known to have no end of a line.
    searched: usize,
    block: Block,
}

impl Lines {
    fn add(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.bytes.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        if self.bytes.len() > MOST_LINE {
            return Err(errors::undecodable("orchestrator/events", &"it has a line of more than a megabyte"));
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// The next whole line, without its end.
    fn take(&mut self) -> Option<Vec<u8>> {
        let rest = self.bytes.get(self.searched..)?;
        let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = self.searched + at;
        let line = self.bytes.get(self.taken..end)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
        self.taken = end + 1;
        self.searched = self.taken;
        Some(line)
    }
}

/// The lines between two empty ones.
#[derive(Debug, Default)]
struct Block {
    id: Option<u64>,
    kind: String,
    data: Vec<u8>,
}

impl Block {
    /// Takes a line. The one that ends a block may make it a signal.
    fn line(&mut self, line: &[u8], position: &mut Option<u64>) -> Result<Option<Signal>, Error> {
        if line.is_empty() {
            let block = std::mem::take(self);
            let signal = block.signal()?;
            *position = block.id.or(*position);
            return Ok(signal);
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"id" => self.id = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
            b"event" => self.kind = String::from_utf8_lossy(value).into_owned(),
            b"data" if self.data.len() + value.len() <= MOST_LINE => {
                if !self.data.is_empty() {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"data" => {
                let why = "it has an event of more than a megabyte";
                return Err(errors::undecodable("orchestrator/events", &why));
            }
            // Comments, `retry`, and what later servers may add.
            _ => {}
        }
        Ok(None)
    }

    fn signal(&self) -> Result<Option<Signal>, Error> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Reset {
            message: String,
        }
        let undecodable = |e: serde_json::Error| errors::undecodable("orchestrator/events", &e);
        if self.data.is_empty() {
            return Ok(None);
        }
        if self.kind == "reset" {
            let reset: Reset = serde_json::from_slice(&self.data).map_err(undecodable)?;
            return Ok(Some(Signal::Reset(reset.message)));
        }
        // Types that later servers may add are none of ours.
        if self.kind.parse::<EventKind>().is_err() {
            return Ok(None);
        }
        let event = serde_json::from_slice(&self.data).map_err(undecodable)?;
        Ok(Some(Signal::Event(Box::new(event))))
    }
}

/// A stream that outlives its connections.
#[derive(Debug)]
pub struct EventFeed {
    client: Client,
    query: EventsQuery,
    stream: EventStream,
    /// Since when there is no connection, and the pause before the next attempt.
    lost: Option<(Instant, Duration)>,
}

impl EventFeed {
    /// The next. `None` only after all that was stored, when no more was asked for. Safe to cancel.
    ///
    /// # Errors
    /// When the server refuses or is away for too long.
    pub async fn next(&mut self) -> Result<Option<Signal>, Error> {
        loop {
            if self.lost.is_some() {
                if self.reconnect().await? {
                    return Ok(Some(Signal::Reconnected));
                }
                continue;
            }
            match self.stream.next().await {
                Ok(Some(signal)) => return Ok(Some(signal)),
                Ok(None) if self.query.stored_only => return Ok(None),
                Ok(None) => self.lost = Some((Instant::now(), PAUSE)),
                Err(error) if error.retryable && !self.query.stored_only => {
                    self.lost = Some((Instant::now(), PAUSE));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One attempt. True when there is a connection again.
    async fn reconnect(&mut self) -> Result<bool, Error> {
        let Some((since, pause)) = self.lost else { return Ok(true) };
        tokio::time::sleep(pause).await;
        self.lost = Some((since, LONGEST_PAUSE.min(pause * 2)));
        match self.client.events_after(&self.query, self.stream.position()).await {
            Ok(Some(stream)) => {
                self.stream = stream;
                self.lost = None;
                Ok(true)
            }
            Ok(None) => Err(Error::new("NetworkFailure", "the server has no event stream any more")
                .hint("it was replaced by an older version; run the command again")),
            Err(error) if error.retryable && since.elapsed() < PATIENCE => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, cut: usize) -> (Vec<Signal>, Option<u64>) {
        let (mut lines, mut position, mut signals) = (Lines::default(), None, Vec::new());
        for chunk in text.as_bytes().chunks(cut) {
            lines.add(chunk).unwrap();
            while let Some(line) = lines.take() {
                signals.extend(lines.block.line(&line, &mut position).unwrap());
            }
        }
        (signals, position)
    }

    #[test]
    fn blocks_become_signals_however_they_arrive() {
        let text = "retry: 1000\nid: 4\n\n: hello\n\nid: 5\r\nevent: job\r\ndata: {\"SeqNum\":5,\"Type\":\"job\",\
                    \"State\":\"Running\"}\r\n\r\nevent: reset\ndata: {\"Message\":\"gone\"}\n\nevent: later\n\
                    data: {}\n\nid: 9\n\nid: 10\ndata: cut off";
        for cut in 1..text.len() {
            let (signals, position) = read(text, cut);
            assert_eq!(position, Some(9), "{cut}");
            let [Signal::Event(event), Signal::Reset(why)] = signals.as_slice() else {
                panic!("{signals:?}");
            };
            assert_eq!((event.seq_num, event.state.as_ref(), why.as_str()), (5, "Running", "gone"));
        }
    }

    #[test]
    fn lines_are_bounded_and_nonsense_is_told() {
        let mut lines = Lines::default();
        lines.add(&vec![b'x'; MOST_LINE + 1]).unwrap();
        assert_eq!(lines.take(), None);
        assert!(lines.add(b"y").is_err());
        let mut block = Block::default();
        let mut position = None;
        assert_eq!(block.line(b"event: job", &mut position).unwrap(), None);
        assert_eq!(block.line(b"data: nonsense", &mut position).unwrap(), None);
        assert!(block.line(b"", &mut position).is_err());
    }

    #[test]
    fn servers_without_the_route_are_known_by_their_answer() {
        let no_route =
            Error::new("NotFound", "The requested resource/URL was not found.").component("APIServer");
        let no_job = Error::new("NotFound", "job not found: x").component("JobStore");
        assert!(is_unknown(404, &no_route) && !is_unknown(404, &no_job));
        assert!(!is_unknown(401, &no_route) && !is_unknown(503, &no_route));
    }
}
