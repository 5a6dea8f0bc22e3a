//! The jobs of one file as a graph: which has to be submitted before which.

use super::invalid;
use bacalhau_model::{Error, Job};
use std::collections::{BTreeMap, BTreeSet};

/// What a submission of several jobs amounts to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Graph {
    /// Places in the file, in an order in which each job comes after those it depends on.
    pub(crate) order: Vec<usize>,
    /// Jobs outside the file that jobs in it depend on: place of the dependent, and what it calls the other.
    pub(crate) outside: Vec<(usize, String)>,
}

/// Orders the jobs of a file. Fails when two have one name, or some wait for each other in a circle.
pub(crate) fn graph(jobs: &[Job]) -> Result<Graph, Error> {
    let mut places: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (place, job) in jobs.iter().enumerate().filter(|(_, job)| !job.name.is_empty()) {
        if places.insert((namespace(job), &job.name), place).is_some() {
            return Err(invalid(format!("two jobs in it are named {}", job.name)));
        }
    }
    let mut graph = Graph::default();
    let mut needs: Vec<BTreeSet<usize>> = Vec::new();
    for (place, job) in jobs.iter().enumerate() {
        let mut inside = BTreeSet::new();
        for dependency in &job.depends_on {
            match places.get(&(namespace(job), dependency.job.as_str())) {
                Some(other) => drop(inside.insert(*other)),
                None => graph.outside.push((place, dependency.job.clone())),
            }
        }
        needs.push(inside);
    }
    let mut left: BTreeSet<usize> = (0..jobs.len()).collect();
    let free =
        |left: &BTreeSet<usize>, place: &usize| needs.get(*place).is_none_or(|needs| needs.is_disjoint(left));
    while !left.is_empty() {
        let Some(next) = left.iter().copied().find(|place| free(&left, place)) else {
            return Err(circle(jobs, &needs, &left));
        };
        left.remove(&next);
        graph.order.push(next);
    }
    Ok(graph)
}

fn namespace(job: &Job) -> &str {
    if job.namespace.is_empty() { "default" } else { &job.namespace }
}

/// Each job that is left waits for another one that is left: going along comes back to one seen before.
fn circle(jobs: &[Job], needs: &[BTreeSet<usize>], left: &BTreeSet<usize>) -> Error {
    let mut path: Vec<usize> = left.first().copied().into_iter().collect();
    while let Some(next) =
        path.last().and_then(|at| needs.get(*at)).and_then(|needs| needs.intersection(left).next())
    {
        let seen = path.iter().position(|place| place == next);
        path.push(*next);
        if let Some(start) = seen {
            path.drain(..start);
            break;
        }
    }
    let names: Vec<&str> =
        path.iter().filter_map(|place| jobs.get(*place)).map(|job| job.name.as_str()).collect();
    invalid(format!("the dependencies form a cycle: {}", names.join(" -> ")))
        .hint("each job in it would wait for the next: take one of these dependencies away")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_model::policy::Dependency;

    fn job(name: &str, others: &[&str]) -> Job {
        let depends_on =
            others.iter().map(|job| Dependency { job: (*job).into(), ..Dependency::default() }).collect();
        Job { name: name.into(), depends_on, ..Job::default() }
    }

    #[test]
    fn dependencies_come_first_and_the_order_of_the_file_counts() {
        let jobs = [
            job("d", &["b", "c"]),
            job("b", &["a"]),
            job("", &["a", "old"]),
            job("c", &["a"]),
            job("a", &[]),
        ];
        let found = graph(&jobs).unwrap();
        assert_eq!(found.order, [4, 1, 2, 3, 0]);
        assert_eq!(found.outside, [(2, "old".to_owned())]);
        assert_eq!(graph(&[]).unwrap(), Graph::default());
    }

    #[test]
    fn a_name_counts_in_its_namespace() {
        let other = Job { namespace: "team".into(), ..job("a", &[]) };
        let found = graph(&[other.clone(), job("a", &[]), job("b", &["a"])]).unwrap();
        assert!(found.outside.is_empty());
        let error =
            graph(&[job("a", &[]), Job { namespace: "default".into(), ..job("a", &[]) }]).unwrap_err();
        assert!(error.message.ends_with("two jobs in it are named a"), "{error:?}");
        assert_eq!(graph(&[other, job("b", &["a"])]).unwrap().outside, [(1, "a".to_owned())]);
    }

    #[test]
    fn circles_are_named() {
        let jobs = [job("x", &["a"]), job("a", &["c"]), job("b", &["a"]), job("c", &["b"])];
        let error = graph(&jobs).unwrap_err();
        assert!(error.message.ends_with("the dependencies form a cycle: a -> c -> b -> a"), "{error:?}");
    }
}
