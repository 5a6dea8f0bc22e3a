//! What the node says of itself when its engines come and go, and what it makes of the orchestrator's answer.

use super::*;
use crate::engines::{Engine, EngineError, EngineRequest, UNAVAILABLE};
use crate::executor::Executor;
use crate::shell::{driver::Load, engines};
use bacalhau_model::{ComputeNodeInfo, Error, Task};
use bacalhau_wire::bus::BoxFuture;
use bacalhau_wire::control;
use bacalhau_wire::envelope::Envelope;
use bacalhau_wire::headers::Headers;
use bacalhau_wire::messages::{
    ControlRequest, ControlResponse, Family, HandshakeResponse, HeartbeatResponse, UpdateNodeInfoResponse,
};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};

/// An orchestrator that welcomes everybody and passes on what nodes ask.
struct Orchestrator {
    asked: mpsc::Sender<ControlRequest>,
    protocols: Vec<String>,
}

impl Bus for Orchestrator {
    fn publish<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
        _: &'a Headers,
        _: Bytes,
    ) -> BoxFuture<'a, Result<(), BusError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn subscribe<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Subscription, BusError>> {
        Box::pin(std::future::ready(Ok(Subscription::new(futures_util::stream::pending()))))
    }

    fn request<'a>(
        &'a self,
        _: &'a str,
        _: &'a Headers,
        payload: Bytes,
        _: Duration,
    ) -> BoxFuture<'a, Result<BusMessage, BusError>> {
        Box::pin(async move {
            let request = ControlRequest::from_envelope(Envelope::decode(&payload).unwrap()).unwrap();
            let response = match &request {
                ControlRequest::Handshake(_) => ControlResponse::Handshake(HandshakeResponse {
                    accepted: true,
                    supported_protocols: self.protocols.clone(),
                    ..HandshakeResponse::default()
                }),
                ControlRequest::UpdateNodeInfo(_) => {
                    ControlResponse::UpdateNodeInfo(UpdateNodeInfoResponse {
                        accepted: true,
                        ..Default::default()
                    })
                }
                _ => ControlResponse::Heartbeat(HeartbeatResponse::default()),
            };
            // An error means that the test is over.
            let _ = self.asked.send(request).await;
            let out = control::answer("reply", &Ok(response), 0).unwrap();
            Ok(BusMessage {
                subject: out.subject,
                reply: None,
                status: None,
                headers: out.headers,
                payload: out.payload,
            })
        })
    }

    fn max_payload(&self) -> usize {
        1 << 20
    }
}

/// Can run something while its daemon is up.
struct Daemon(Arc<AtomicBool>);

impl Engine for Daemon {
    fn name(&self) -> &'static str {
        "daemon"
    }

    fn validate(&self, _: &Task) -> Result<(), Error> {
        Ok(())
    }

    fn is_available(&self) -> futures_util::future::BoxFuture<'_, bool> {
        Box::pin(std::future::ready(self.0.load(Ordering::Relaxed)))
    }

    fn run(&self, _: EngineRequest) -> futures_util::future::BoxFuture<'_, Result<i64, EngineError>> {
        Box::pin(std::future::ready(Ok(0)))
    }
}

#[tokio::test]
async fn the_orchestrator_learns_when_an_engine_comes_and_goes() {
    let (dir, up) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(true)));
    let executor = Executor::with_engine(dir.path(), Arc::new(Daemon(Arc::clone(&up)))).await;
    for protocols in [Vec::new(), vec![protocol::EXECUTION_PROGRESS.to_owned()]] {
        let understands = !protocols.is_empty();
        let (asked, mut requests) = mpsc::channel(100);
        let (commands, mut driver) = mpsc::channel(100);
        let (stop, stopping) = watch::channel(false);
        let (known, knows) = watch::channel(None);
        let info = NodeInfo {
            node_id: "n-1".into(),
            compute_node_info: ComputeNodeInfo::default(),
            ..NodeInfo::default()
        };
        let link = Link {
            commands: commands.clone(),
            description: Description { info, executor: executor.clone() },
            last_processed: watch::channel(0).1,
            stopping: stopping.clone(),
            heartbeat: Duration::from_secs(3600),
            info_update: Duration::from_secs(3600),
            logs: Arc::new(Logs::new(executor.clone(), commands.clone())),
            told: known,
            started: Time::ZERO,
            lasting: None,
        };
        let (told, mut core) = mpsc::channel(100);
        tokio::spawn(async move {
            while let Some(command) = driver.recv().await {
                match command {
                    Command::Load(answer) => drop(answer.send(Load::default())),
                    Command::Connected(link) => {
                        told.send(format!("progress {}", link.progress)).await.unwrap()
                    }
                    Command::Engines(names) => told.send(format!("engines {names:?}")).await.unwrap(),
                    _ => {}
                }
            }
        });
        tokio::spawn(engines::watch(executor.clone(), commands, stopping));
        let (_, ended) = link.spawn(Way::Local(Arc::new(Orchestrator { asked, protocols })));
        let ControlRequest::Handshake(hello) = requests.recv().await.unwrap() else { panic!() };
        assert_eq!(hello.node_info.compute_node_info.execution_engines, ["daemon"]);
        assert_eq!(core.recv().await.unwrap(), format!("progress {understands}"));
        for (is_up, names) in [(false, vec![]), (true, vec!["daemon".to_owned()])] {
            up.store(is_up, Ordering::Relaxed);
            // What looks is the news of a failure, which leaves only when the orchestrator has heard.
            let error = Error::new(UNAVAILABLE, "the daemon is away or was");
            engines::tell_before(&error, &executor, knows.clone()).await;
            assert_eq!(knows.borrow().as_ref(), Some(&names));
            let ControlRequest::UpdateNodeInfo(update) = requests.recv().await.unwrap() else { panic!() };
            assert_eq!(update.node_info.compute_node_info.execution_engines, names);
            assert_eq!(core.recv().await.unwrap(), format!("engines {names:?}"));
        }
        stop.send_replace(true);
        let ControlRequest::ShutdownNotice(bye) = requests.recv().await.unwrap() else { panic!() };
        assert_eq!(bye.tasks_go_on, [""; 0]);
        ended.await.unwrap();
        assert_eq!(*knows.borrow(), None);
    }
}
