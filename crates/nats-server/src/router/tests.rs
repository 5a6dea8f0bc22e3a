//! The router against a list that is searched with the plain definition of matching.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::subject::matches;

#[derive(Clone, Debug)]
enum Step {
    Insert { id: u32, pattern: String, queue: Option<String> },
    Remove { id: u32 },
    Publish { subject: String },
}

fn token() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just("a*")].prop_map(str::to_owned)
}

fn pattern() -> impl Strategy<Value = String> {
    let token = prop_oneof![3 => token(), 1 => Just("*".to_owned())];
    (proptest::collection::vec(token, 0..4), any::<bool>()).prop_map(|(mut tokens, rest)| {
        if rest || tokens.is_empty() {
            tokens.push(">".to_owned());
        }
        tokens.join(".")
    })
}

fn step() -> impl Strategy<Value = Step> {
    let queue = prop_oneof![2 => Just(None), 1 => "[xy]".prop_map(Some)];
    let subject = prop_oneof![9 => token(), 1 => Just(String::new()), 1 => Just("*".to_owned())];
    prop_oneof![
        (0u32..24, pattern(), queue).prop_map(|(id, pattern, queue)| Step::Insert { id, pattern, queue }),
        (0u32..24).prop_map(|id| Step::Remove { id }),
        proptest::collection::vec(subject, 1..5)
            .prop_map(|tokens| Step::Publish { subject: tokens.join(".") }),
    ]
}

type Model = BTreeMap<u32, (String, Option<String>)>;

fn expected(model: &Model, subject: &str) -> (BTreeSet<u32>, BTreeMap<String, BTreeSet<u32>>) {
    let (mut plain, mut groups) = (BTreeSet::new(), BTreeMap::<String, BTreeSet<u32>>::new());
    for (id, (pattern, queue)) in model {
        // A wildcard in a published subject is a name like any other, so a literal pattern never holds one.
        // A subject with an empty token reaches nobody.
        if subject.split('.').all(|token| !token.is_empty())
            && matches(pattern.as_bytes(), subject.as_bytes())
        {
            match queue {
                None => drop(plain.insert(*id)),
                Some(queue) => drop(groups.entry(queue.clone()).or_default().insert(*id)),
            }
        }
    }
    (plain, groups)
}

fn found(router: &mut Router, subject: &str) -> (BTreeSet<u32>, BTreeMap<String, BTreeSet<u32>>) {
    let result = router.matches(subject.as_bytes(), &mut 0);
    let plain: BTreeSet<u32> = result.plain.iter().copied().collect();
    assert_eq!(plain.len(), result.plain.len(), "nobody twice");
    let groups: Vec<BTreeSet<u32>> =
        result.groups.iter().map(|group| group.iter().copied().collect()).collect();
    let name = |group: &BTreeSet<u32>| {
        let member = *group.first().expect("no group is empty");
        let queue = router.entries[&member].queue.as_ref().unwrap();
        String::from_utf8(queue.to_vec()).unwrap()
    };
    let named: BTreeMap<_, _> = groups.iter().map(|group| (name(group), group.clone())).collect();
    assert_eq!(named.len(), groups.len(), "no group twice");
    (plain, named)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn same_as_the_plain_definition(steps in proptest::collection::vec(step(), 1..120)) {
        let (mut router, mut model) = (Router::default(), Model::new());
        for step in steps {
            match step {
                Step::Insert { id, pattern, queue } => {
                    model.entry(id).or_insert_with(|| {
                        router.insert(id, pattern.as_bytes(), queue.as_deref().map(str::as_bytes));
                        (pattern, queue)
                    });
                }
                Step::Remove { id } => {
                    router.remove(id);
                    model.remove(&id);
                }
                Step::Publish { subject } => {
                    prop_assert_eq!(found(&mut router, &subject), expected(&model, &subject));
                }
            }
            prop_assert_eq!(router.len(), model.len());
        }
        for id in model.keys() {
            router.remove(*id);
        }
        prop_assert_eq!((router.len(), router.wildcards.len()), (0, 0), "nothing is left behind");
        let live = router.rows.keys().len();
        prop_assert_eq!((live, router.by_subject.len()), (router.clock.len(), live));
    }
}

#[test]
fn the_cache_is_bounded_and_stays_right() {
    let mut router = Router::default();
    router.insert(1, b"s.>", None);
    for i in 0..MAX_CACHED_ROWS * 2 {
        assert_eq!(router.matches(format!("s.{i}").as_bytes(), &mut 0).plain, [1]);
    }
    assert!(router.rows.len() <= MAX_CACHED_ROWS + 1, "{}", router.rows.len());
    let long = [b"s.".as_slice(), &[b'x'; MAX_CACHED_SUBJECT]].concat();
    let rows = router.rows.len();
    assert_eq!(router.matches(&long, &mut 0).plain, [1]);
    assert_eq!(router.rows.len(), rows, "long subjects are not kept");
    router.insert(2, &long, None);
    assert_eq!(router.matches(&long, &mut 0).plain.len(), 2);
    router.remove(1);
    assert!(router.matches(b"s.5", &mut 0).plain.is_empty());
}

#[test]
fn inbox_churn_leaves_no_rows() {
    let mut router = Router::default();
    for i in 0..1000u32 {
        let inbox = format!("_INBOX.x.{i}");
        router.insert(7, inbox.as_bytes(), None);
        assert_eq!(router.matches(inbox.as_bytes(), &mut 0).plain, [7]);
        router.remove(7);
    }
    assert_eq!((router.rows.len(), router.by_subject.len()), (0, 0));
}
