//! The in-process client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bacalhau_nats_server::{Error, HeaderBlock, Options, Server, SubscriptionEnd};
use bytes::Bytes;

use crate::support::{PATIENCE, Raw, eventually, next, options, server};

#[tokio::test]
async fn messages_reach_wildcards_in_order() {
    let server = server();
    let (a, b) = (server.local_client("a"), server.local_client("b"));
    let mut sub = a.subscribe("jobs.*.done").unwrap();
    for i in 0..1000 {
        b.publish(&format!("jobs.{i}.done"), None, None, i.to_string()).unwrap();
        b.publish("jobs.other", None, None, "x").unwrap();
    }
    // Two clients of their own have no common order, so `b` may have been served before `a`'s subscription.
    let first: usize = std::str::from_utf8(&next(&mut sub).await.payload).unwrap().parse().unwrap();
    for i in first + 1..1000 {
        let message = next(&mut sub).await;
        assert_eq!(
            (&*message.subject, &message.payload[..]),
            (&*format!("jobs.{i}.done"), i.to_string().as_bytes())
        );
    }
}

#[tokio::test]
async fn request_headers_and_no_responders() {
    let server = server();
    let client = server.local_client("c");
    let mut service = client.subscribe("svc").unwrap();
    let mut inbox = client.subscribe("_INBOX.1").unwrap();
    let mut headers = HeaderBlock::new();
    headers.insert("Key", "value").unwrap();
    client.publish("svc", Some("_INBOX.1"), Some(headers.to_bytes()), "question").unwrap();
    let question = next(&mut service).await;
    assert_eq!((question.header("Key"), question.reply.as_deref()), (Some("value"), Some("_INBOX.1")));
    client.publish(&question.reply.unwrap(), None, None, "answer").unwrap();
    assert_eq!(&next(&mut inbox).await.payload[..], b"answer");

    client.publish("nobody.there", Some("_INBOX.1"), None, "").unwrap();
    let word = next(&mut inbox).await;
    assert!(word.is_no_responders());
    assert_eq!(word.header("Nats-Subject"), Some("nobody.there"));
    // Dropping the service ends its interest.
    drop(service);
    client.publish("svc", Some("_INBOX.1"), None, "").unwrap();
    assert!(next(&mut inbox).await.is_no_responders());
}

#[tokio::test]
async fn queue_members_share() {
    let server = server();
    let client = server.local_client("c");
    let mut members: Vec<_> = (0..3).map(|_| client.queue_subscribe("work", "q").unwrap()).collect();
    let mut end = client.subscribe("end").unwrap();
    for _ in 0..300 {
        client.publish("work", None, None, "").unwrap();
    }
    // What one client publishes is delivered in its order, each message to all before the next.
    client.publish("end", None, None, "").unwrap();
    next(&mut end).await;
    let counts: Vec<usize> =
        members.iter_mut().map(|member| std::iter::from_fn(|| member.try_next()).count()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 300);
    assert!(counts.iter().all(|count| *count > 30), "{counts:?}");
}

#[test]
fn a_callback_runs_and_ends_with_its_handle() {
    let server = server();
    let client = server.local_client("c");
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let handle = client
        .subscribe_with(
            "x",
            Box::new(move |_| {
                let _ = counter.fetch_add(1, Ordering::SeqCst);
            }),
        )
        .unwrap();
    client.publish("x", None, None, "").unwrap();
    eventually("called", || count.load(Ordering::SeqCst) == 1);
    drop(handle);
    client.publish("x", None, None, "").unwrap();
    eventually("both routed", || server.stats().in_msgs == 2);
    assert_eq!((count.load(Ordering::SeqCst), server.stats().subscriptions), (1, 0));
}

#[test]
fn a_panicking_callback_is_removed_and_the_server_lives() {
    let server = server();
    let client = server.local_client("c");
    let _handle = client.subscribe_with("x", Box::new(|_| panic!("on purpose"))).unwrap();
    client.publish("x", None, None, "").unwrap();
    eventually("removed", || server.stats().in_msgs == 1 && server.stats().subscriptions == 0);
    client.publish("x", None, None, "").unwrap();
    eventually("alive", || server.stats().in_msgs == 2);
}

#[tokio::test]
async fn a_reader_that_does_not_keep_up_is_told() {
    let server = Server::start(Options { local_max_pending_msgs: 8, ..options() }).unwrap();
    let client = server.local_client("c");
    let mut slow = client.subscribe("x").unwrap();
    for i in 0..20 {
        client.publish("x", None, None, i.to_string()).unwrap();
    }
    eventually("overflow", || server.stats().local_overflows == 1);
    assert!(server.stats().stalls > 0, "the publisher was held back first");
    assert_eq!(slow.end(), None, "not before what is queued was read");
    for i in 0..8 {
        assert_eq!(&next(&mut slow).await.payload[..], i.to_string().as_bytes());
    }
    assert!(slow.next().await.is_none());
    assert_eq!(slow.end(), Some(SubscriptionEnd::Overflow));
    assert_eq!(server.stats().subscriptions, 0);
}

