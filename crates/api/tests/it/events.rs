//! The event stream over a real socket: where it begins, what it leaves out, how it goes on and how it ends.

use crate::fake::{Fake, World};
use crate::support::{NODE_ID, get, parts, serve, start};
use bacalhau_api::client::{Client, Endpoint, EventsQuery, Identity, Signal};
use bacalhau_api::server::{Running, Server};
use bacalhau_model::{ClusterEvent, EncodedEvent, EventKind, Job};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const EVENTS: &str = "/api/v1/orchestrator/events";
const OTHER: &str = "j-22222222-2222-4222-8222-222222222222";

fn event(seq_num: u64, job_id: &str) -> EncodedEvent {
    let event = match job_id {
        "" => ClusterEvent { seq_num, ..ClusterEvent::node_deleted(NODE_ID) },
        id => ClusterEvent { seq_num, ..ClusterEvent::job_deleted(id) },
    };
    EncodedEvent::of(&event).unwrap()
}

/// Events 11 to 14: of a job, of another, of a node, of the first job.
fn world() -> World {
    let job = Job { id: "j-1".into(), name: "one".into(), namespace: "default".into(), ..Job::default() };
    let events = vec![event(11, "j-1"), event(12, OTHER), event(13, ""), event(14, "j-1")];
    World { jobs: vec![job], events, ..World::default() }
}

/// What a stream of what is stored says: numbers of events, `reset`, and the last number to go on with.
fn read(body: &str) -> (Vec<String>, u64) {
    let (mut seen, mut position) = (Vec::new(), 0);
    for block in body.split("\n\n") {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        let id = field("id: ").and_then(|id| id.parse().ok());
        position = id.unwrap_or(position);
        match field("event: ") {
            Some("reset") => seen.push(field("data: ").unwrap().to_owned()),
            Some(kind) => {
                let data: serde_json::Value = serde_json::from_str(field("data: ").unwrap()).unwrap();
                assert_eq!((data["Type"].as_str(), data["SeqNum"].as_u64()), (Some(kind), id));
                seen.push(id.unwrap().to_string());
            }
            None => {}
        }
    }
    (seen, position)
}

#[tokio::test]
async fn what_is_kept_is_read_from_anywhere() {
    let (server, _fake) = serve(Fake::new(world())).await;
    for (query, numbers) in [
        ("since=0", vec!["11", "12", "13", "14"]),
        ("since=10", vec!["11", "12", "13", "14"]),
        ("since=12", vec!["13", "14"]),
        ("since=14", vec![]),
        ("", vec![]),
        ("since=0&job=one", vec!["11", "14"]),
        ("since=0&job=j-1&type=node", vec![]),
        // A job that was deleted.
        (&format!("since=0&job={OTHER}"), vec!["12"]),
        ("since=0&type=node", vec!["13"]),
        ("since=0&type=node,job", vec!["11", "12", "13", "14"]),
        ("since=0&type=execution&type=history", vec![]),
    ] {
        let answer = get(&server, &format!("{EVENTS}?follow=false&{query}&pretty")).await;
        assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{query}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        let (seen, position) = read(&answer.body);
        assert_eq!((seen, position), (numbers.iter().map(|n| (*n).to_owned()).collect(), 14), "{query}");
    }
    for (query, status) in [
        ("since=x", 400),
        ("since=-1", 400),
        ("type=jobs", 400),
        ("follow=perhaps", 400),
        ("job=nobody", 404),
    ] {
        let answer = get(&server, &format!("{EVENTS}?{query}")).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.message());
    }
}

