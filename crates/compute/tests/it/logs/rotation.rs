//! A log keeps its newest part within its limit, and readers are told what is gone.

use super::{ALL, FOLLOW, rest};
use crate::support::in_time;
use bacalhau_compute::logs::{LogLimits, LogStart, LogStore, LogStream, ReadOptions};
use std::path::Path;

const LIMIT: u64 = 80_000;
const LIMITS: LogLimits = LogLimits { execution: LIMIT, together: 1 << 30, keep_free: 0 };

fn on_disk(folder: &Path) -> u64 {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

fn printed(lines: std::ops::Range<usize>) -> String {
    lines.map(|n| format!("line {n:08}\n")).collect()
}

#[tokio::test]
async fn a_log_that_grows_for_ever_keeps_its_newest_part() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::new(dir.path(), LIMITS);
    let writer = store.open("e-1").unwrap();
    let all = printed(0..50_000);
    for part in all.as_bytes().chunks(997) {
        writer.write(LogStream::Stdout, part);
        assert!(on_disk(dir.path()) <= LIMIT);
    }
    let captured = writer.finish();
    assert_eq!(captured.error, None);
    assert!(captured.dropped > 500_000 && captured.files.iter().all(|file| file.exists()));
    // The same before and after a restart.
    for store in [store, LogStore::new(dir.path(), LIMITS)] {
        let text = rest(store.read("e-1", ALL).unwrap().unwrap()).await;
        let (remark, kept) = text.split_once("]\n").unwrap();
        assert_eq!(
            remark,
            format!(
                "[{} bytes of older output are not kept any more: the log has reached its limit",
                captured.dropped
            )
        );
        assert!(all.ends_with(kept) && kept.len() as u64 > LIMIT / 2, "{}", kept.len());
        let tail = ReadOptions { start: LogStart::LastLines(3000), follow: false };
        assert_eq!(rest(store.read("e-1", tail).unwrap().unwrap()).await, printed(47_000..50_000));
        store.remove("e-1").unwrap();
        if on_disk(dir.path()) == 0 {
            break;
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_restarted_log_goes_on_in_its_newest_segment() {
    let dir = tempfile::tempdir().unwrap();
    let writer = LogStore::new(dir.path(), LIMITS).open("e-1").unwrap();
    writer.write(LogStream::Stdout, printed(0..2000).as_bytes());
    drop(writer);
    let store = LogStore::new(dir.path(), LIMITS);
    let writer = store.open("e-1").unwrap();
    writer.write(LogStream::Stdout, printed(2000..2001).as_bytes());
    writer.finish();
    assert_eq!(rest(store.read("e-1", ALL).unwrap().unwrap()).await, printed(0..2001));
}

#[tokio::test]
async fn a_follower_that_is_overtaken_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::new(dir.path(), LIMITS);
    let writer = store.open("e-1").unwrap();
    let mut reader = store.read("e-1", FOLLOW).unwrap().unwrap();
    writer.write(LogStream::Stdout, b"first\n");
    assert_eq!(&in_time(reader.next()).await.unwrap().unwrap().bytes[..], b"first\n");
    let all = printed(0..50_000);
    all.as_bytes().chunks(997).for_each(|part| writer.write(LogStream::Stdout, part));
    writer.finish();
    let text = rest(reader).await;
    let (remark, kept) = text.split_once("]\n").unwrap();
    assert!(remark.contains("bytes of older output are not kept any more"), "{remark}");
    assert!(all.ends_with(kept));
}

#[tokio::test]
async fn running_logs_make_room_when_all_together_are_too_large() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::new(dir.path(), LIMITS);
    let writers: Vec<_> = (0..3).map(|n| store.open(&format!("e-{n}")).unwrap()).collect();
    writers.iter().for_each(|writer| writer.write(LogStream::Stdout, printed(0..3000).as_bytes()));
    assert!(on_disk(dir.path()) > 100_000);
    assert_eq!(store.prune(std::time::Duration::ZERO, 60_000).unwrap(), 0);
    assert!(on_disk(dir.path()) <= 60_000);
    writers.iter().for_each(|writer| writer.write(LogStream::Stdout, printed(3000..3001).as_bytes()));
    for n in 0..3 {
        let text = rest(store.read(&format!("e-{n}"), ALL).unwrap().unwrap()).await;
        assert!(text.starts_with('[') && text.ends_with(&printed(2990..3001)), "{n}");
    }
}

/// Many readers of one log that is being written: each gets all of it.
#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_followers_get_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::new(dir.path(), LogLimits { execution: 64 << 20, ..LIMITS });
    let writer = store.open("e-1").unwrap();
    let readers: Vec<_> =
        (0..100).map(|_| tokio::spawn(rest(store.read("e-1", FOLLOW).unwrap().unwrap()))).collect();
    let all = printed(0..5000);
    let expected = all.clone();
    let printing = tokio::task::spawn_blocking(move || {
        all.as_bytes().chunks(101).for_each(|part| writer.write(LogStream::Stdout, part));
        writer.finish()
    });
    for reader in readers {
        assert!(in_time(reader).await.unwrap() == expected);
    }
    printing.await.unwrap();
}