#[tokio::test]
async fn a_reader_that_is_only_late_loses_nothing() {
    let server = Server::start(Options { local_max_pending_msgs: 1024, ..options() }).unwrap();
    let client = server.local_client("c");
    let mut sub = client.subscribe("x").unwrap();
    for i in 0..5_000 {
        client.publish("x", None, None, i.to_string()).unwrap();
    }
    for i in 0..5_000 {
        assert_eq!(&next(&mut sub).await.payload[..], i.to_string().as_bytes());
    }
}

#[test]
fn a_full_queue_is_an_error() {
    let options = Options { max_pending: 10_000, max_payload: 1_000, local_max_pending_msgs: 4, ..options() };
    let server = Server::start(options).unwrap();
    let client = server.local_client("c");
    let (enter, entered) = std::sync::mpsc::sync_channel::<()>(0);
    let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
    let stuck = move |_| {
        let _ = enter.send(());
        let _ = released.recv();
    };
    let _handle = client.subscribe_with("x", Box::new(stuck)).unwrap();
    client.publish("x", None, None, "").unwrap();
    entered.recv().unwrap();
    // The loop thread is held inside the callback, so nothing leaves the queue.
    let payload = Bytes::from(vec![0; 1_000]);
    let refused = (0..100).find_map(|_| client.publish("y", None, None, payload.clone()).err());
    assert!(matches!(refused, Some(Error::Busy { pending, .. }) if pending > 8_000), "{refused:?}");
    release.send(()).unwrap();
    drop(release);
    eventually("room again", || client.publish("y", None, None, payload.clone()).is_ok());
}

#[test]
fn arguments_are_checked() {
    let server = server();
    let client = server.local_client("c");
    for bad in ["", "a b", "a..b", "a.*", ">", "a\r\nPING", "a.\t"] {
        assert!(matches!(client.publish(bad, None, None, ""), Err(Error::Subject { .. })), "{bad:?}");
        assert!(matches!(client.publish("x", Some(bad), None, ""), Err(Error::Subject { .. })), "{bad:?}");
    }
    for bad in ["", "a b", "a..b", "a.>.b", "."] {
        assert!(matches!(client.subscribe(bad), Err(Error::Subject { .. })), "{bad:?}");
    }
    assert!(client.queue_subscribe("a", "q q").is_err() && client.subscribe(&"a".repeat(5000)).is_err());
    let huge = Bytes::from(vec![0; 1024 * 1024 + 1]);
    assert!(matches!(client.publish("x", None, None, huge), Err(Error::PayloadTooLarge { .. })));
    let headers = Some(Bytes::from_static(b"Key: value\r\n\r\n"));
    assert!(matches!(client.publish("x", None, headers, ""), Err(Error::Headers(_))));
}

#[tokio::test]
async fn shutdown_ends_subscriptions_and_refuses_commands() {
    let server = server();
    let client = server.local_client("c");
    let mut sub = client.subscribe("x").unwrap();
    client.publish("x", None, None, "last").unwrap();
    assert_eq!(&next(&mut sub).await.payload[..], b"last");
    server.shutdown();
    server.shutdown();
    assert!(tokio::time::timeout(PATIENCE, sub.next()).await.unwrap().is_none());
    assert_eq!(sub.end(), Some(SubscriptionEnd::Closed));
    eventually("closed", || matches!(client.publish("x", None, None, ""), Err(Error::Closed)));
    assert!(matches!(server.local_client("late").subscribe("x"), Err(Error::Closed)));
}

#[tokio::test]
async fn sockets_and_local_clients_hear_each_other() {
    let server = server();
    let client = server.local_client("c");
    let mut sub = client.subscribe("in.>").unwrap();
    let mut raw = Raw::connected(server.addr(), r#"{"verbose":false,"headers":true}"#);
    raw.send("SUB out 1\r\nHPUB in.1 rep 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
    let message = next(&mut sub).await;
    assert_eq!((&*message.subject, message.reply.as_deref()), ("in.1", Some("rep")));
    assert_eq!((message.header("A"), &message.payload[..]), (Some("b"), &b"hi"[..]));
    client.publish("out", Some("r"), message.headers, "yo").unwrap();
    assert_eq!(raw.until("yo\r\n"), "HMSG out 1 r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nyo\r\n");
    client.publish("out", None, None, "!").unwrap();
    assert_eq!(raw.until("!\r\n"), "MSG out 1 1\r\n!\r\n");
}

/// What `subscribe` promises: once it has returned, whoever is told of it can be heard.
#[tokio::test]
async fn a_subscription_counts_before_any_later_socket_message() {
    let server = server();
    let client = server.local_client("c");
    let mut raw = Raw::connected(server.addr(), r#"{"verbose":false}"#);
    for i in 0..500 {
        let subject = format!("race.{i}");
        let mut sub = client.subscribe(&subject).unwrap();
        raw.send(format!("PUB {subject} 1\r\n!\r\n"));
        next(&mut sub).await;
    }
}
