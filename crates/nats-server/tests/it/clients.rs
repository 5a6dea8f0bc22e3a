//! A public client library against the server.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, HeaderMap, RequestErrorKind};
use bacalhau_nats_server::{Options, Server};
use futures_util::StreamExt;

use crate::support::{PATIENCE, options, server};

async fn connect(server: &Server) -> Client {
    async_nats::connect(server.addr().to_string()).await.unwrap()
}

async fn next(sub: &mut async_nats::Subscriber) -> async_nats::Message {
    tokio::time::timeout(PATIENCE, sub.next()).await.expect("in time").expect("a message")
}

#[tokio::test]
async fn publish_subscribe_and_wildcards() {
    let server = server();
    let (a, b) = (connect(&server).await, connect(&server).await);
    let mut one = a.subscribe("a.*.c").await.unwrap();
    let mut rest = a.subscribe("a.>").await.unwrap();
    a.flush().await.unwrap();
    // A request to the server and back: the subscriptions are in place.
    let _ = a.request("nobody", "".into()).await;
    for i in 0..500 {
        b.publish(format!("a.{i}.c"), i.to_string().into()).await.unwrap();
    }
    for i in 0..500 {
        assert_eq!(next(&mut one).await.payload, i.to_string());
        assert_eq!(next(&mut rest).await.subject.as_str(), format!("a.{i}.c"));
    }
}

#[tokio::test]
async fn requests_headers_and_no_responders() {
    let server = server();
    let (a, b) = (connect(&server).await, connect(&server).await);
    let mut service = a.queue_subscribe("svc", "q".into()).await.unwrap();
    let _ = a.request("nobody", "".into()).await;
    let answer = tokio::spawn(async move {
        let mut headers = HeaderMap::new();
        headers.insert("Key", "value");
        b.request_with_headers("svc", headers, "question".into()).await
    });
    let question = next(&mut service).await;
    assert_eq!(question.headers.unwrap().get("Key").unwrap().as_str(), "value");
    a.publish(question.reply.unwrap(), "answer".into()).await.unwrap();
    assert_eq!(answer.await.unwrap().unwrap().payload, "answer");
    let nobody = a.request("nobody.here", "".into()).await.unwrap_err();
    assert_eq!(nobody.kind(), RequestErrorKind::NoResponders);
}

#[tokio::test]
async fn queue_groups_share() {
    let server = server();
    let client = connect(&server).await;
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(client.queue_subscribe("work", "q".into()).await.unwrap());
    }
    for _ in 0..300 {
        client.publish("work", "x".into()).await.unwrap();
    }
    client.flush().await.unwrap();
    let mut total = 0;
    let mut all = futures_util::stream::select_all(members.iter_mut().map(|member| member.map(|_| ())));
    while total < 300 {
        tokio::time::timeout(PATIENCE, all.next()).await.unwrap().unwrap();
        total += 1;
    }
    let _ = client.request("nobody", "".into()).await;
    assert_eq!(server.stats().out_msgs, 300);
}

#[tokio::test]
async fn a_wrong_token_is_told() {
    let server = Server::start(Options { token: Some("right".into()), ..options() }).unwrap();
    let address = server.addr().to_string();
    assert!(ConnectOptions::with_token("right".into()).connect(&address).await.is_ok());
    let error = ConnectOptions::with_token("wrong".into()).connect(&address).await.unwrap_err();
    assert_eq!(error.kind(), async_nats::ConnectErrorKind::AuthorizationViolation);
}

#[tokio::test]
async fn a_client_comes_back_after_a_restart() {
    // Nobody else takes the port between the two.
    let options = Options { port: crate::ports::free_port(), ..options() };
    let first = Server::start(options.clone()).unwrap();
    let addr = first.addr();
    let (events, mut seen) = tokio::sync::mpsc::channel(16);
    let client = ConnectOptions::new()
        .event_callback(move |event| {
            let events = events.clone();
            async move {
                // More events than the test reads are of no interest.
                let _ = events.try_send(event);
            }
        })
        .reconnect_delay_callback(|_| Duration::from_millis(20))
        .connect(addr.to_string())
        .await
        .unwrap();
    let mut sub = client.subscribe("news").await.unwrap();
    assert!(client.request("nobody", "".into()).await.is_err());
    first.shutdown();
    while !matches!(tokio::time::timeout(PATIENCE, seen.recv()).await.unwrap(), Some(Event::Disconnected)) {}
    let second = Server::start(options).unwrap();
    while !matches!(tokio::time::timeout(PATIENCE, seen.recv()).await.unwrap(), Some(Event::Connected)) {}
    crate::support::eventually("subscribed again", || second.stats().subscriptions > 0);
    second.local_client("l").publish("news", None, None, "hello again").unwrap();
    assert_eq!(next(&mut sub).await.payload, "hello again");
}

#[tokio::test]
async fn large_messages() {
    let server = server();
    let client = connect(&server).await;
    let mut sub = client.subscribe("big").await.unwrap();
    let payload: bytes::Bytes = (0..1024 * 1024).map(|i| i as u8).collect::<Vec<u8>>().into();
    for _ in 0..5 {
        client.publish("big", payload.clone()).await.unwrap();
    }
    for _ in 0..5 {
        assert_eq!(next(&mut sub).await.payload, payload);
    }
}
