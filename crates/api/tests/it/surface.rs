//! What every request meets: routes, headers, redirects, the version gate, CORS.

use crate::fake::{Fake, World};
use crate::support::{ask, get, parts, put, serve, start};
use bacalhau_api::server::Server;
use bacalhau_model::NodeState;
use serde_json::json;
use std::sync::Arc;

#[tokio::test]
async fn agent_answers() {
    let (server, _) = serve(Fake::default()).await;
    let alive = ask(&server, "GET /api/v1/agent/alive", "X-Request-ID: abc\r\nOrigin: x\r\n", "").await;
    assert_eq!((alive.status, alive.body.as_str()), (200, "{\"Status\":\"OK\"}\n"));
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", "16"),
        ("x-request-id", "abc"),
        ("x-bacalhau-git-version", "v1.9.3"),
        ("x-bacalhau-build-date", "1970-01-01 00:00:00 +0000 UTC"),
        ("vary", "Origin"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(alive.header(name), Some(value), "{alive:?}");
    }
    assert_eq!(get(&server, "/api/v1/agent/alive?pretty").await.body, "{\n  \"Status\": \"OK\"\n}\n");
    let node = get(&server, "/api/v1/agent/node").await.body;
    assert!(node.contains("\"NodeType\":\"Requester\",\"Labels\":{}"), "{node}");
    assert!(node.contains("\"ExecutionEngines\":null") && node.contains("\"address\":\"\""), "{node}");
    // What Python's client sends with every GET.
    let typed = ask(&server, "GET /api/v1/agent/alive", "Content-Type: application/json\r\n", "").await;
    assert_eq!(typed.status, 200);
}

