//! Runs that are left alone when the node stops, and adopted or published by its next life.

use super::super::{Phase, results};
use super::outcome::ran_before;
use super::*;
use crate::engines::{Engine, EngineError, EngineRequest};
use crate::logs::Captured;
use bacalhau_model::{Job, ResultPath, RunCommandResult, Task};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// What goes on in the world outside of the node: tasks by execution, with their exit code once they ended.
#[derive(Clone, Default)]
struct Outside {
    tasks: Arc<Mutex<BTreeMap<String, watch::Sender<Option<i64>>>>>,
    is_up: Arc<AtomicBool>,
}

impl Outside {
    fn end(&self, id: &str, exit_code: i64) {
        self.tasks.lock().unwrap()[id].send_replace(Some(exit_code));
    }

    fn runs(&self, id: &str) -> bool {
        self.tasks.lock().unwrap().get(id).is_some_and(|task| task.borrow().is_none())
    }
}

/// An engine whose tasks run outside.
struct External {
    outside: Outside,
    outlives: bool,
}

impl Engine for External {
    fn name(&self) -> &'static str {
        "external"
    }

    fn validate(&self, _: &Task) -> Result<(), Error> {
        Ok(())
    }

    fn is_available(&self) -> BoxFuture<'_, bool> {
        std::future::ready(self.outside.is_up.load(Ordering::Relaxed)).boxed()
    }

    fn outlives_the_node(&self) -> bool {
        self.outlives
    }

    fn run(&self, request: EngineRequest) -> BoxFuture<'_, Result<i64, EngineError>> {
        let id = request.execution.id.clone();
        async move {
            let mut task = {
                let mut tasks = self.outside.tasks.lock().unwrap();
                if request.adopt {
                    assert!(request.mounts.is_empty() && request.env.is_empty());
                    let Some(task) = tasks.get(&id) else { return Err(EngineError::Gone) };
                    task.subscribe()
                } else {
                    std::fs::write(request.results[0].host_path.join("made"), "before").unwrap();
                    tasks.entry(id.clone()).or_default().subscribe()
                }
            };
            request.progress.started();
            tokio::select! {
                code = task.wait_for(Option::is_some) => Ok(code.unwrap().unwrap()),
                () = request.cancel.cancelled() => {
                    self.outside.end(&id, 137);
                    Err(EngineError::Cancelled)
                }
            }
        }
        .boxed()
    }
}

async fn node(dir: &std::path::Path, outside: &Outside, outlives: bool) -> Executor {
    Executor::with_engine(dir, Arc::new(External { outside: outside.clone(), outlives })).await
}

fn execution(id: &str, publisher: &str) -> Arc<Execution> {
    let task = Task {
        name: "main".into(),
        engine: SpecConfig::new("external"),
        publisher: SpecConfig::new(publisher),
        result_paths: vec![ResultPath { name: "out".into(), path: "/out".into() }],
        ..Task::default()
    };
    let job = Job { id: "j".into(), r#type: "batch".into(), count: 1, tasks: vec![task], ..Job::default() };
    Arc::new(Execution {
        id: id.into(),
        job_id: "j".into(),
        job: Some(Arc::new(job)),
        ..Execution::default()
    })
}

/// Starts a run and waits until its task runs. Gives how to leave and to cancel it, and its ending.
async fn begin(
    node: &Executor,
    execution: Arc<Execution>,
    start: Start,
) -> (CancellationToken, CancellationToken, tokio::task::JoinHandle<Ending>) {
    let (running, mut runs) = watch::channel(false);
    let phase = move |phase| {
        if phase == Phase::Running {
            running.send_replace(true);
        }
    };
    let (leave, cancel) = (CancellationToken::new(), CancellationToken::new());
    let context = RunContext { cancel: cancel.clone(), phase: Arc::new(phase) };
    let (node, resume) = (node.clone(), Resume { start, leave: leave.clone() });
    let run = tokio::spawn(async move { node.run_from(execution, context, resume).await });
    // An error means that it ended without having run.
    let _ = runs.wait_for(|runs| *runs).await;
    (leave, cancel, run)
}

#[tokio::test]
async fn what_outlives_the_node_is_left_and_adopted() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    let folder = dir.path().join("executions/e-1");
    let first = node(dir.path(), &outside, true).await;
    let e = execution("e-1", "");
    assert!(first.outlives_the_node(&e) && first.outliving() == ["external"]);
    let (leave, _, run) = begin(&first, Arc::clone(&e), Start::Afresh).await;
    leave.cancel();
    assert!(matches!(run.await.unwrap(), Ending::Left));
    assert!(outside.runs("e-1") && folder.join("results/out/made").exists());

    let second = node(dir.path(), &outside, true).await;
    let keep = ["e-1".to_owned()].into();
    assert_eq!(second.sweep(&keep).unwrap(), 0);
    let (_, _, run) = begin(&second, Arc::clone(&e), Start::Adopt).await;
    outside.end("e-1", 7);
    let Ending::Finished(finished) = run.await.unwrap() else { panic!() };
    assert_eq!((finished.run_output.exit_code, folder.exists()), (7, false));
    let figures = second.metrics().engine("external").figures();
    assert_eq!((figures.started, figures.completed, figures.active), (1, 1, 0));

    // What is wrong on the node by then does not leave the task running for nobody.
    let left = async |e: Arc<Execution>| {
        let (leave, _, run) = begin(&second, e, Start::Afresh).await;
        leave.cancel();
        run.await.unwrap();
    };
    left(execution("e-4", "")).await;
    let results = dir.path().join("executions/e-4/results");
    std::fs::remove_dir_all(&results).unwrap();
    std::fs::write(&results, "in the way").unwrap();
    let (_, _, run) = begin(&second, execution("e-4", ""), Start::Adopt).await;
    let Ending::Failed(failure) = run.await.unwrap() else { panic!() };
    assert!(failure.error.message.contains("results folder") && !outside.runs("e-4"), "{failure}");
    left(execution("e-5", "")).await;
    let (_, _, run) = begin(&second, execution("e-5", "other"), Start::Adopt).await;
    outside.end("e-5", 0);
    let Ending::Failed(failure) = run.await.unwrap() else { panic!() };
    assert!(failure.error.message.contains("\"other\""), "{failure}");

    // One that nobody knows is gone; and one that is adopted can be cancelled.
    let (_, _, run) = begin(&second, execution("e-2", ""), Start::Adopt).await;
    assert!(matches!(run.await.unwrap(), Ending::Gone));
    let (_, cancel, run) = begin(&second, execution("e-3", ""), Start::Afresh).await;
    cancel.cancel();
    assert!(matches!(run.await.unwrap(), Ending::Failed(failure) if failure.is_cancelled()));
    assert!(!outside.runs("e-3") && !dir.path().join("executions/e-3").exists());
}

