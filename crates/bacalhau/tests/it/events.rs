//! The event stream of a real orchestrator: complete across its deaths, the same on NATS, and what the CLI makes of it.

use crate::cluster::{Cluster, FOREVER, NOTHING, PATIENCE, eventually, wat_job};
use bacalhau_api::client::{Client, Endpoint, EventFeed, EventsQuery, Identity, Signal};
use bacalhau_model::{ClusterEvent, EventKind};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::task::block_in_place;

fn client(cluster: &Cluster) -> Client {
    let endpoint = Endpoint { url: format!("http://127.0.0.1:{}", cluster.api_port), ..Endpoint::default() };
    Client::new(&endpoint, &Identity::default(), None).unwrap()
}

/// Everything that is stored.
async fn stored(cluster: &Cluster, query: EventsQuery) -> Vec<ClusterEvent> {
    let query = EventsQuery { since: Some(0), stored_only: true, ..query };
    let mut stream = client(cluster).events(&query).await.unwrap().unwrap();
    let mut events = Vec::new();
    while let Some(signal) = stream.next().await.unwrap() {
        let Signal::Event(event) = signal else { panic!("{signal:?}") };
        events.push(*event);
    }
    events
}

async fn next(feed: &mut EventFeed) -> Signal {
    tokio::time::timeout(PATIENCE, feed.next()).await.expect("an event in time").unwrap().unwrap()
}

