//! HTTP requests of components through `wasi:http`, under each type of network.

use super::texts::{CONNECTION_REFUSED, Call, DENIED, READ_TIMEOUT, RESPONSE_TIMEOUT};
use super::{program, server};
use crate::support::{Case, Node};
use bacalhau_model::NetworkType;

fn get(authority: &str, path: &str) -> Case {
    program(&Call { method: 0, authority, path, body: "", timeout: 20_000_000_000 }.component())
}

async fn run(node: &Node, case: Case) -> (i64, String) {
    let output = node.run(case.execution()).await.unwrap().run_output;
    (output.exit_code, output.stdout)
}

#[tokio::test]
async fn requests_are_answered() {
    let (node, server) = (Node::new().await, server::start().await);
    let authority = &format!("127.0.0.1:{}", server.port);
    assert_eq!(run(&node, get(authority, "/")).await, (0, "served".to_owned()));
    let post = Call { method: 2, authority, path: "/echo?x", body: "data", timeout: 20_000_000_000 };
    assert_eq!(
        run(&node, program(&post.component())).await,
        (0, format!("POST host={authority} x-test=- body=data"))
    );
    // More than the guest's memory, read piece by piece; the record keeps the beginning.
    assert_eq!(run(&node, get(authority, "/large?bytes=40000")).await.0, 0);
}

#[tokio::test]
async fn redirects_are_the_guests_business() {
    let (node, server) = (Node::new().await, server::start().await);
    let authority = format!("127.0.0.1:{}", server.port);
    assert_eq!(run(&node, get(&authority, "/to?there=/")).await, (102, "elsewhere".to_owned()));
    assert_eq!(server.hits(), 1);
}

#[tokio::test]
async fn the_network_decides_who_is_reached() {
    let (node, server) = (Node::new().await, server::start().await);
    let authority = format!("127.0.0.1:{}", server.port);
    for (network, domains, code) in [
        (NetworkType::Default, &[][..], 0),
        (NetworkType::Host, &[], 0),
        (NetworkType::Full, &[], 0),
        (NetworkType::None, &[], DENIED),
        (NetworkType::Bridge, &[], DENIED),
        (NetworkType::Http, &["127.0.0.1"], 0),
        (NetworkType::Http, &["example.com", "127.0.0.2"], DENIED),
    ] {
        let before = server.hits();
        let found = run(&node, get(&authority, "/").network(network, domains)).await.0;
        assert_eq!(found, code, "{network}");
        assert_eq!(server.hits() - before, usize::from(code == 0), "{network}");
    }
    let by_name = get(&format!("localhost:{}", server.port), "/").network(NetworkType::Http, &["localhost"]);
    assert_eq!(run(&node, by_name).await.0, DENIED);
}

#[tokio::test]
async fn what_goes_wrong_has_its_code() {
    let (node, server) = (Node::new().await, server::start().await);
    let nobody = format!("127.0.0.1:{}", crate::test_registry::free_port());
    assert_eq!(run(&node, get(&nobody, "/")).await.0, CONNECTION_REFUSED);
    let authority = &format!("127.0.0.1:{}", server.port);
    let impatient = Call { method: 0, authority, path: "/never", body: "", timeout: 50_000_000 };
    assert!([READ_TIMEOUT, RESPONSE_TIMEOUT].contains(&run(&node, program(&impatient.component())).await.0));
    let failure = node.run(get(authority, "/never").timeout(1).execution()).await.unwrap_err();
    assert_eq!(failure.error.message, "Execution timed out after 1s");
}