#[tokio::test]
async fn what_does_not_outlive_the_node_ends_with_it() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    let node = node(dir.path(), &outside, false).await;
    let (leave, _, run) = begin(&node, execution("e-1", ""), Start::Afresh).await;
    leave.cancel();
    assert!(matches!(run.await.unwrap(), Ending::Failed(failure) if failure.is_cancelled()));
    assert!(!outside.runs("e-1") && !dir.path().join("executions/e-1").exists());
}

#[tokio::test]
async fn complete_results_are_published_without_the_engine() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    let first = node(dir.path(), &outside, false).await;
    // Killed right after the results were complete.
    let work = Arc::new(WorkFolder::new(dir.path().join("executions/e-1")));
    work.create("results/out").unwrap();
    let output = RunCommandResult { exit_code: 3, stdout: "hi".into(), ..RunCommandResult::default() };
    let e = execution("e-1", "noop");
    assert!(!first.has_complete_results(&e));
    results::complete(&work, Captured::default(), &output).await.unwrap();
    work.keep();
    drop(work);
    assert!(first.has_complete_results(&e) && !first.has_complete_results(&execution("e-1", "")));
    let (_, _, run) = begin(&first, e, Start::Publish).await;
    let Ending::Finished(finished) = run.await.unwrap() else { panic!() };
    assert_eq!((finished.run_output, outside.runs("e-1")), (output, false));
    assert!(!dir.path().join("executions/e-1").exists());
}

#[tokio::test]
async fn an_adopted_task_has_what_is_left_of_its_time() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let start_time = i64::try_from((now - Duration::from_secs(50)).as_nanos()).unwrap();
    let e = Execution { start_time, ..Execution::default() };
    assert_eq!(ran_before(&e, false), Duration::ZERO);
    assert!(ran_before(&e, true) >= Duration::from_secs(50));
    assert_eq!(ran_before(&Execution::default(), true), Duration::ZERO);
}

#[tokio::test]
async fn engines_are_offered_while_they_are_available() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), Outside::default());
    let node = node(dir.path(), &outside, true).await;
    let mut engines = node.watch_engines();
    assert_eq!(node.engines(), [""; 0]);
    outside.is_up.store(true, Ordering::Relaxed);
    node.look_at_engines().await;
    assert_eq!((node.engines(), engines.has_changed().unwrap()), (vec!["external".to_owned()], true));
    engines.mark_unchanged();
    node.look_at_engines().await;
    assert!(!engines.has_changed().unwrap(), "nothing is told when nothing changed");
    outside.is_up.store(false, Ordering::Relaxed);
    node.look_at_engines().await;
    assert_eq!(node.engines(), [""; 0]);
}
