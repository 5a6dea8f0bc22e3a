//! Whether two descriptions of a job differ, and how.

use crate::job::{Job, meta};
use crate::state::State;

/// True when a submission would change nothing: identity, state, version, times and the system's own metadata do not
/// count, nor do case and blanks in resources.
pub fn same_spec(a: &Job, b: &Job) -> bool {
    let (a, b) = (comparable(a), comparable(b));
    // As text too, because 1.0 and 1 are the same number to users and to what is stored.
    a == b || matches!((crate::json::to_string(&a), crate::json::to_string(&b)), (Ok(a), Ok(b)) if a == b)
}

/// Lines of indented JSON with `+` and `-`, and a little around them; empty when nothing differs.
pub fn diff(old: &Job, new: &Job) -> String {
    if same_spec(old, new) {
        return String::new();
    }
    let lines = |job: &Job| -> Vec<String> {
        // Not `crate::json`: this is for people, who want to read `a < b` as they wrote it.
        let text = serde_json::to_string_pretty(&comparable(job)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    render(&lines(old), &lines(new))
}

/// What counts of a job, in its normal form.
fn comparable(job: &Job) -> Job {
    let mut job = job.clone();
    job.id = String::new();
    job.state = State::default();
    (job.version, job.revision, job.create_time, job.modify_time) = (0, 0, 0, 0);
    job.meta.retain(|key, _| !key.starts_with(meta::PREFIX));
    crate::normalize::normalize(&mut job);
    job
}

/// Most differing lines that are aligned one by one; the work and the memory grow with their square. Longer ones are
/// shown whole.
const MOST_LINES: usize = 2_000;
/// Unchanged lines shown around a change.
const CONTEXT: usize = 2;

/// A line diff by longest common subsequence, after what is equal at both ends is set aside.
fn render(old: &[String], new: &[String]) -> String {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (before, old) = old.split_at_checked(head).unwrap_or_default();
    let new = new.get(head..).unwrap_or_default();
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, after) = old.split_at_checked(old.len() - tail).unwrap_or_default();
    let new = new.get(..new.len() - tail).unwrap_or_default();

    let keep = |lines: &[String]| lines.iter().map(|l| format!("  {l}\n")).collect::<String>();
    let last = before.get(before.len().saturating_sub(CONTEXT)..).unwrap_or_default();
    let first = after.get(..CONTEXT.min(after.len())).unwrap_or_default();
    let around = |changes: String| keep(last) + &changes + &keep(first);
    if old.len() > MOST_LINES || new.len() > MOST_LINES {
        let lines = old.iter().map(|l| format!("- {l}\n")).chain(new.iter().map(|l| format!("+ {l}\n")));
        return around(lines.collect());
    }
    let marked = align(old, new);
    let near = |at: usize| {
        let from = at.saturating_sub(CONTEXT);
        marked.iter().skip(from).take(at - from + CONTEXT + 1).any(|(mark, _)| *mark != ' ')
    };
    let shown = marked.iter().enumerate().filter(|(at, _)| near(*at));
    around(shown.map(|(_, (mark, line))| format!("{mark} {line}\n")).collect())
}

/// Every line of both texts once, marked as kept, removed or added.
fn align<'a>(old: &'a [String], new: &'a [String]) -> Vec<(char, &'a str)> {
    let width = new.len() + 1;
    // common[i * width + j]: length of the longest common part of old[i..] and new[j..].
    let mut common = vec![0_u32; (old.len() + 1) * width];
    let get = |common: &[u32], i: usize, j: usize| common.get(i * width + j).copied().unwrap_or(0);
    for (i, a) in old.iter().enumerate().rev() {
        for (j, b) in new.iter().enumerate().rev() {
            let length = if a == b {
                get(&common, i + 1, j + 1) + 1
            } else {
                get(&common, i + 1, j).max(get(&common, i, j + 1))
            };
            if let Some(cell) = common.get_mut(i * width + j) {
                *cell = length;
            }
        }
    }
    let (mut i, mut j, mut marked) = (0, 0, Vec::new());
    loop {
        match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => {
                marked.push((' ', a.as_str()));
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), b) if b.is_none() || get(&common, i + 1, j) >= get(&common, i, j + 1) => {
                marked.push(('-', a.as_str()));
                i += 1;
            }
            (_, Some(b)) => {
                marked.push(('+', b.as_str()));
                j += 1;
            }
            _ => return marked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Task;
    use proptest::prelude::*;

    fn job() -> Job {
        let mut task = Task { name: "main".into(), ..Task::default() };
        task.resources.memory = "512Mb".into();
        Job {
            id: "j-1".into(),
            name: "n".into(),
            r#type: "batch".into(),
            count: 1,
            tasks: vec![task],
            ..Job::default()
        }
    }

    #[test]
    fn what_does_not_count() {
        let mut other = job();
        other.id = "j-2".into();
        other.version = 4;
        other.namespace = "default".into();
        other.meta.insert("bacalhau.org/x".into(), "y".into());
        other.tasks[0].resources.memory = "512 MB".into();
        assert!(same_spec(&job(), &other));
        assert_eq!(diff(&job(), &other), "");
        other.count = 2;
        assert!(!same_spec(&job(), &other));
        let text = diff(&job(), &other);
        assert!(text.contains("-   \"Count\": 1,\n+   \"Count\": 2,\n"), "{text}");
        assert!(text.lines().count() <= 2 + 2 * CONTEXT, "{text}");
    }

    #[test]
    fn lines_are_for_people() {
        let mut other = job();
        other.meta.insert("why".into(), "a < b && c".into());
        assert!(diff(&job(), &other).contains(r#"+     "why": "a < b && c""#));
    }

    #[test]
    fn whole_floats_are_integers() {
        let with = |number: serde_json::Value| {
            let mut job = job();
            job.tasks[0].engine = crate::SpecConfig::new("wasm").with("N", number);
            job
        };
        assert!(same_spec(&with(1.0.into()), &with(1.into())));
        assert!(!same_spec(&with(1.5.into()), &with(1.into())));
    }

    #[test]
    fn small_changes_of_huge_jobs_stay_small() {
        let mut old = job();
        for number in 0..3 * MOST_LINES {
            old.meta.insert(format!("k{number:05}"), "v".into());
        }
        let mut new = old.clone();
        new.meta.insert("k01000".into(), "w".into());
        let text = diff(&old, &new);
        assert!(text.contains("+     \"k01000\": \"w\",\n"), "{text}");
        assert!(text.lines().count() <= 2 + 2 * CONTEXT, "{}", text.lines().count());
    }

    proptest! {
        #[test]
        fn both_texts_can_be_read_back(old in proptest::collection::vec("[abc]", 0..12), new in proptest::collection::vec("[abc]", 0..12)) {
            let marked = align(&old, &new);
            let side = |skip: char| marked.iter().filter(|(m, _)| *m != skip).map(|(_, l)| (*l).to_owned()).collect::<Vec<_>>();
            prop_assert_eq!(side('+'), old.clone());
            prop_assert_eq!(side('-'), new.clone());
        }
    }
}
