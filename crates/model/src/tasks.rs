//! The tasks of a job.

use crate::task::Task;
use serde::{Deserialize, Serialize};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// The tasks of a job: copies of the job share them until one changes its own. A job is copied with every change of its
/// state, and its tasks are most of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tasks(Arc<Vec<Task>>);

impl From<Vec<Task>> for Tasks {
    fn from(tasks: Vec<Task>) -> Tasks {
        Tasks(Arc::new(tasks))
    }
}

impl Deref for Tasks {
    type Target = Vec<Task>;

    fn deref(&self) -> &Vec<Task> {
        &self.0
    }
}

impl DerefMut for Tasks {
    fn deref_mut(&mut self) -> &mut Vec<Task> {
        Arc::make_mut(&mut self.0)
    }
}

impl<'a> IntoIterator for &'a Tasks {
    type Item = &'a Task;
    type IntoIter = std::slice::Iter<'a, Task>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a mut Tasks {
    type Item = &'a mut Task;
    type IntoIter = std::slice::IterMut<'a, Task>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_changes_alone() {
        let one = Tasks::from(vec![Task { name: "a".into(), ..Task::default() }]);
        let mut other = one.clone();
        assert!(Arc::ptr_eq(&one.0, &other.0));
        other[0].name = "b".into();
        assert_eq!((one[0].name.as_str(), other[0].name.as_str()), ("a", "b"));
        let text = serde_json::to_string(&one).unwrap();
        assert!(text.starts_with("[{\"Name\":\"a\""), "{text}");
        assert_eq!(serde_json::from_str::<Tasks>(&text).unwrap(), one);
    }
}
