//! Publish, subscribe and request over real servers, and the conversation of a node with its orchestrator.

use crate::servers::{TestServer, connect, kinds, settle, within};
use bacalhau_model::{Event, Execution, Job, NodeInfo};
use bacalhau_wire::bus::{Bus, BusError};
use bacalhau_wire::control::{self, ControlClient, ControlError};
use bacalhau_wire::data;
use bacalhau_wire::headers::Headers;
use bacalhau_wire::messages::*;
use bacalhau_wire::metadata::key;
use bacalhau_wire::subjects;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

const PATIENT: Duration = Duration::from_secs(20);

/// Answers every message on a subject with its own payload and headers, for ever.
async fn echo(bus: Arc<dyn Bus>, subject: &str) {
    let mut messages = bus.subscribe(subject).await.unwrap();
    settle(&*bus).await;
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let Some(reply) = message.reply else { continue };
            bus.publish(&reply, None, &message.headers, message.payload).await.unwrap();
        }
    });
}

#[tokio::test]
async fn requests_are_answered_or_fail_in_words() {
    for kind in kinds() {
        let server = TestServer::start(kind, "t");
        let node = connect(&server.addr.to_string(), "t").await.bus;
        let orchestrator = server.orchestrator("t").await;
        echo(Arc::clone(&orchestrator), "echo.*").await;
        for bus in [&node, &orchestrator] {
            let headers: Headers = [("A", "1"), ("Bacalhau-Type", "x y")].into_iter().collect();
            let answer = within(bus.request("echo.a", &headers, "hello".into(), PATIENT)).await.unwrap();
            assert_eq!((&answer.payload[..], answer.status), (&b"hello"[..], None));
            let (got_a, got_type) = (answer.headers.get("A"), answer.headers.get("Bacalhau-Type"));
            assert_eq!((got_a, got_type), (Some("1"), Some("x y")));

            let error = within(bus.request("nobody", &headers, "x".into(), PATIENT)).await.unwrap_err();
            assert_eq!(error, BusError::NoResponders { subject: "nobody".into() }, "{kind:?}");

            let _silent = bus.subscribe("silent").await.unwrap();
            let brief = Duration::from_millis(50);
            let error = within(bus.request("silent", &headers, "x".into(), brief)).await.unwrap_err();
            assert_eq!(error, BusError::Timeout { subject: "silent".into(), after: brief });

            assert_eq!(bus.max_payload(), 1 << 20);
            let big = Bytes::from(vec![0; (1 << 20) + 1]);
            let error = within(bus.publish("echo.a", None, &Headers::NONE, big)).await.unwrap_err();
            assert!(matches!(&error, BusError::TooLarge { limit, .. } if *limit == 1 << 20), "{error}");
            let error = within(bus.publish("a b", None, &Headers::NONE, "x".into())).await.unwrap_err();
            assert!(matches!(&error, BusError::Subject { .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn many_requests_at_once_find_their_answers() {
    for kind in kinds() {
        let server = TestServer::start(kind, "");
        let node = connect(&server.addr.to_string(), "").await.bus;
        echo(server.orchestrator("").await, "echo").await;
        let requests = (0..500).map(|n| {
            let node = Arc::clone(&node);
            async move {
                let body = Bytes::from(format!("{n}"));
                let answer = node.request("echo", &Headers::NONE, body.clone(), PATIENT).await.unwrap();
                assert_eq!(answer.payload, body);
            }
        });
        within(futures_util::future::join_all(requests)).await;
    }
}

/// Answers control requests as an orchestrator that knows no node yet and shakes hands with everybody.
async fn orchestrate(bus: Arc<dyn Bus>) {
    let mut requests = bus.subscribe(subjects::ALL_CONTROL).await.unwrap();
    settle(&*bus).await;
    tokio::spawn(async move {
        let mut known = Vec::new();
        while let Some(message) = requests.next().await {
            let reply = message.reply.clone().unwrap_or_default();
            let result = control::read_request(&message).and_then(|asked| match asked.request {
                ControlRequest::Handshake(_) => {
                    known.push(asked.node_id);
                    Ok(ControlResponse::Handshake(HandshakeResponse { accepted: true, ..Default::default() }))
                }
                ControlRequest::Heartbeat(h) if known.contains(&h.node_id) => {
                    Ok(ControlResponse::Heartbeat(HeartbeatResponse { last_compute_seq_num: 3 }))
                }
                ControlRequest::ShutdownNotice(_) => {
                    Ok(ControlResponse::ShutdownNotice(ShutdownNoticeResponse { last_compute_seq_num: 4 }))
                }
                _ => Err(control::handshake_required(&asked.node_id)),
            });
            let out = control::answer(&reply, &result, 1).unwrap();
            bus.publish(&out.subject, None, &out.headers, out.payload).await.unwrap();
        }
    });
}

#[tokio::test]
async fn a_node_joins_lives_and_leaves() {
    for kind in kinds() {
        let server = TestServer::start(kind, "t");
        let node = connect(&server.addr.to_string(), "t").await.bus;
        let client = ControlClient::new(Arc::clone(&node), "n-1");
        let heartbeat = HeartbeatRequest { node_id: "n-1".into(), ..Default::default() };
        let error = within(client.heartbeat(heartbeat.clone())).await.unwrap_err();
        assert!(matches!(error, ControlError::Bus(BusError::NoResponders { .. })), "{error}");

        orchestrate(server.orchestrator("t").await).await;
        let error = within(client.heartbeat(heartbeat.clone())).await.unwrap_err();
        assert_eq!(error, ControlError::HandshakeRequired(control::handshake_required("n-1")));
        let info = NodeInfo { node_id: "n-1".into(), ..Default::default() };
        let handshake = HandshakeRequest { node_info: info, ..Default::default() };
        assert!(within(client.handshake(handshake)).await.unwrap().accepted);
        assert_eq!(within(client.heartbeat(heartbeat)).await.unwrap().last_compute_seq_num, 3);
        let other = HeartbeatRequest { node_id: "n-2".into(), ..Default::default() };
        let error = within(client.heartbeat(other)).await.unwrap_err();
        assert!(
            matches!(&error, ControlError::Refused(e) if e.message.contains("in the name of")),
            "{error}"
        );
        let leave = ShutdownNoticeRequest { node_id: "n-1".into(), ..Default::default() };
        assert_eq!(within(client.shutdown_notice(leave)).await.unwrap().last_compute_seq_num, 4);
    }
}

#[tokio::test]
async fn messages_arrive_numbered_and_are_acknowledged() {
    for kind in kinds() {
        let server = TestServer::start(kind, "t");
        let node = connect(&server.addr.to_string(), "t").await.bus;
        let orchestrator = server.orchestrator("t").await;
        let mut asks = node.subscribe(&subjects::messages("n-1")).await.unwrap();
        let mut reports = orchestrator.subscribe(subjects::ALL_REPORTS).await.unwrap();
        settle(&*node).await;
        settle(&*orchestrator).await;

        let job = Job { id: "j-1".into(), r#type: "batch".into(), ..Job::default() };
        let execution = Execution {
            id: "e-1".into(),
            job_id: "j-1".into(),
            job: Some(Arc::new(job)),
            ..Execution::default()
        };
        let node_task = tokio::spawn({
            let (node, execution) = (Arc::clone(&node), execution.clone());
            async move {
                let message = asks.next().await.unwrap();
                let incoming = data::from_orchestrator(&message.payload).unwrap();
                assert_eq!((incoming.seq, incoming.message.execution_id()), (13, "e-1"));
                assert_eq!(message.headers.get(key::SEQ_NUM), Some("13"));
                let reply = message.reply.unwrap();
                node.publish(&reply, None, &Headers::NONE, Bytes::from_static(data::ACK)).await.unwrap();
                let report = bid_result(&execution, true, None);
                let out = data::to_orchestrator("n-1", 2, 5, &report).unwrap();
                let ack = node.request(&out.subject, &out.headers, out.payload, PATIENT).await.unwrap();
                data::check_ack(ack.status, &ack.payload)
            }
        });
        let out = data::to_node("n-1", 13, 5, &ask_for_bid(execution)).unwrap();
        let ack =
            within(orchestrator.request(&out.subject, &out.headers, out.payload, PATIENT)).await.unwrap();
        assert_eq!(data::check_ack(ack.status, &ack.payload), Ok(()));
        let report = within(reports.next()).await.unwrap();
        assert_eq!(subjects::node_of(&report.subject), Some("n-1"));
        let incoming = data::from_node(&report.payload).unwrap();
        assert_eq!((incoming.seq, incoming.message.kind()), (2, NodeMessageKind::BidResult));
        let nack = Bytes::from_static(br#"{"error":"full","delay":100000000}"#);
        orchestrator.publish(&report.reply.unwrap(), None, &Headers::NONE, nack).await.unwrap();
        assert_eq!(within(node_task).await.unwrap(), Err("full".to_owned()));

        // A node that is not there: the sender learns it at once.
        let gone = data::to_node("n-2", 1, 5, &cancel_execution("e-1", Event::default())).unwrap();
        let error = within(orchestrator.request(&gone.subject, &gone.headers, gone.payload, PATIENT)).await;
        assert!(matches!(error, Err(BusError::NoResponders { .. })));
    }
}
