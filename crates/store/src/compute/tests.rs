//! The compute node's database against what was put into it.

use super::*;
use bacalhau_model::{Job, Time};
use std::sync::Arc;

fn put(writer: &Writer<Change>, changes: Vec<Change>) {
    let (tx, rx) = std::sync::mpsc::sync_channel(1);
    writer.commit(changes, Box::new(move |result| tx.send(result).unwrap()));
    rx.recv().unwrap().unwrap();
}

#[test]
fn executions_come_back_with_their_job_until_they_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (writer, stored) = open(dir.path()).unwrap();
    assert!(stored.is_empty());
    let job = Job { id: "j-1".into(), ..Job::default() };
    let mut execution =
        Execution { id: "e-1".into(), job: Some(Arc::new(job.clone())), revision: 1, ..Execution::default() };
    let other = Execution { id: "e-2".into(), ..Execution::default() };
    put(
        &writer,
        vec![
            Change::PutExecution { execution: Box::new(execution.clone()), pending: None, event: None },
            Change::PutExecution { execution: Box::new(other), pending: None, event: None },
        ],
    );
    execution.revision = 2;
    let event = Event::new("Execution", "Completed successfully", Time::from_unix_nanos(1));
    let pending = Some(PendingReport::RunResult);
    put(
        &writer,
        vec![
            Change::PutExecution {
                execution: Box::new(execution.clone()),
                pending,
                event: Some(event.clone()),
            },
            Change::Forget("e-2".into()),
        ],
    );
    writer.close();
    let (_writer, stored) = open(dir.path()).unwrap();
    assert_eq!(stored, vec![StoredExecution { execution, pending, event: Some(event) }]);
}
