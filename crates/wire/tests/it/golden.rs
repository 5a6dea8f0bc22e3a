//! Every recorded frame is decoded into its typed message and encoded again to the same bytes.

use bacalhau_model::lenient;
use bacalhau_wire::data;
use bacalhau_wire::envelope::{self, Envelope, Payload};
use bacalhau_wire::headers::Headers;
use bacalhau_wire::messages::*;
use bacalhau_wire::metadata::{Metadata, key};
use bacalhau_wire::subjects;
use serde_json::Value;
use std::collections::BTreeMap;

const RECORDED: &str = include_str!("../golden/nats.jsonl");

/// Decodes a frame as what its type says and encodes that again.
fn again(envelope: Envelope) -> Vec<u8> {
    let metadata = envelope.metadata.clone();
    let kind = envelope.message_type().to_owned();
    let bytes = if kind.starts_with("transport.") && kind.ends_with("Response") {
        ControlResponse::from_envelope(envelope).unwrap().encode(&metadata)
    } else if kind.starts_with("transport.") {
        ControlRequest::from_envelope(envelope).unwrap().encode(&metadata)
    } else if kind.ends_with("Result") || kind == ComputeError::TYPE {
        NodeMessage::from_envelope(envelope).unwrap().encode(&metadata)
    } else {
        OrchestratorMessage::from_envelope(envelope).unwrap().encode(&metadata)
    };
    bytes.unwrap().to_vec()
}

fn lines() -> impl Iterator<Item = Value> {
    RECORDED.lines().map(|line| serde_json::from_str(line).unwrap())
}

#[test]
fn every_recorded_frame_encodes_to_the_same_bytes() {
    let mut frames = 0;
    for line in lines().filter(|line| line["frame_body"].is_string()) {
        let header = line["frame_header_hex"].as_str().unwrap();
        let header = u64::from_str_radix(header, 16).unwrap().to_be_bytes();
        let recorded = [&header[3..], line["frame_body"].as_str().unwrap().as_bytes()].concat();
        let envelope = Envelope::decode(&recorded).unwrap();
        let headers: BTreeMap<String, String> = serde_json::from_value(line["headers"].clone()).unwrap();
        let headers: Headers = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(envelope.metadata.to_headers(), headers);
        let ours = again(envelope);
        assert_eq!(String::from_utf8_lossy(&ours[5..]), String::from_utf8_lossy(&recorded[5..]));
        assert_eq!(ours, recorded);
        frames += 1;
    }
    assert_eq!(frames, 44);
}

#[test]
fn messages_built_here_have_the_recorded_metadata_and_headers() {
    for line in lines().filter(|line| line["frame_body"].is_string()) {
        let subject = line["subject"].as_str().unwrap();
        let Some(node) = subjects::node_of(subject) else { continue };
        let body: Value = serde_json::from_str(line["frame_body"].as_str().unwrap()).unwrap();
        let pairs: BTreeMap<String, String> = serde_json::from_value(body["metadata"].clone()).unwrap();
        let recorded = Metadata::from(pairs);
        let (seq, at) = (recorded.seq(), recorded.event_time().unwrap());
        let bytes = [&[1][..], &crc32(&body), body.to_string().as_bytes()].concat();
        let built = if subject.ends_with("in.msgs") {
            data::to_node(node, seq, at, &data::from_orchestrator(&bytes).unwrap().message)
        } else if subject.ends_with("out.msgs") {
            data::to_orchestrator(node, seq, at, &data::from_node(&bytes).unwrap().message)
        } else {
            continue;
        };
        let built = built.unwrap();
        assert_eq!(built.subject, subject);
        assert_eq!(Envelope::decode(&built.payload).unwrap().metadata, recorded);
        assert_eq!(built.headers, recorded.to_headers());
        assert_eq!(built.size(), built.headers.to_block().len() + built.payload.len());
    }
}

/// Checksum without a library: bit by bit.
fn crc32(body: &Value) -> [u8; 4] {
    let mut crc = u32::MAX;
    for byte in body.to_string().bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    (!crc).to_be_bytes()
}

#[test]
fn a_recorded_ask_needs_no_rewriting() {
    for line in
        lines().filter(|line| line["frame_body"].as_str().is_some_and(|b| b.contains("\"AskForBid\"")))
    {
        let body: Value = serde_json::from_str(line["frame_body"].as_str().unwrap()).unwrap();
        let ask: AskForBid = lenient::from_value(body["payload"].clone()).unwrap();
        let execution = ask.execution.clone().unwrap();
        assert_eq!(ask_for_bid(execution), OrchestratorMessage::AskForBid(Box::new(ask)));
    }
}

