//! Configurations made from a seed, one after the other, while clients come, publish and listen: this server and the
//! reference server named by `NATS_SERVER_BIN` must say the same to everybody.

use crate::reload::{PROGRAM, Program};
use crate::support::Raw;

const NAMES: [&str; 3] = ["a", "b", "c"];
const STEPS: usize = 6;
const SEEDS: u64 = 6;

/// A random configuration with at least one user.
fn config(rng: &mut fastrand::Rng, hash: &str) -> String {
    let rules = [
        "",
        ", permissions: {subscribe: [x, \"_.>\"]}",
        ", permissions: {publish: [y], subscribe: {deny: x}}",
        ", permissions: {subscribe: {allow: [\"*\", \"_.>\"], deny: [\"x\", \"y qa\"]}}",
        ", permissions: {publish: {deny: x}, subscribe: [\"x qa\", \"y\"]}",
        ", permissions: {subscribe: \"*\", allow_responses: true}",
    ];
    let mut places: [Vec<String>; 3] = Default::default();
    let present: Vec<&str> = NAMES.into_iter().filter(|_| rng.u8(..) > 40).collect();
    for name in if present.is_empty() { vec!["a"] } else { present } {
        let password = ["p", "p", "p", "other", hash][rng.usize(..5)];
        let rules = rules[rng.usize(..rules.len())];
        let user = format!("{{user: {name}, password: \"{password}\"{rules}}}");
        // Mostly at the same place.
        let place = if rng.u8(..) < 200 { usize::from(name.as_bytes()[0] - b'a') } else { rng.usize(..3) };
        places[place].push(user);
    }
    let mut text = String::new();
    let mut accounts: Vec<String> = [("A", &places[1]), ("B", &places[2])]
        .into_iter()
        .map(|(name, users)| format!("{name} {{ users: [{}] }}", users.join(", ")))
        .collect();
    rng.shuffle(&mut accounts);
    text.push_str(&format!("accounts {{ {} }}\n", accounts.join(", ")));
    if !places[0].is_empty() {
        let defaults = ["", "default_permissions: {publish: {deny: y}}, "][rng.usize(..2)];
        text.push_str(&format!("authorization {{ {defaults}users: [{}] }}\n", places[0].join(", ")));
    }
    text
}

/// Sends, and notes what is said up to a PONG, or to the end; lines in any order.
fn talk(raw: &mut Option<Raw>, send: &str) -> String {
    let Some(open) = raw else { return "not connected".to_owned() };
    open.send(format!("{send}PING\r\n"));
    let (text, ended) = open.until_or_end("PONG\r\n");
    if ended {
        *raw = None;
    }
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("|")
}

/// What everybody is told by one server.
fn play(binary: &str, configs: &[String]) -> Vec<String> {
    let mut told = Vec::new();
    let program = Program::start(binary, &configs[0]);
    let mut open: [Option<Raw>; 3] = Default::default();
    for (step, config) in configs.iter().enumerate() {
        if step > 0 {
            let said = program.reload(config);
            assert!(said.contains("Reloaded server configuration"), "{binary}: {said}");
        }
        for (name, raw) in NAMES.iter().zip(&mut open) {
            told.push(format!("{step} {name} after the reload: {}", talk(raw, "")));
            if raw.is_none() {
                let mut new = Raw::open(program.addr("nats"));
                new.until("\r\n");
                *raw = Some(new);
                let connect = format!("CONNECT {{\"verbose\":false,\"user\":\"{name}\",\"pass\":\"p\"}}\r\n");
                let subs = format!(
                    "SUB x 1\r\nSUB y 2\r\nSUB * 3\r\nSUB _.> 6\r\nSUB x q{name} 4\r\nSUB y q{name} 5\r\n"
                );
                told.push(format!("{step} {name} connects: {}", talk(raw, &(connect + &subs))));
            }
        }
        for (name, raw) in NAMES.iter().zip(&mut open) {
            let send = format!("PUB x _.{name} 1\r\n{name}\r\nPUB y 1\r\n{name}\r\nPUB _.a 1\r\n{name}\r\n");
            told.push(format!("{step} {name} publishes: {}", talk(raw, &send)));
        }
        for (name, raw) in NAMES.iter().zip(&mut open) {
            told.push(format!("{step} {name} has heard: {}", talk(raw, "")));
        }
    }
    told
}

#[test]
fn one_configuration_after_the_other() {
    let Ok(reference) = std::env::var("NATS_SERVER_BIN") else {
        println!("skipped: NATS_SERVER_BIN names no reference server");
        return;
    };
    let hash = bcrypt::hash("p", 4).unwrap();
    for seed in 0..SEEDS {
        let mut rng = fastrand::Rng::with_seed(seed);
        let configs: Vec<String> = (0..STEPS).map(|_| config(&mut rng, &hash)).collect();
        let (ours, theirs) = (play(PROGRAM, &configs), play(&reference, &configs));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "seed {seed}\n{}", configs.join("\n---\n"));
        }
    }
}
