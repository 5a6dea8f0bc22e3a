//! Logs as readers see them.

mod rotation;
mod tail;

use crate::support::{Node, hello, in_time, program, wasm};
use bacalhau_compute::logs::{LogLimits, LogReader, LogStart, LogStore, LogStream, ReadOptions};

const LIMITS: LogLimits = LogLimits { execution: 1 << 20, together: 1 << 30, keep_free: 0 };
const FOLLOW: ReadOptions = ReadOptions { start: LogStart::Beginning, follow: true };
const ALL: ReadOptions = ReadOptions { start: LogStart::Beginning, follow: false };

async fn rest(mut reader: LogReader) -> String {
    let mut text = String::new();
    while let Some(chunk) = in_time(reader.next()).await.unwrap() {
        text.push_str(&String::from_utf8_lossy(&chunk.bytes));
    }
    text
}

fn store() -> (tempfile::TempDir, LogStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::new(dir.path().join("logs"), LIMITS);
    (dir, store)
}

#[tokio::test]
async fn a_follower_waits_for_the_start_and_ends_with_the_execution() {
    let node = Node::new().await;
    let execution = wasm(&hello("from the start")).execution();
    let logs = node.executor.logs().clone();
    assert!(logs.read(&execution.id, FOLLOW).unwrap().is_none());
    logs.expect(&execution.id);
    let reader = logs.read(&execution.id, FOLLOW).unwrap().unwrap();
    let id = execution.id.clone();
    let (finished, text) = tokio::join!(node.run(execution), rest(reader));
    finished.unwrap();
    assert_eq!(text, "from the start");
    // And afterwards, from the file.
    assert_eq!(rest(logs.read(&id, ALL).unwrap().unwrap()).await, "from the start");
    assert_eq!(rest(logs.read(&id, FOLLOW).unwrap().unwrap()).await, "from the start");
}

#[tokio::test]
async fn output_arrives_while_the_guest_runs() {
    let body = r#"(data (i32.const 64) "alive")
      (func (export "_start") (call $print (i32.const 2) (i32.const 64) (i32.const 5)) (loop $l (br $l)))"#;
    let node = Node::new().await;
    let execution = wasm(&program(body)).execution();
    let logs = node.executor.logs().clone();
    logs.expect(&execution.id);
    let mut reader = logs.read(&execution.id, FOLLOW).unwrap().unwrap();
    let (cancel, task) = node.start(execution);
    let chunk = in_time(reader.next()).await.unwrap().unwrap();
    assert_eq!((chunk.stream, &chunk.bytes[..]), (LogStream::Stderr, &b"alive"[..]));
    assert!(chunk.time > 1_600_000_000_000_000_000);
    cancel.cancel();
    assert!(in_time(task).await.unwrap().unwrap_err().is_cancelled());
    assert_eq!(in_time(reader.next()).await.unwrap(), None);
}

#[tokio::test]
async fn one_that_never_starts_ends_its_readers() {
    let (_dir, store) = store();
    store.expect("e-1");
    let reader = store.read("e-1", FOLLOW).unwrap().unwrap();
    store.end("e-1");
    assert_eq!(rest(reader).await, "");
    assert!(store.read("e-1", FOLLOW).unwrap().is_none());
    // A writer that is dropped without a word ends them too.
    let writer = store.open("e-2").unwrap();
    let reader = store.read("e-2", FOLLOW).unwrap().unwrap();
    drop(writer);
    assert_eq!(rest(reader).await, "");
}

#[tokio::test]
async fn the_last_lines_and_only_new_ones() {
    let (_dir, store) = store();
    let writer = store.open("e-1").unwrap();
    writer.write(LogStream::Stdout, b"one\ntw");
    writer.write(LogStream::Stdout, b"o\n");
    writer.write(LogStream::Stderr, b"three\n");
    writer.write(LogStream::Stdout, b"four");
    let read = |start| store.read("e-1", ReadOptions { start, follow: false }).unwrap().unwrap();
    assert_eq!(rest(read(LogStart::LastLines(0))).await, "");
    assert_eq!(rest(read(LogStart::LastLines(1))).await, "four");
    assert_eq!(rest(read(LogStart::LastLines(2))).await, "three\nfour");
    assert_eq!(rest(read(LogStart::LastLines(3))).await, "two\nthree\nfour");
    assert_eq!(rest(read(LogStart::LastLines(100))).await, "one\ntwo\nthree\nfour");
    assert_eq!(rest(read(LogStart::Now)).await, "");

    let mut now = store.read("e-1", ReadOptions { start: LogStart::Now, follow: true }).unwrap().unwrap();
    // The position is taken with the first poll.
    assert!(futures_util::FutureExt::now_or_never(now.next()).is_none());
    let follower = tokio::spawn(async move { rest(now).await });
    let mut tail =
        store.read("e-1", ReadOptions { start: LogStart::LastLines(1), follow: true }).unwrap().unwrap();
    assert_eq!(&in_time(tail.next()).await.unwrap().unwrap().bytes[..], b"four");
    writer.write(LogStream::Stdout, b" and five\n");
    assert_eq!(writer.finish().stdout, "one\ntwo\nfour and five\n");
    assert_eq!(rest(tail).await, " and five\n");
    let text = in_time(follower).await.unwrap();
    assert!(text == " and five\n" || text.is_empty(), "{text}");
}