#[test]
fn every_recorded_acknowledgement_is_one() {
    let plain = lines().filter(|line| line["in_reply_to"].as_str().is_some_and(|s| s.ends_with("msgs")));
    let acks: Vec<Value> = plain.map(|line| line["json"].clone()).collect();
    assert!(!acks.is_empty());
    for ack in acks {
        assert_eq!(ack.to_string().as_bytes(), data::ACK);
        assert_eq!(data::check_ack(None, ack.to_string().as_bytes()), Ok(()));
    }
}

/// Calls `f` with copies of a payload in each of which one value, at any depth, is replaced.
fn each_replaced(payload: &Value, with: &Value, f: &mut dyn FnMut(Value)) {
    fn places(value: &Value, at: &str, all: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| {
                let at = format!("{at}/{}", k.replace('~', "~0").replace('/', "~1"));
                places(v, &at, all);
                all.push(at);
            }),
            Value::Array(list) => list.iter().enumerate().for_each(|(n, v)| {
                places(v, &format!("{at}/{n}"), all);
                all.push(format!("{at}/{n}"));
            }),
            _ => {}
        }
    }
    let mut all = Vec::new();
    places(payload, "", &mut all);
    for place in all {
        let mut copy = payload.clone();
        *copy.pointer_mut(&place).unwrap() = with.clone();
        f(copy);
    }
}

fn decode(metadata: &Metadata, payload: Value) -> Result<(), envelope::EnvelopeError> {
    let envelope = Envelope { metadata: metadata.clone(), payload };
    match envelope.message_type() {
        kind if kind.starts_with("transport.") && kind.ends_with("Response") => {
            ControlResponse::from_envelope(envelope).map(drop)
        }
        kind if kind.starts_with("transport.") => ControlRequest::from_envelope(envelope).map(drop),
        "BidResult" | "RunResult" | "ComputeError" => NodeMessage::from_envelope(envelope).map(drop),
        _ => OrchestratorMessage::from_envelope(envelope).map(drop),
    }
}

/// Go prints `null` for whatever is unset, so a reader accepts it everywhere; and wrong types are errors that name the
/// message, never a crash.
#[test]
fn nulls_are_accepted_and_wrong_types_are_errors_in_words() {
    let (mut nulls, mut errors) = (0, 0);
    for line in lines().filter(|line| line["frame_body"].is_string()) {
        let body: Value = serde_json::from_str(line["frame_body"].as_str().unwrap()).unwrap();
        let pairs: BTreeMap<String, String> = serde_json::from_value(body["metadata"].clone()).unwrap();
        let metadata = Metadata::from(pairs);
        each_replaced(&body["payload"], &Value::Null, &mut |payload| {
            // A null among texts, in a list or a map, is the one thing that no sender prints.
            match decode(&metadata, payload) {
                Err(e) => assert!(e.to_string().ends_with("expected string, found null"), "{e}"),
                Ok(()) => nulls += 1,
            }
        });
        each_replaced(&body["payload"], &serde_json::json!([{"x": [1.5]}]), &mut |payload| {
            if let Err(e) = decode(&metadata, payload) {
                assert!(e.to_string().contains(metadata.message_type().unwrap()), "{e}");
                errors += 1;
            }
        });
    }
    assert!(nulls > 500 && errors > 500, "{nulls} {errors}");
}

/// Nodes of 1.9 first try the old protocol. It is not served; its subjects must not be taken for current ones.
#[test]
fn the_old_probe_is_not_for_us() {
    let probes: Vec<Value> =
        lines().filter(|l| l["subject"].as_str().is_some_and(|s| s.ends_with("RegisterNode/v1"))).collect();
    assert_eq!(probes.len(), 2);
    for probe in probes {
        assert_eq!(subjects::node_of(probe["subject"].as_str().unwrap()), None);
        let info: bacalhau_model::NodeInfo = lenient::from_value(probe["json"]["Info"].clone()).unwrap();
        assert!(info.supported_protocols.iter().any(|p| p == bacalhau_model::node::protocol::NCL_V1));
    }
}

