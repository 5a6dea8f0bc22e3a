//! Logs of jobs that really run, over a websocket.

use super::{Cluster, JOBS, PATIENCE};
use crate::support::NODE_ID;
use crate::support::get;
use bacalhau_api::server::Running;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const OUT: &str = "{\"value\":{\"Type\":1,\"Line\":\"line 0\\n\"}}\n";
const ERR: &str = "{\"value\":{\"Type\":2,\"Line\":\"err 0\\n\"}}\n";

async fn open(server: &Running, job: &str, query: &str) -> Socket {
    connect_async(format!("ws://{}{JOBS}/{job}/logs{query}", server.addr)).await.unwrap().0
}

async fn next(socket: &mut Socket) -> Message {
    timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap()
}

/// All frames until the end, which must be a normal one.
async fn read(mut socket: Socket) -> Vec<String> {
    let mut frames = Vec::new();
    loop {
        match next(&mut socket).await {
            Message::Text(text) => frames.push(text.to_string()),
            Message::Close(Some(close)) => {
                assert_eq!(u16::from(close.code), 1000);
                return frames;
            }
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?} after {frames:?}"),
        }
    }
}

fn sorted(mut frames: Vec<String>) -> Vec<String> {
    frames.sort();
    frames
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_of_what_is_over_and_of_what_never_was() {
    let cluster = Cluster::start(&[NODE_ID]).await;
    let unknown = read(open(&cluster.api, "nothing", "").await).await;
    assert!(
        unknown.len() == 1 && unknown[0].starts_with("{\"error\":\"job not found: nothing"),
        "{unknown:?}"
    );
    let id = cluster.submit(cluster.job("done", "batch", "1")).await;
    cluster.until(&id, "Completed").await;
    for query in ["", "?follow=true", "?follow=True&tail=False", "?nonsense=1"] {
        assert_eq!(sorted(read(open(&cluster.api, &id, query).await).await), [OUT, ERR], "{query}");
    }
    // Only what is written from now on.
    assert_eq!(read(open(&cluster.api, &id, "?tail=true").await).await, Vec::<String>::new());
    let execution = cluster.until_execution(&id, 9).await;
    let of_one = read(open(&cluster.api, "done", &format!("?execution_id={execution}")).await).await;
    assert_eq!(sorted(of_one), [OUT, ERR]);
    let none = read(open(&cluster.api, "done", "?execution_id=e-0").await).await;
    assert!(none[0].starts_with("{\"error\":"), "{none:?}");
    let mut fails = cluster.job("fails", "batch", "1");
    fails["Tasks"][0]["Engine"]["Params"]["EntryModule"] = "/wasm/none.wasm".into();
    let id = cluster.submit(fails).await;
    cluster.until(&id, "Failed").await;
    // It wrote nothing; the stream ends well all the same.
    read(open(&cluster.api, &id, "?follow=true").await).await;
    let plain = get(&cluster.api, &format!("{JOBS}/{id}/logs")).await;
    assert_eq!((plain.status, plain.header("upgrade")), (426, Some("websocket")));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_may_come_before_the_work() {
    let cluster = Cluster::start(&[NODE_ID]).await;
    // Two of the three fit, so that the third waits; nobody has to be quick.
    let big = |name: &str, argument: &str| {
        let mut job = cluster.job(name, "batch", argument);
        job["Tasks"][0]["Resources"] = serde_json::json!({"CPU": "1.5"});
        job["Tasks"][0]["Timeouts"] = serde_json::json!({"QueueTimeout": 600});
        job
    };
    let first = cluster.submit(big("first", "60")).await;
    cluster.until_execution(&first, 5).await;
    let second = cluster.submit(big("second", "1")).await;
    let follower = tokio::spawn(read(open(&cluster.api, &second, "?follow=true").await));
    let stop = crate::support::ask(&cluster.api, &format!("DELETE {JOBS}/{first}"), "", "").await;
    assert_eq!(stop.status, 200);
    assert_eq!(sorted(follower.await.unwrap()), [OUT, ERR]);
    cluster.until(&second, "Completed").await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_is_watched_until_it_is_stopped() {
    let cluster = Cluster::start(&[NODE_ID]).await;
    let id = cluster.submit(cluster.job("long", "service", "60")).await;
    cluster.until_execution(&id, 5).await;
    let mut socket = open(&cluster.api, &id, "?follow=true").await;
    let mut frames = Vec::new();
    while frames.len() < 2 {
        if let Message::Text(text) = next(&mut socket).await {
            frames.push(text.to_string());
        }
    }
    assert_eq!(sorted(frames), [OUT, ERR]);
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    loop {
        if let Message::Pong(payload) = next(&mut socket).await {
            break assert_eq!(payload.as_ref(), b"are you there");
        }
    }
    // A second watcher does not disturb the first.
    let second = open(&cluster.api, &id, "?follow=true").await;
    drop(second);
    let stop = crate::support::ask(&cluster.api, &format!("DELETE {JOBS}/{id}"), "", "").await;
    assert_eq!(stop.status, 200);
    assert_eq!(read(socket).await, Vec::<String>::new());
    cluster.shutdown().await;
}