fn is_end_of(event: &ClusterEvent, name: &str) -> bool {
    event.r#type == EventKind::Job && event.job_name == name && event.state == "Completed"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_misses_nothing_however_often_the_orchestrator_is_killed() {
    let mut cluster = block_in_place(|| Cluster::new("", &[]));
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    block_in_place(|| cluster.wait_connected(1));
    let query = EventsQuery { since: Some(0), ..EventsQuery::default() };
    let mut feed = client(&cluster).event_feed(query).await.unwrap().unwrap();
    // The reader reads all the time and ends with the last job.
    let reader = tokio::spawn(async move {
        let (mut seen, mut lost) = (Vec::<ClusterEvent>::new(), 0);
        loop {
            match next(&mut feed).await {
                Signal::Event(event) => {
                    let end = is_end_of(&event, "last");
                    seen.push(*event);
                    if end {
                        return (seen, lost);
                    }
                }
                Signal::Reconnected => lost += 1,
                Signal::Reset(why) => panic!("{why}"),
            }
        }
    });
    block_in_place(|| {
        for round in 0..6_u64 {
            for n in 0..4 {
                let job = wat_job(&format!("job-{round}-{n}"), NOTHING, "");
                let file = cluster.file("job.yaml", &job);
                cluster.ok(&["job", "run", &file, "--wait=false"]);
            }
            // At another moment of their lives each time.
            std::thread::sleep(Duration::from_millis(round * 7));
            cluster.orchestrator.kill();
            cluster.orchestrator.start();
            cluster.wait_alive();
        }
        let file =
            cluster.file("job.yaml", &wat_job("last", NOTHING, "    Timeouts:\n      QueueTimeout: 600\n"));
        cluster.ok(&["job", "run", &file]);
    });
    let (seen, lost) = reader.await.unwrap();
    assert!(lost >= 1, "it lost its connection");
    let numbers: Vec<u64> = seen.iter().map(|event| event.seq_num).collect();
    let all: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, all, "from the first, each once, in order");
    // What it was told is what is stored: nothing was told that a crash took back.
    let kept = stored(&cluster, EventsQuery::default()).await;
    assert_eq!(kept[..seen.len()], seen[..]);
    assert!(kept.windows(2).all(|pair| pair[0].time <= pair[1].time));
    let restarts =
        seen.iter().filter(|e| e.r#type == EventKind::Node && e.message == "orchestrator restarted");
    assert!(restarts.count() >= 1, "the node's absence during a restart is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_and_http_say_the_same() {
    let mut cluster = block_in_place(|| Cluster::new("a-token", &[]));
    let nats =
        async_nats::ConnectOptions::with_token("a-token".to_owned()).connect(cluster.nats()).await.unwrap();
    let mut all = nats.subscribe("bacalhau.global.events.>").await.unwrap();
    let mut nodes = nats.subscribe("bacalhau.global.events.node.node-0").await.unwrap();
    nats.flush().await.unwrap();
    let address = cluster.nats();
    cluster.add_node(&address, &["-c", "Compute.Auth.Token=a-token"]);
    block_in_place(|| {
        cluster.wait_connected(1);
        let file = cluster.file("job.yaml", &wat_job("one", NOTHING, ""));
        cluster.ok(&["job", "run", &file]);
    });
    let mut heard: Vec<ClusterEvent> = Vec::new();
    while !heard.last().is_some_and(|event| is_end_of(event, "one")) {
        let message = tokio::time::timeout(PATIENCE, all.next()).await.unwrap().unwrap();
        let event: ClusterEvent = serde_json::from_slice(&message.payload).unwrap();
        let subject = format!("bacalhau.global.events.{}.{}", event.r#type.as_str(), event.subject_id());
        assert_eq!(message.subject.as_str(), subject);
        heard.push(event);
    }
    let kept = stored(&cluster, EventsQuery::default()).await;
    assert_eq!(kept[..heard.len()], heard[..]);
    let node = tokio::time::timeout(PATIENCE, nodes.next()).await.unwrap().unwrap();
    let node: ClusterEvent = serde_json::from_slice(&node.payload).unwrap();
    assert_eq!((node.node_id.as_str(), node.state.as_ref()), ("node-0", "CONNECTED"));
    // Heartbeats say nothing: the node was told of once.
    let of_nodes = EventsQuery { kinds: vec![EventKind::Node], ..EventsQuery::default() };
    assert_eq!(stored(&cluster, of_nodes).await.len(), 1);
    // The last that is told of a job is its end; all lines of its history came before.
    let of_job = EventsQuery { job: "one".to_owned(), ..EventsQuery::default() };
    let events = stored(&cluster, of_job).await;
    assert!(events.last().is_some_and(|event| is_end_of(event, "one")), "{events:?}");
    let lines: Vec<_> = events.into_iter().filter_map(ClusterEvent::into_history).collect();
    let history = block_in_place(|| cluster.json(&["job", "history", "one"]));
    assert_eq!(serde_json::to_value(&lines).unwrap(), history);
}

/// JSON, one value per line.
fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_command_line_follows_a_job_to_its_end() {
    let mut cluster = Cluster::new("", &[]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    let file = cluster.file("job.yaml", &wat_job("endless", FOREVER, ""));
    let follow = ["job", "history", "endless", "--follow", "--output", "json"];
    let of_executions = ["job", "history", "endless", "--follow", "--event-type", "execution", "--wide"];
    let (history, executions, waited) = std::thread::scope(|scope| {
        let waited = scope.spawn(|| cluster.cli(&["job", "run", &file]));
        eventually("the job runs", || {
            cluster.cli(&["job", "describe", "endless"]).status.success().then_some(())?;
            (cluster.state("endless") == "Running").then_some(())
        });
        let history = scope.spawn(|| cluster.ok(&follow));
        let executions = scope.spawn(|| cluster.ok(&of_executions));
        // Both end when the job does, however far they are by now.
        cluster.ok(&["job", "stop", "endless"]);
        (history.join().unwrap(), executions.join().unwrap(), waited.join().unwrap())
    });
    let stored = cluster.json(&["job", "history", "endless"]);
    assert_eq!(serde_json::Value::Array(lines(&history)), stored);
    assert!(
        executions.starts_with(" TIME ") && executions.contains("Requested execution on"),
        "{executions}"
    );
    assert!(!executions.contains("JobLevel"), "{executions}");
    let printed = String::from_utf8(waited.stdout).unwrap();
    assert!(printed.contains("Execution stop requested because job has been stopped"), "{printed}");
    // One that is over is shown at once.
    assert_eq!(cluster.ok(&follow), history);
}

#[test]
fn events_are_listed_from_the_oldest_that_is_kept() {
    let mut cluster = Cluster::new("", &["Orchestrator.EventsKept=128"]);
    let address = cluster.nats();
    cluster.add_node(&address, &[]);
    cluster.wait_connected(1);
    for n in 0..20 {
        let file = cluster.file("job.yaml", &wat_job(&format!("job-{n}"), NOTHING, ""));
        cluster.ok(&["job", "run", &file]);
    }
    let all = lines(&cluster.ok(&["events", "--output", "json"]));
    let number = |event: &serde_json::Value| event["SeqNum"].as_u64().unwrap();
    let (oldest, newest) = (number(&all[0]), number(all.last().unwrap()));
    assert!(oldest > 1 && (128..160).contains(&all.len()), "{oldest}, {}", all.len());
    assert_eq!(newest - oldest + 1, all.len() as u64);
    let some = lines(&cluster.ok(&["events", "--since", &(newest - 5).to_string(), "--output", "json"]));
    assert_eq!(some[..], all[all.len() - 5..]);
    let gone = cluster.cli(&["events", "--since", "1", "--output", "json"]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("not kept any more"), "{gone:?}");
    assert_eq!(lines(&String::from_utf8(gone.stdout).unwrap()), all);
    let table = cluster.ok(&["events", "--job", "job-19", "--type", "job"]);
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with(" NUMBER    TIME") && rows.len() == 4, "{table}");
    for (row, state) in rows[1..].iter().zip(["Pending", "Running", "Completed"]) {
        assert!(row.contains(state) && row.contains("job-19"), "{table}");
    }
    // A restart goes on counting.
    cluster.orchestrator.kill();
    cluster.orchestrator.start();
    cluster.wait_alive();
    cluster.wait_connected(1);
    let later = lines(&cluster.ok(&["events", "--since", &newest.to_string(), "--output", "json"]));
    assert_eq!(number(&later[0]), newest + 1);
    assert_eq!(
        (later[0]["State"].as_str(), later[1]["State"].as_str()),
        (Some("DISCONNECTED"), Some("CONNECTED"))
    );
}