fn check_vector<P: serde::Serialize>(metadata: Metadata, payload: &P, header: [u8; 5], total: usize) {
    let bytes = envelope::encode(&metadata, payload).unwrap();
    assert_eq!((&bytes[..5], bytes.len()), (&header[..], total), "{}", String::from_utf8_lossy(&bytes[5..]));
}

/// Frames computed by an independent program from the rules of the format.
#[test]
fn computed_vectors() {
    const AT: i64 = 1_767_225_600_000_000_000;
    let heartbeat = HeartbeatRequest {
        node_id: "n-1".into(),
        available_capacity: bacalhau_model::Resources { cpu: 4.0, memory: 8 << 30, ..Default::default() },
        queue_used_capacity: Default::default(),
        last_orchestrator_seq_num: 12,
    };
    let metadata = Metadata::new(HeartbeatRequest::TYPE, "n-1", AT);
    check_vector(metadata, &heartbeat, [0x01, 0x12, 0xac, 0xb1, 0xd1], 354);

    let metadata = Metadata::new(HeartbeatResponse::TYPE, "orchestrator-control", AT);
    let response = HeartbeatResponse { last_compute_seq_num: 7 };
    check_vector(metadata, &response, [0x01, 0x32, 0x6b, 0xe1, 0x5b], 279);

    let metadata = Metadata::new(HandshakeResponse::TYPE, "orchestrator-control", AT);
    let response = HandshakeResponse {
        accepted: true,
        reason: "node registered".into(),
        last_compute_seq_num: 0,
        last_orchestrator_seq_num: 12,
        supported_protocols: Vec::new(),
    };
    check_vector(metadata, &response, [0x01, 0xb8, 0x58, 0x0e, 0x4f], 350);

    let built = data::to_node("n-1", 13, AT, &bid_accepted("e-1")).unwrap();
    assert_eq!((&built.payload[..5], built.payload.len()), (&[0x01, 0x85, 0x60, 0xa1, 0x01][..], 381));
    assert_eq!(built.headers.get(key::SEQ_NUM), Some("13"));
    let empty = Metadata::default();
    check_vector(empty, &BTreeMap::<String, String>::new(), [0x01, 0xc7, 0x7e, 0xb4, 0x02], 33);
}

/// Additions of our own are left out of what nodes and orchestrators of Bacalhau 1.9 see, and travel when they are said.
#[test]
fn additions_are_left_out_until_both_sides_speak_them() {
    let text = |value: &dyn Fn() -> serde_json::Value| value().to_string();
    let plain = text(&|| serde_json::to_value(HandshakeResponse::default()).unwrap());
    assert!(!plain.contains("SupportedProtocols"), "{plain}");
    let plain = text(&|| serde_json::to_value(ShutdownNoticeRequest::default()).unwrap());
    assert!(!plain.contains("TasksGoOn"), "{plain}");

    let job = bacalhau_model::Job { r#type: "batch".into(), ..Default::default() };
    let execution = bacalhau_model::Execution {
        id: "e-1".into(),
        job_id: "j-1".into(),
        job: Some(std::sync::Arc::new(job)),
        ..Default::default()
    };
    let event = bacalhau_model::Event::new("Topic", "line", bacalhau_model::Time::from_unix_nanos(0));
    let state = bacalhau_model::ComputeState::Running;
    let message = execution_progress(&execution, state, 7, vec![event]);
    let out = data::to_orchestrator("n-1", 3, 0, &message).unwrap();
    let envelope = Envelope::decode(&out.payload).unwrap();
    assert_eq!(envelope.message_type(), "ExecutionProgress");
    let sent = String::from_utf8_lossy(&out.payload);
    assert!(
        sent.contains(r#"{"ExecutionID":"e-1","JobID":"j-1","JobType":"batch","State":6,"RunningFor":7,"Events":[{"Message":"line","Topic":"Topic","Timestamp":"1970-01-01T00:00:00Z"}]}"#),
        "{sent}"
    );
    assert_eq!(data::from_node(&out.payload).unwrap().message, message);
    // What a later version adds, and what is missing, is no error; an unknown state is.
    let read = |payload: serde_json::Value| {
        let metadata = envelope.metadata.clone();
        NodeMessage::from_envelope(Envelope { metadata, payload })
    };
    read(serde_json::json!({"executionid": "e-1", "State": 6, "New": 1})).unwrap();
    assert!(read(serde_json::json!({"ExecutionID": "e-1", "State": 77})).is_err());
}
