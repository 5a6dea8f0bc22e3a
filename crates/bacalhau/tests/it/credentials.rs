//! Nodes that join with a key of their own, and what such a key allows.

use crate::cluster::{Cluster, UP_FOREVER, eventually, wat_job};
use async_nats::{Client, ConnectOptions, Event};
use bacalhau_wire::credentials::NodeCredentials;
use futures_util::StreamExt;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio::sync::mpsc;

/// Makes credentials; gives the path of the file.
fn create(cluster: &Cluster, name: &str) -> String {
    let said = cluster.ok(&["node", "credentials", "create", name]);
    assert!(said.contains(&format!("{name}.creds")) && !said.contains("SU"), "{said}");
    let path = cluster.root.path().join(format!("{name}.creds"));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    path.display().to_string()
}

#[test]
fn a_node_joins_with_its_credentials_until_they_are_revoked() {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    let open = cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    let first = cluster.cli(&["node", "credentials", "create", "node-9"]);
    assert!(String::from_utf8_lossy(&first.stderr).contains("kept out"), "{first:?}");
    let file = create(&cluster, "node-1");
    // From now on whoever shows nothing is kept out, also who was there already.
    eventually("the open door is closed", || (cluster.connected() == 0).then_some(()));
    eventually("it says so", || {
        cluster.nodes[open].log().contains("wants a token or credentials").then_some(())
    });
    let node = cluster.add_node(&address, &["-c", &format!("Compute.Auth.Credentials={file}")]);
    cluster.wait_connected(1);
    let job =
        cluster.file("job.yaml", &wat_job("service", UP_FOREVER, "").replace("Type: batch", "Type: service"));
    cluster.ok(&["job", "run", &job, "--wait=false"]);
    // The whole way works with so few rights: bids, reports, acknowledgements, logs.
    eventually("it runs and its output is read", || {
        let logs = cluster.cli(&["job", "logs", "service"]);
        String::from_utf8_lossy(&logs.stdout).contains("up").then_some(())
    });
    cluster.ok(&["job", "stop", "service"]);
    let list = cluster.ok(&["node", "credentials", "list"]);
    assert!(list.contains("node-1") && list.contains(" U"), "{list}");
    let again = cluster.cli(&["node", "credentials", "create", "node-1", "--output-file", "other.creds"]);
    let text = String::from_utf8_lossy(&again.stderr);
    assert!(text.contains("has credentials already") && text.contains("revoke"), "{text}");
    assert!(!cluster.root.path().join("other.creds").exists(), "nothing useless is left");

    // A restart remembers them.
    cluster.orchestrator.terminate();
    cluster.orchestrator.start();
    cluster.wait_alive();
    cluster.wait_connected(1);
    cluster.ok(&["node", "credentials", "revoke", "node-1"]);
    eventually("the node is told", || cluster.nodes[node].log().contains("Revoked").then_some(()));
    let gone = cluster.cli(&["node", "credentials", "revoke", "node-1"]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("has no credentials"));
    eventually("it does not come back", || {
        cluster.nodes[node].log().contains("refused the credentials of node node-1").then_some(())
    });
    // Also the last one who lost his key stays out, after a restart too.
    cluster.orchestrator.terminate();
    cluster.orchestrator.start();
    cluster.wait_alive();
    let refusals = || cluster.orchestrator.log().matches("refused a client").count();
    let before = refusals();
    eventually("somebody is refused again", || (refusals() > before).then_some(()));
    assert_eq!(cluster.connected(), 0);
}

#[test]
fn credentials_are_for_one_node() {
    let mut cluster = Cluster::new("a-token", &[]);
    let address = cluster.nats();
    let file = create(&cluster, "other-name");
    // The harness calls it node-0.
    let node = cluster.add_node(&address, &["-c", &format!("Compute.Auth.Credentials={file}")]);
    eventually("it says what is wrong", || {
        cluster.nodes[node].log().contains("are for node other-name, and this is node node-0").then_some(())
    });
    // The token goes on beside them.
    cluster.add_node(&address, &["-c", "Compute.Auth.Token=a-token"]);
    cluster.wait_connected(1);
}

