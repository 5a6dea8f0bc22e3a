//! Generated scripts: what some clients do, played on this server and on the reference server named by
//! `NATS_SERVER_BIN`. Every byte that a client sees must be the same, but for ids; so must be when it is cut off, and how
//! many subscriptions there are.
//!
//! `SCRIPTS=n` plays n scripts for each configuration instead of a few, `SEED=n` begins with that one, `PROFILE=name`
//! takes one configuration, `DISPUTES=n` goes on until there are n.

mod connect;
mod pair;
mod play;
mod profile;
mod script;
mod transcript;

use std::time::{Duration, Instant};

use pair::Pair;
use play::play;
use profile::{PROFILES, Profile};
use script::{Action, script};

/// Scripts for each configuration, if nothing else is said, and the time for all of them.
const SCRIPTS: u64 = 60;
const TIME: Duration = Duration::from_secs(20);

/// The script in a form that can be read and cut down.
fn show(actions: &[Action]) -> String {
    let line = |action: &Action| {
        let pieces: Vec<String> =
            action.pieces.iter().map(|piece| piece.escape_ascii().to_string()).collect();
        format!("  {}: {:.1500}\n", action.client, pieces.join("  ||  "))
    };
    actions.iter().map(line).collect()
}

/// What is different, if it is so every time.
fn dispute(actions: &[Action], pair: &mut Pair) -> Option<String> {
    (0..3)
        .map(|_| play(actions, pair))
        .map(|(ours, theirs)| (ours != theirs).then(|| ours.difference(&theirs)))
        .reduce(|one, two| one.and(two))?
}

/// Leaves out what can be left out.
fn shrink(mut actions: Vec<Action>, pair: &mut Pair) -> (Vec<Action>, String) {
    let end = Instant::now() + Duration::from_secs(60);
    let mut size = actions.len() / 2;
    while size > 0 && Instant::now() < end {
        let mut from = 0;
        while from < actions.len() {
            let mut fewer = actions.clone();
            fewer.drain(from..(from + size).min(actions.len()));
            let (ours, theirs) = play(&fewer, pair);
            if ours != theirs && dispute(&fewer, pair).is_some() {
                actions = fewer;
            } else {
                from += size;
            }
        }
        size /= 2;
    }
    let difference = dispute(&actions, pair).unwrap_or_else(|| "not any more".to_owned());
    (actions, difference)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Plays scripts of one configuration; gives how many, and the disputes.
fn check(binary: &str, profile: &Profile, end: Option<Instant>) -> (u64, String) {
    let mut pair = Pair::start(binary, profile);
    let first = number("SEED").unwrap_or(1);
    let count = number("SCRIPTS").unwrap_or(SCRIPTS);
    let most = number("DISPUTES").unwrap_or(1);
    let (mut played, mut disputes, mut text) = (0, 0, String::new());
    for seed in first..first + count {
        if end.is_some_and(|end| Instant::now() > end) || disputes >= most {
            break;
        }
        played += 1;
        let actions = script(seed, profile);
        let (ours, theirs) = play(&actions, &mut pair);
        if ours == theirs || dispute(&actions, &mut pair).is_none() {
            continue;
        }
        disputes += 1;
        let (actions, difference) = shrink(actions, &mut pair);
        let dispute = format!("{}, seed {seed}:\n{}{difference}\n", profile.name, show(&actions));
        // At once: many scripts take long.
        println!("{dispute}");
        text.push_str(&dispute);
    }
    (played, text)
}

#[test]
fn generated_scripts_end_like_on_the_reference_server() {
    let Ok(binary) = std::env::var("NATS_SERVER_BIN") else {
        println!("skipped: NATS_SERVER_BIN names no reference server");
        return;
    };
    let wanted = std::env::var("PROFILE").ok();
    let profiles =
        PROFILES.iter().filter(|profile| wanted.as_deref().is_none_or(|name| name == profile.name));
    // However slow the machine is, each configuration has its turn.
    let end = number("SCRIPTS").is_none().then(|| Instant::now() + TIME);
    let mut disputes = String::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = profiles
            .map(|profile| {
                let binary = &binary;
                scope.spawn(move || (profile.name, check(binary, profile, end)))
            })
            .collect();
        for thread in threads {
            let (name, (played, text)) = thread.join().unwrap();
            assert!(played > 0, "{name}");
            println!("{name}: {played} scripts");
            disputes.push_str(&text);
        }
    });
    assert!(disputes.is_empty(), "\n{disputes}");
}