#[tokio::test]
async fn a_gap_is_told_first() {
    let (server, _fake) = serve(Fake::new(world())).await;
    let ask = |line: String| {
        let server = &server;
        async move {
            read(&crate::support::ask(server, &format!("GET {EVENTS}?follow=false"), &line, "").await.body)
        }
    };
    let since = |n: u64| format!("Last-Event-ID: {n}\r\n");
    let (seen, position) = ask(since(5)).await;
    assert_eq!(position, 14);
    assert_eq!(seen[0], r#"{"Since":5,"Oldest":11,"Message":"events in between are not kept any more"}"#);
    assert_eq!(seen[1..], ["11", "12", "13", "14"]);
    // Nothing seen is not the same as everything wanted.
    assert!(ask(since(0)).await.0[0].starts_with("{\"Since\":0,\"Oldest\":11,"));
    // The header beats the query.
    let both = get(&server, &format!("{EVENTS}?follow=false&since=0")).await;
    assert_eq!(read(&both.body).0.len(), 4);
    assert_eq!(ask(since(13)).await.0, ["14"]);
    // Another database.
    let (seen, position) = ask(since(99)).await;
    assert_eq!((seen.len(), position), (1, 14));
    assert!(seen[0].starts_with("{\"Since\":99,\"Oldest\":11,\"Newest\":14,"), "{seen:?}");
    assert_eq!(
        crate::support::ask(&server, &format!("GET {EVENTS}"), "Last-Event-ID: x\r\n", "").await.status,
        400
    );
}

fn client(address: &str) -> Client {
    let endpoint = Endpoint { url: format!("http://{address}"), ..Endpoint::default() };
    Client::new(&endpoint, &Identity::default(), None).unwrap()
}

fn number(signal: Option<Signal>) -> u64 {
    match signal {
        Some(Signal::Event(event)) => event.seq_num,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn events_arrive_as_they_happen_also_more_than_fit() {
    let (server, fake) = serve(Fake::new(world())).await;
    let client = client(&server.addr.to_string());
    let mut all = client.events(&EventsQuery::default()).await.unwrap().unwrap();
    let query =
        EventsQuery { job: "one".into(), since: Some(11), kinds: vec![EventKind::Job], ..Default::default() };
    let mut one = client.events(&query).await.unwrap().unwrap();
    assert_eq!(number(one.next().await.unwrap()), 14);
    // Far more than the channel holds; neither reader loses any.
    (15..200).for_each(|n| fake.happen(event(n, if n % 5 == 0 { "j-1" } else { OTHER })));
    for n in 15..200 {
        assert_eq!(number(all.next().await.unwrap()), n);
    }
    for n in (15..200).step_by(5) {
        assert_eq!(number(one.next().await.unwrap()), n);
    }
    fake.happen(event(200, "j-1"));
    assert_eq!((number(all.next().await.unwrap()), number(one.next().await.unwrap())), (200, 200));
    assert_eq!(fake.event_readers(), 2);
    drop((all, one));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while fake.event_readers() > 0 {
        assert!(std::time::Instant::now() < deadline, "readers that left are noticed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_costs_nothing_and_goes_on_later() {
    let (server, fake) = serve(Fake::new(world())).await;
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    let request = format!("GET {EVENTS} HTTP/1.1\r\nHost: x\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    socket.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    // Several megabytes: more than the sockets take.
    (15..60_000).for_each(|n| fake.happen(event(n, OTHER)));
    let mut text = String::new();
    let mut piece = vec![0; 1 << 16];
    while !text.contains("id: 59999\n") {
        let n = socket.read(&mut piece).await.unwrap();
        assert!(n > 0);
        text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
    }
    assert_eq!(text.matches("\nevent: job\n").count(), 60_000 - 15);
}

/// A server on an address that the next one can take over, for nobody else takes it meanwhile.
async fn serve_at(fake: &Arc<Fake>, addr: &str) -> Running {
    let options =
        bacalhau_api::server::ServerOptions { listen: addr.parse().unwrap(), port_may_change: false };
    Server::new(parts(fake)).start(options).await.unwrap()
}

#[tokio::test]
async fn a_feed_goes_on_after_the_server_was_away() {
    let fake = Arc::new(Fake::new(world()));
    let addr = format!("127.0.0.1:{}", crate::ports::free_port());
    let server = serve_at(&fake, &addr).await;
    let query = EventsQuery { job: "one".into(), ..EventsQuery::default() };
    let mut feed = client(&addr).event_feed(query).await.unwrap().unwrap();
    fake.happen(event(15, "j-1"));
    assert_eq!(number(feed.next().await.unwrap()), 15);
    // A stop ends the stream instead of waiting for it.
    server.shutdown().await;
    fake.happen(event(16, "j-1"));
    fake.happen(event(17, OTHER));
    fake.happen(event(18, "j-1"));
    let server = serve_at(&fake, &addr).await;
    assert_eq!(feed.next().await.unwrap(), Some(Signal::Reconnected));
    assert_eq!(number(feed.next().await.unwrap()), 16);
    assert_eq!(number(feed.next().await.unwrap()), 18);
    // What was forgotten meanwhile is told.
    server.shutdown().await;
    fake.world().events = vec![event(30, "j-1")];
    let _server = serve_at(&fake, &addr).await;
    assert_eq!(feed.next().await.unwrap(), Some(Signal::Reconnected));
    assert!(matches!(feed.next().await.unwrap(), Some(Signal::Reset(_))));
    assert_eq!(number(feed.next().await.unwrap()), 30);
    let old = start(Server::new(bacalhau_api::server::Parts { backend: None, ..parts(&fake) })).await;
    let answer = client(&old.addr.to_string()).events(&EventsQuery::default()).await.unwrap();
    assert!(answer.is_none(), "no such route");
}