/// A client with a node's credentials, and what the server tells it.
async fn client(cluster: &Cluster, file: &str) -> (Client, mpsc::Receiver<String>) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(NodeCredentials::parse(&text).is_ok());
    let seed = text.lines().find(|line| line.starts_with("SU")).unwrap().to_owned();
    let (tell, told) = mpsc::channel(1024);
    let options = ConnectOptions::with_nkey(seed).event_callback(move |event| {
        let tell = tell.clone();
        async move {
            if let Event::ServerError(error) = event {
                tell.send(error.to_string()).await.unwrap();
            }
        }
    });
    (options.connect(cluster.nats()).await.unwrap(), told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_s_key_opens_its_own_subjects_only() {
    let cluster = tokio::task::block_in_place(|| Cluster::new("a-token", &[]));
    let files = tokio::task::block_in_place(|| [create(&cluster, "me"), create(&cluster, "you")]);
    let (me, mut told) = client(&cluster, &files[0]).await;
    let mut denied = async |subject: &str| {
        let said = tokio::time::timeout(Duration::from_secs(20), told.recv()).await;
        let said = said.unwrap_or_else(|_| panic!("{subject} is allowed")).unwrap();
        let lower = said.to_lowercase();
        assert!(lower.contains("permissions violation") && lower.contains(&subject.to_lowercase()), "{said}");
    };
    let own = "bacalhau.global.compute.me.";
    for subject in [
        "bacalhau.global.compute.you.out.ctrl",
        "bacalhau.global.compute.you.out.msgs",
        "bacalhau.global.compute.you.in.msgs",
        "bacalhau.global.compute.me.in.msgs",
        "bacalhau.global.compute.me.out",
        "node.compute.you.ExecutionLogs/v1",
        "node.compute.me.ExecutionLogs/v1",
        "_INBOX.you.x",
        "_INBOX.me.x",
        "_INBOX.x",
        "$SYS.REQ.USER.INFO",
        "bacalhau.global.events.node.me",
        "anything",
    ] {
        me.publish(subject.to_owned(), "x".into()).await.unwrap();
        denied(subject).await;
    }
    for subject in [
        ">",
        "bacalhau.>",
        "bacalhau.global.compute.*.out.ctrl",
        "bacalhau.global.compute.*.in.msgs",
        "bacalhau.global.compute.you.in.msgs",
        "bacalhau.global.compute.me.>",
        "bacalhau.global.compute.me.out.>",
        "bacalhau.global.events.>",
        "node.compute.*.ExecutionLogs/v1",
        "node.compute.you.>",
        "_INBOX.>",
        "_INBOX.*.x",
        "_INBOX.you.>",
    ] {
        let _denied = me.subscribe(subject.to_owned()).await.unwrap();
        me.flush().await.unwrap();
        denied(subject).await;
        let _denied = me.queue_subscribe(subject.to_owned(), "q".to_owned()).await.unwrap();
        me.flush().await.unwrap();
        denied(subject).await;
    }
    // What it needs is open.
    let _in = me.subscribe(format!("{own}in.msgs")).await.unwrap();
    let _logs = me.subscribe("node.compute.me.>").await.unwrap();
    let _inbox = me.subscribe("_INBOX.me.abc.*").await.unwrap();
    for subject in ["out.ctrl", "out.msgs", "out.acks.x.1", "out.logs.x.y", "out.alive.x"] {
        me.publish(format!("{own}{subject}"), "x".into()).await.unwrap();
    }
    me.flush().await.unwrap();
    me.publish("last", "x".into()).await.unwrap();
    denied("last").await;
}

/// The orchestrator may publish everywhere. Nobody makes it do so by naming the subject of another as that for the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_answered_in_its_own_inbox_only() {
    let cluster = tokio::task::block_in_place(|| Cluster::new("a-token", &[]));
    let files = tokio::task::block_in_place(|| [create(&cluster, "me"), create(&cluster, "you")]);
    let (me, _told) = client(&cluster, &files[0]).await;
    let all = ConnectOptions::with_token("a-token".to_owned()).connect(cluster.nats()).await.unwrap();
    let mut seen = all.subscribe(">").await.unwrap();
    all.flush().await.unwrap();
    for kind in ["ctrl", "msgs"] {
        let own = format!("bacalhau.global.compute.me.out.{kind}");
        let inbox = format!("_INBOX.me.{kind}.1");
        for reply in [
            "bacalhau.global.compute.you.in.msgs",
            "bacalhau.global.compute.you.out.ctrl",
            "bacalhau.global.compute.you.out.acks.x.1",
            "bacalhau.global.events.job.fake",
            "_INBOX.you.x.1",
            "anything",
            &inbox,
        ] {
            me.publish_with_reply(own.clone(), reply.to_owned(), "no request".into()).await.unwrap();
        }
        loop {
            let message = tokio::time::timeout(Duration::from_secs(20), seen.next()).await.unwrap().unwrap();
            match message.subject.as_str() {
                subject if subject == own => {}
                subject if subject == inbox => break,
                subject => panic!("the orchestrator spoke on {subject}"),
            }
        }
    }
}
