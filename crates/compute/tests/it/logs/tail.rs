//! The last lines, and those since a time, equal what the naive way gives, over any writes and segments.

use super::rest;
use bacalhau_compute::logs::{LogChunk, LogLimits, LogStart, LogStore, LogStream, ReadOptions};
use proptest::prelude::*;

/// Segments of 512 bytes; nothing is dropped below 3.5 KiB.
const LIMITS: LogLimits = LogLimits { execution: 4096, together: 1 << 30, keep_free: 0 };

/// What each stream shows of the last lines: lines begin in the order in which they were printed, each stream has its
/// own, and the last is a line too when it has not ended.
fn naive(writes: &[(bool, String)], lines: usize) -> [String; 2] {
    let mut starts = Vec::new();
    let mut texts = [String::new(), String::new()];
    for (is_stderr, text) in writes {
        let stream = usize::from(*is_stderr);
        for byte in text.chars() {
            if texts[stream].is_empty() || texts[stream].ends_with('\n') {
                starts.push((stream, texts[stream].len()));
            }
            texts[stream].push(byte);
        }
    }
    let kept = &starts[starts.len().saturating_sub(lines)..];
    [0, 1].map(|stream| {
        let first = kept.iter().find(|(of, _)| *of == stream);
        first.map_or(String::new(), |(_, at)| texts[stream][*at..].to_owned())
    })
}

async fn read(store: &LogStore, start: LogStart, since: i64) -> Vec<LogChunk> {
    let options = ReadOptions { start, follow: false };
    let Some(reader) = store.read("e-1", options).unwrap() else { return Vec::new() };
    let mut reader = reader.since(since);
    let mut chunks = Vec::new();
    while let Some(batch) = reader.next_batch().await.unwrap() {
        chunks.extend(batch);
    }
    chunks
}

fn texts(chunks: &[LogChunk]) -> [String; 2] {
    [LogStream::Stdout, LogStream::Stderr].map(|stream| {
        let of_it = chunks.iter().filter(|chunk| chunk.stream == stream);
        of_it.map(|chunk| String::from_utf8(chunk.bytes.to_vec()).unwrap()).collect()
    })
}

fn writes() -> impl Strategy<Value = Vec<(bool, String)>> {
    proptest::collection::vec((any::<bool>(), "[ab\n]{1,40}"), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn tail_is_the_naive_one(writes in writes(), lines in 0usize..40, restart in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = LogStore::new(dir.path(), LIMITS);
        let writer = store.open("e-1").unwrap();
        for (is_stderr, text) in &writes {
            let stream = if *is_stderr { LogStream::Stderr } else { LogStream::Stdout };
            writer.write(stream, text.as_bytes());
        }
        writer.finish();
        if restart {
            store = LogStore::new(dir.path(), LIMITS);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let tail = runtime.block_on(read(&store, LogStart::LastLines(lines), 0));
        prop_assert_eq!(texts(&tail), naive(&writes, lines));

        let all = runtime.block_on(read(&store, LogStart::Beginning, 0));
        prop_assert_eq!(texts(&all), naive(&writes, usize::MAX));
        prop_assert!(all.windows(2).all(|pair| pair[0].time < pair[1].time), "times grow strictly");
        for (at, chunk) in all.iter().enumerate() {
            prop_assert_eq!(&runtime.block_on(read(&store, LogStart::Beginning, chunk.time)), &all[at..]);
            prop_assert_eq!(&runtime.block_on(read(&store, LogStart::Beginning, chunk.time + 1)), &all[at + 1..]);
        }
    }
}

#[tokio::test]
async fn both_limits_together_give_the_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::new(dir.path(), LIMITS);
    let writer = store.open("e-1").unwrap();
    (0..100).for_each(|n| writer.write(LogStream::Stdout, format!("{n}\n").as_bytes()));
    let all = read(&store, LogStart::Beginning, 0).await;
    let since = all[90].time;
    assert_eq!(read(&store, LogStart::LastLines(3), since).await, &all[97..]);
    assert_eq!(read(&store, LogStart::LastLines(30), since).await, &all[90..]);
    // And with the rest to come.
    let options = ReadOptions { start: LogStart::LastLines(2), follow: true };
    let reader = store.read("e-1", options).unwrap().unwrap();
    let following = tokio::spawn(rest(reader));
    tokio::task::yield_now().await;
    writer.write(LogStream::Stdout, b"100\n");
    writer.finish();
    assert!(["98\n99\n100\n", "99\n100\n"].contains(&following.await.unwrap().as_str()));
}