#[tokio::test]
async fn unknown_routes_and_methods() {
    let (server, _) = serve(Fake::default()).await;
    for line in [
        "GET /api/v1/nothing",
        "GET /api/v1/orchestrator/jobs/",
        "GET /API/v1/agent/alive",
        "DELETE /api/v1/orchestrator/jobs",
        "PATCH /api/v1/orchestrator/nodes/n",
        "POST /api/v1/agent/alive",
        "GET /api/v1/agent/license",
        "GET /api/v1/auth/ClientKey",
    ] {
        let answer = ask(&server, line, "", "").await;
        assert_eq!(answer.status, 404, "{line}");
        assert_eq!(answer.message(), "The requested resource/URL was not found.", "{line}");
        assert_eq!(answer.json()["RequestID"].as_str(), answer.header("x-request-id"));
    }
    for line in ["HEAD /api/v1/agent/alive", "HEAD /nothing"] {
        let answer = ask(&server, line, "", "").await;
        assert_eq!((answer.status, answer.body.as_str()), (404, ""), "{line}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    assert_eq!(ask(&server, "HEAD /livez", "", "").await.status, 405);
    for (path, to) in [
        ("/", "/api/v1/agent/version"),
        ("/version", "/api/v1/agent/version"),
        ("/livez", "/api/v1/agent/alive"),
    ] {
        let answer = get(&server, path).await;
        assert_eq!((answer.status, answer.header("location")), (301, Some(to)));
        let answer = ask(&server, &format!("DELETE {path}"), "", "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("OPTIONS, GET")));
        assert_eq!(answer.message(), "Method Not Allowed");
    }
    let not_text = get(&server, "/api/v1/orchestrator/jobs/%ff").await;
    assert_eq!((not_text.status, not_text.message().contains("UTF-8")), (400, true));
    let decoded = get(&server, "/api/v1/orchestrator/jobs/a%2Fb%20c").await;
    assert_eq!(decoded.message(), "job not found: a/b c");
}

#[tokio::test]
async fn without_an_orchestrator_there_are_no_jobs() {
    let mut parts = parts(&Arc::new(Fake::default()));
    parts.backend = None;
    let server = start(Server::new(parts)).await;
    assert_eq!(get(&server, "/api/v1/agent/alive").await.status, 200);
    assert_eq!(get(&server, "/api/v1/agent/debug").await.body, "{}\n");
    for path in ["/api/v1/orchestrator/jobs", "/api/v1/orchestrator/nodes", "/api/v1/auth"] {
        assert_eq!(get(&server, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_version_gate() {
    let (server, _) = serve(Fake::default()).await;
    for (version, status) in [
        ("v1.9.3", 200),
        ("1.9", 200),
        ("v1.4.0", 200),
        ("v0.0.0-xxxxxxx", 200),
        ("", 200),
        ("v1.4.0-rc1", 403),
        ("v0.3.29", 403),
        ("foo", 400),
    ] {
        let header = format!("X-Bacalhau-Git-Version: {version}\r\n");
        let answer = ask(&server, "GET /api/v1/agent/alive", &header, "").await;
        assert_eq!(answer.status, status, "{version}");
        assert!(answer.header("x-bacalhau-git-version").is_some());
    }
}

#[tokio::test]
async fn preflights_are_free() {
    let (server, _) = serve(Fake::default()).await;
    let plain = ask(&server, "OPTIONS /any", "", "").await;
    assert_eq!((plain.status, plain.header("vary")), (204, Some("Origin")));
    assert_eq!(plain.header("access-control-allow-origin"), None);
    assert_eq!(plain.header("x-request-id"), None);
}

#[tokio::test]
async fn nodes_are_listed_filtered_and_changed() {
    let node = |id: &str, cpu: f64, labels: &[(&str, &str)]| {
        let mut node = NodeState::default();
        node.info.node_id = id.to_owned();
        node.info.compute_node_info.available_capacity.cpu = cpu;
        node.info.labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        node.membership = bacalhau_model::Membership::Approved;
        node
    };
    let mut pending = node("n-b", 4.0, &[]);
    pending.membership = bacalhau_model::Membership::Pending;
    let nodes = vec![node("n-a", 1.0, &[("zone", "x")]), pending, node("n-c", 2.0, &[("zone", "y")])];
    let (server, fake) = serve(Fake::new(World { nodes, ..World::default() })).await;
    let path = "/api/v1/orchestrator/nodes";
    for (query, ids) in [
        ("", vec!["n-a", "n-b", "n-c"]),
        ("?reverse=T&limit=2", vec!["n-c", "n-b"]),
        ("?order_by=available_cpu", vec!["n-b", "n-c", "n-a"]),
        ("?filter-approval=Pending", vec!["n-b"]),
        ("?filter_approval=approved&labels=zone%21%3Dx", vec!["n-c"]),
        ("?filter-status=connected", vec![]),
    ] {
        let answer = get(&server, &format!("{path}{query}")).await.json();
        let found: Vec<_> =
            answer["Nodes"].as_array().unwrap().iter().map(|n| &n["Info"]["NodeID"]).collect();
        assert_eq!(found, ids, "{query}");
    }
    assert_eq!(get(&server, &format!("{path}?order_by=x")).await.message(), "invalid order_by");
    for (action, status) in [("approve", 200), ("reject", 200), ("delete", 200), ("explode", 400)] {
        let body = json!({"action": action, "Message": "", "nodeID": "x"}).to_string();
        assert_eq!(put(&server, &format!("{path}/n-a"), &body).await.status, status);
    }
    assert_eq!(fake.world().seen, ["Approve n-a", "Reject n-a", "Delete n-a"]);
}

#[tokio::test]
async fn figures_are_for_whoever_may_read_the_agent() {
    let (server, _) = serve(Fake::default()).await;
    let answer = get(&server, "/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(answer.body.starts_with("# HELP bacalhau_node_info "), "{}", answer.body);
    assert!(answer.body.contains("\nbacalhau_orchestrator_events_total "), "{}", answer.body);
    assert_eq!(ask(&server, "POST /metrics", "", "{}").await.status, 404);
}
