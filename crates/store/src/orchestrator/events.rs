//! The event stream on disk: appended in the same commits as what it tells of, the oldest part forgotten.

use super::record::decode_with;
use crate::pool::QueryError;
use bacalhau_model::EncodedEvent;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::sync::Arc;

/// The number of an event is its row: the newest is found without an index, and appending touches the last page only.
pub(super) const MIGRATION: &str = "CREATE TABLE events (seq INTEGER PRIMARY KEY, record TEXT NOT NULL);";

/// Adds events, then forgets those below `forget_below`.
pub(super) fn append(
    transaction: &Transaction<'_>,
    events: &[Arc<EncodedEvent>],
    forget_below: u64,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached("INSERT INTO events (seq, record) VALUES (?1, ?2)")?;
    for event in events {
        insert.execute(params![event.seq_num, event.text])?;
    }
    if forget_below > 0 {
        transaction.prepare_cached("DELETE FROM events WHERE seq < ?1")?.execute([forget_below])?;
    }
    Ok(())
}

/// Events after number `after`, oldest first, at most `limit`.
pub(super) fn after(c: &Connection, after: u64, limit: usize) -> Result<Vec<EncodedEvent>, QueryError> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut statement =
        c.prepare_cached("SELECT seq, record FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let mut rows = statement.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (seq, text): (u64, String) = (row.get(0)?, row.get(1)?);
        found.push(decode_with("events", || seq.to_string(), EncodedEvent::from_text(seq, text))?);
    }
    Ok(found)
}

/// Numbers of the oldest and the newest event.
pub(super) fn bounds(c: &Connection) -> Result<Option<(u64, u64)>, QueryError> {
    let end = |sql: &str| c.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional();
    let oldest = end("SELECT seq FROM events ORDER BY seq LIMIT 1")?;
    let newest = end("SELECT seq FROM events ORDER BY seq DESC LIMIT 1")?;
    Ok(oldest.zip(newest))
}

#[cfg(test)]
mod tests {
    use super::super::{Change, open};
    use bacalhau_model::{ClusterEvent, EncodedEvent};
    use std::sync::Arc;

    fn events(from: u64, to: u64) -> Vec<Arc<EncodedEvent>> {
        let event = |seq_num| ClusterEvent { seq_num, ..ClusterEvent::job_deleted("j-1") };
        (from..=to).map(|seq| Arc::new(EncodedEvent::of(&event(seq)).unwrap())).collect()
    }

    #[test]
    fn events_are_appended_read_on_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, reader) = open(dir.path()).unwrap();
        let put = |events, forget_below| {
            let (tx, rx) = std::sync::mpsc::sync_channel(1);
            let change = Change::AppendEvents { events, forget_below };
            writer.commit(vec![change], Box::new(move |result| tx.send(result.is_ok()).unwrap()));
            rx.recv().unwrap()
        };
        assert_eq!(reader.event_bounds().unwrap(), None);
        assert_eq!(reader.events(0, 10).unwrap(), []);
        assert!(put(events(1, 5), 0) && put(events(6, 9), 4));
        assert_eq!(reader.event_bounds().unwrap(), Some((4, 9)));
        let numbers = |after, limit| {
            let found = reader.events(after, limit).unwrap();
            assert!(found.iter().all(|event| event.subject_id == "j-1"));
            found.iter().map(|event| event.seq_num).collect::<Vec<_>>()
        };
        assert_eq!(numbers(0, 2), [4, 5]);
        assert_eq!(numbers(5, 10), [6, 7, 8, 9]);
        assert_eq!((numbers(9, 10), numbers(u64::MAX, 10)), (vec![], vec![]));
        writer.close();
        let (writer, reader) = open(dir.path()).unwrap();
        assert_eq!(reader.event_bounds().unwrap(), Some((4, 9)));
        // A number is given once: a second event of the same one is a bug, and stops the writer.
        let (tx, rx) = std::sync::mpsc::sync_channel(1);
        let twice = Change::AppendEvents { events: events(9, 9), forget_below: 0 };
        writer.commit(vec![twice], Box::new(move |result| tx.send(result.is_ok()).unwrap()));
        assert!(!rx.recv().unwrap());
    }
}
