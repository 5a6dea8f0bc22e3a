//! Subjects and the table of interest, against the plain definition of matching.

use std::collections::{BTreeMap, BTreeSet};

use crate::router::Router;
use crate::subject::{is_printable, is_subset, is_valid_literal, is_valid_pattern, matches, overlap};

use super::MAX_INPUT;

/// Subscriptions at one time; few, so that numbers are used again.
const IDS: u8 = 24;

/// Pattern and queue group, by number.
type Model<'a> = BTreeMap<u32, (&'a [u8], Option<&'a [u8]>)>;
/// Plain subscriptions, and the members of each group.
type Receivers = (BTreeSet<u32>, BTreeSet<BTreeSet<u32>>);

/// Lines: `+` number pattern [blank queue], `-` number, or a subject that is published to. The number is one byte.
pub fn subjects(data: &[u8]) {
    let data = data.get(..MAX_INPUT).unwrap_or(data);
    let (mut router, mut model) = (Router::default(), Model::new());
    for line in data.split(|byte| *byte == b'\n') {
        match line {
            [b'+', id, text @ ..] => {
                let id = u32::from(id % IDS);
                let mut parts = text.splitn(2, |byte| *byte == b' ');
                let (pattern, queue) = (parts.next().unwrap_or_default(), parts.next());
                let good = is_printable(pattern) && is_valid_pattern(pattern);
                if good && queue.is_none_or(is_printable) && !model.contains_key(&id) {
                    router.insert(id, pattern, queue);
                    compare_with_others(&model, pattern);
                    model.insert(id, (pattern, queue));
                }
            }
            [b'-', id] => {
                router.remove(u32::from(id % IDS));
                model.remove(&u32::from(id % IDS));
            }
            subject => assert_eq!(found(&mut router, subject), expected(&model, subject), "receivers"),
        }
        assert_eq!(router.len(), model.len(), "subscriptions");
    }
    for id in model.keys() {
        router.remove(*id);
    }
    assert_eq!(router.len(), 0, "subscriptions are left");
}

/// What is true of two patterns whatever they are.
fn compare_with_others(model: &Model<'_>, one: &[u8]) {
    assert!(is_subset(one, one) && overlap(one, one), "with itself");
    for (other, _) in model.values() {
        let shared = overlap(one, other);
        assert_eq!(shared, overlap(other, one), "overlap does not depend on the order");
        assert!(shared || !(is_subset(one, other) || is_subset(other, one)), "a part overlaps the whole");
        if is_valid_literal(one) {
            assert_eq!(matches(other, one), is_subset(one, other), "a subject is a pattern of one");
        }
    }
}

fn expected(model: &Model<'_>, subject: &[u8]) -> Receivers {
    let (mut plain, mut groups) = (BTreeSet::new(), BTreeMap::<&[u8], BTreeSet<u32>>::new());
    // A subject with an empty token reaches nobody.
    if subject.split(|byte| *byte == b'.').all(|token| !token.is_empty()) {
        for (id, (_, queue)) in model.iter().filter(|(_, (pattern, _))| matches(pattern, subject)) {
            match queue {
                None => drop(plain.insert(*id)),
                Some(queue) => drop(groups.entry(queue).or_default().insert(*id)),
            }
        }
    }
    (plain, groups.into_values().collect())
}

fn found(router: &mut Router, subject: &[u8]) -> Receivers {
    let result = router.matches(subject, &mut 0);
    let plain: BTreeSet<u32> = result.plain.iter().copied().collect();
    let groups: BTreeSet<BTreeSet<u32>> =
        result.groups.iter().map(|group| group.iter().copied().collect()).collect();
    assert_eq!((plain.len(), groups.len()), (result.plain.len(), result.groups.len()), "nobody twice");
    (plain, groups)
}
