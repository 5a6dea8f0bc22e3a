//! Log streams between an orchestrator and a node over real servers.

use crate::servers::{TestServer, connect, kinds, settle, within};
use bacalhau_model::Error;
use bacalhau_wire::bus::BoxFuture;
use bacalhau_wire::logs::{LogLine, LogLines, LogRequest, LogServer, LogSource, LogStreams};
use futures_util::{StreamExt, stream};
use std::sync::Arc;

/// Prints as many lines as the execution's ID says.
struct Counter;

impl LogSource for Counter {
    fn open(&self, request: LogRequest) -> BoxFuture<'_, Result<LogLines, Error>> {
        let lines =
            request.execution_id.parse::<u32>().map_err(|_| Error::plain("no such execution")).map(|n| {
                stream::iter((0..n).map(|n| {
                    Ok(vec![LogLine { stream: 1, time: i64::from(n), text: format!("line {n}\n").into() }])
                }))
                .boxed()
            });
        Box::pin(std::future::ready(lines))
    }
}

async fn read(streams: &LogStreams, execution: &str) -> Result<Vec<String>, Error> {
    let request = LogRequest { execution_id: execution.to_owned(), follow: true, ..LogRequest::default() };
    let mut lines = streams.open("n-1", request).await?;
    let mut all = Vec::new();
    while let Some(item) = within(lines.recv()).await {
        all.extend(item?.into_iter().map(|line| String::from_utf8(line.text.to_vec()).unwrap()));
    }
    Ok(all)
}

#[tokio::test]
async fn logs_cross_the_wire_in_order() {
    for kind in kinds() {
        let server = TestServer::start(kind, "t");
        let streams = LogStreams::start(server.orchestrator("t").await).await.unwrap();
        let error = read(&streams, "1").await.unwrap_err();
        assert!(error.message.contains("is not connected"), "{kind:?}: {}", error.message);

        let node = connect(&server.addr.to_string(), "t").await.bus;
        let serving = LogServer::start(Arc::clone(&node), "n-1", Arc::new(Counter)).await.unwrap();
        settle(&*node).await;

        let expected: Vec<String> = (0..5000).map(|n| format!("line {n}\n")).collect();
        let (all, three, none) =
            tokio::join!(read(&streams, "5000"), read(&streams, "3"), read(&streams, "unknown"));
        assert_eq!(all.unwrap(), expected);
        assert_eq!(three.unwrap(), expected[..3]);
        assert_eq!(none.unwrap_err().message, "no such execution");
        assert_eq!(streams.open_streams(), 0);
        serving.shutdown().await;
    }
}