#[tokio::test]
async fn large_output_arrives_whole_and_in_order() {
    let (_dir, store) = store();
    let writer = store.open("e-1").unwrap();
    let reader = store.read("e-1", FOLLOW).unwrap().unwrap();
    let expected: String = (0..40_000).map(|n| format!("line {n}\n")).collect();
    let bytes = expected.clone().into_bytes();
    let printing = tokio::task::spawn_blocking(move || {
        bytes.chunks(1013).for_each(|part| writer.write(LogStream::Stdout, part));
        writer.finish()
    });
    assert_eq!(rest(reader).await, expected);
    assert!(printing.await.unwrap().stdout_truncated);
}

#[tokio::test]
async fn logs_leave_room_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    // No disk has that much.
    let store = LogStore::new(dir.path(), LogLimits { keep_free: u64::MAX, ..LIMITS });
    let writer = store.open("e-1").unwrap();
    writer.write(LogStream::Stdout, b"one");
    writer.write(LogStream::Stdout, b"two");
    assert_eq!(writer.finish().stdout, "onetwo", "the record keeps the first bytes all the same");
    let text = rest(store.read("e-1", ALL).unwrap().unwrap()).await;
    assert!(
        text.starts_with("[output from here on is lost: the node's disk has ")
            && text.ends_with("bytes free]\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_torn_end_is_left_out_and_continued_after() {
    let (dir, store) = store();
    let writer = store.open("e-1").unwrap();
    writer.write(LogStream::Stdout, b"whole ");
    writer.write(LogStream::Stdout, b"torn");
    writer.finish();
    let path = dir.path().join("logs/e-1.log");
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(length - 2).unwrap();
    assert_eq!(rest(store.read("e-1", ALL).unwrap().unwrap()).await, "whole ");

    let writer = store.open("e-1").unwrap();
    writer.write(LogStream::Stdout, b"again");
    let reader = store.read("e-1", FOLLOW).unwrap().unwrap();
    writer.finish();
    assert_eq!(rest(reader).await, "whole again");
}

#[tokio::test]
async fn old_logs_go_and_running_ones_stay() {
    let (dir, store) = store();
    for id in ["e-1", "e-2", "e-3"] {
        let writer = store.open(id).unwrap();
        writer.write(LogStream::Stdout, &[b'x'; 1000]);
        if id == "e-3" {
            assert_eq!(store.prune(std::time::Duration::MAX, 2200).unwrap(), 1);
            assert_eq!(store.prune(std::time::Duration::ZERO, u64::MAX).unwrap(), 1);
        }
    }
    assert!(dir.path().join("logs/e-3.log").exists());
    store.remove("e-3").unwrap();
    store.remove("e-3").unwrap();
    assert!(store.read("e-3", ALL).unwrap().is_none());
}

#[tokio::test]
async fn characters_arrive_whole() {
    let (_dir, store) = store();
    let writer = store.open("e-1").unwrap();
    let mut reader = store.read("e-1", FOLLOW).unwrap().unwrap();
    let euro = "€".as_bytes();
    writer.write(LogStream::Stdout, &euro[..1]);
    writer.write(LogStream::Stderr, b"x");
    writer.write(LogStream::Stdout, &euro[1..]);
    writer.write(LogStream::Stdout, &euro[..2]);
    writer.finish();
    let mut chunks = Vec::new();
    while let Some(chunk) = in_time(reader.next()).await.unwrap() {
        chunks.push((chunk.stream, chunk.bytes.to_vec()));
    }
    let expected =
        [(LogStream::Stderr, &b"x"[..]), (LogStream::Stdout, euro), (LogStream::Stdout, &euro[..2])];
    assert_eq!(chunks, expected.map(|(stream, bytes)| (stream, bytes.to_vec())));
}
