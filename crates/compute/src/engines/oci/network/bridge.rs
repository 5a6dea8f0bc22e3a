//! Private networks with a way out: each container has a wire (a veth pair) to the host, which passes its packets on
//! under its own address (NAT).
//!
//! A wire ends with its namespace, so nothing of it outlives the container; it outlives the node, whose next life goes
//! on with it. Four addresses of the node's subnet make up one wire. Rules of the firewall are there while any container
//! needs them, and carry the node's mark.

use super::super::error;
use super::netns::Netns;
use bacalhau_model::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// Prefix of the host's ends of wires.
const PREFIX: &str = "bcl";

/// Where the kernel says whether it passes packets on.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Most words of a program that go into an error.
const MOST_WORDS: usize = 300;

/// Private networks of one node.
#[derive(Debug)]
pub(crate) struct Bridge {
    /// First address, and how many there are.
    subnet: (Ipv4Addr, u32),
    /// The subnet as programs want it.
    text: String,
    /// Marks the rules of this node.
    mark: String,
    taken: Mutex<BTreeSet<u32>>,
    /// Containers that need the rules.
    users: tokio::sync::Mutex<usize>,
}

/// What the next life of the node has to know about a wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wire {
    number: u32,
    name: String,
    host: Ipv4Addr,
    address: Ipv4Addr,
}

/// One wire.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: Ipv4Addr,
    pub(super) host: Ipv4Addr,
    name: String,
    number: u32,
    bridge: Arc<Bridge>,
    open: bool,
}

/// The first program that private networks need and this machine does not have.
pub(super) fn missing_program() -> Option<&'static str> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |program: &str| std::env::split_paths(&folders).any(|folder| folder.join(program).is_file());
    ["ip", "iptables"].into_iter().find(|program| !is_there(program))
}

impl Bridge {
    /// For a node with this mark. `subnet` is `a.b.c.d/n` with n from 8 to 30.
    pub(crate) fn new(subnet: &str, mark: &str) -> Result<Bridge, Error> {
        let parsed = parse_subnet(subnet).ok_or_else(|| {
            error(format!("Engines.Types.OCI.Subnet: {subnet:?} is no subnet for containers"))
                .hint("Write one such as 10.201.0.0/16, with at most 30 bits for the network")
        })?;
        Ok(Bridge {
            subnet: parsed,
            text: subnet.to_owned(),
            mark: format!("bacalhau-{mark}"),
            taken: Mutex::default(),
            users: tokio::sync::Mutex::default(),
        })
    }

    /// Connects a namespace with the host.
    pub(super) async fn connect(self: &Arc<Bridge>, namespace: &Netns) -> Result<Link, Error> {
        self.enter().await?;
        match self.wire(namespace).await {
            Ok(link) => Ok(link),
            Err(reason) => {
                self.leave().await;
                Err(reason)
            }
        }
    }

    /// Takes over the wire of a former life.
    pub(super) async fn adopt(self: &Arc<Bridge>, wire: Wire) -> Link {
        self.lock().insert(wire.number);
        if let Err(error) = self.enter().await {
            tracing::warn!(%error, "the way out of an adopted container may be closed");
            // Counted all the same, for its end counts, too.
            *self.users.lock().await += 1;
        }
        let Wire { number, name, host, address } = wire;
        Link { address, host, name, number, bridge: Arc::clone(self), open: true }
    }

    async fn wire(self: &Arc<Bridge>, namespace: &Netns) -> Result<Link, Error> {
        let wires = self.subnet.1 / 4;
        let mut number = first_guess(&self.mark, wires);
        for _ in 0..wires {
            number = (number + 1) % wires;
            if !self.lock().insert(number) {
                continue;
            }
            let [host, address] =
                [1, 2].map(|offset| Ipv4Addr::from_bits(self.subnet.0.to_bits() + number * 4 + offset));
            let name = format!("{PREFIX}{:x}", u32::from(host) & 0x00ff_ffff);
            let link = Link { address, host, name, number, bridge: Arc::clone(self), open: false };
            match link.set_up(namespace).await {
                Ok(link) => return Ok(link),
                // Another node of this machine has it.
                Err(reason) if reason.contains("File exists") => {}
                Err(reason) => {
                    self.lock().remove(&number);
                    return Err(error(format!("cannot connect a container: {reason}")).retryable());
                }
            }
        }
        Err(error(format!("no address of {} is free for another container", self.text)).retryable())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first container that needs them sets the rules.
    async fn enter(&self) -> Result<(), Error> {
        let mut users = self.users.lock().await;
        if *users == 0 {
            let rules = self.rules();
            let set = tokio::task::spawn_blocking(move || {
                remove_rules(&rules);
                forward_packets()?;
                rules.iter().try_for_each(|rule| iptables(rule, "-I"))
            });
            let set = set.await.map_err(|e| e.to_string()).flatten();
            set.map_err(|reason| {
                error(format!("cannot set the firewall's rules for containers: {reason}"))
                    .hint("Use network type None, Host or HTTP, or check iptables on the node")
            })?;
        }
        *users += 1;
        Ok(())
    }

    /// The last one takes them away.
    async fn leave(&self) {
        let mut users = self.users.lock().await;
        *users = users.saturating_sub(1);
        if *users == 0 {
            self.remove_rules().await;
        }
    }

    /// Takes away what this node or a former life of it set.
    pub(crate) async fn remove_rules(&self) {
        if missing_program().is_some() {
            return;
        }
        let rules = self.rules();
        // Whatever goes wrong in there is tried again by the next one.
        let _ = tokio::task::spawn_blocking(move || remove_rules(&rules)).await;
    }

    fn rules(&self) -> Vec<Vec<String>> {
        let inside = format!("{PREFIX}+");
        let rule = |words: &[&str]| -> Vec<String> {
            let mark = ["-m", "comment", "--comment", &self.mark];
            words.iter().chain(&mark).map(|word| (*word).to_owned()).collect()
        };
        let replies = ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"];
        let mut back = vec!["filter", "FORWARD", "-o", &inside];
        back.extend(replies);
        let mut all = [
            rule(&["nat", "POSTROUTING", "-s", &self.text, "!", "-o", &inside]),
            rule(&["filter", "FORWARD", "-i", &inside]),
            rule(&back),
        ];
        for (rule, target) in all.iter_mut().zip(["MASQUERADE", "ACCEPT", "ACCEPT"]) {
            rule.extend(["-j".to_owned(), target.to_owned()]);
        }
        all.into()
    }
}

impl Link {
    async fn set_up(mut self, namespace: &Netns) -> Result<Link, String> {
        let (name, host, address) = (self.name.clone(), self.host, self.address);
        let (path, holder) = (namespace.path(), namespace.clone());
        let outside = tokio::task::spawn_blocking(move || {
            let _holder = holder;
            ip(&format!(
                "link add {name} type veth peer name eth0 netns {}\naddress add {host}/30 dev {name}\nlink set {name} up\n",
                path.display()
            ))
        });
        outside.await.map_err(|e| e.to_string()).flatten()?;
        self.open = true;
        let inside = namespace.inside(move || {
            ip(&format!(
                "address add {address}/30 dev eth0\nlink set eth0 up\nroute add default via {host}\n"
            ))
            .map_err(io::Error::other)
        });
        inside.await.map_err(|e| e.to_string())?;
        Ok(self)
    }

    pub(super) fn wire(&self) -> Wire {
        Wire { number: self.number, name: self.name.clone(), host: self.host, address: self.address }
    }

    /// Leaves it to the next life.
    pub(super) fn leave(mut self) {
        self.open = false;
    }

    /// Cuts it and waits for that.
    pub(super) async fn close(mut self) {
        self.open = false;
        let name = self.name.clone();
        // It may be gone with its namespace already.
        let _ = tokio::task::spawn_blocking(move || ip(&format!("link delete {name}\n"))).await;
        self.bridge.lock().remove(&self.number);
        self.bridge.leave().await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        // Given up half-way; the runtime may be gone, too.
        let (bridge, name, number) = (Arc::clone(&self.bridge), self.name.clone(), self.number);
        let cut = move || {
            let _ = ip(&format!("link delete {name}\n"));
            bridge.lock().remove(&number);
            let mut users = bridge.users.blocking_lock();
            *users = users.saturating_sub(1);
            if *users == 0 {
                remove_rules(&bridge.rules());
            }
        };
        if let Err(error) = std::thread::Builder::new().name("netns".to_owned()).spawn(cut) {
            tracing::warn!(%error, "cannot cut the wire of a container");
        }
    }
}

/// Where the search for a free wire begins: elsewhere for every node, so that those of one machine seldom meet.
fn first_guess(mark: &str, wires: u32) -> u32 {
    mark.bytes().fold(17u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % wires.max(1)
}

fn parse_subnet(text: &str) -> Option<(Ipv4Addr, u32)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits): (Ipv4Addr, u32) = (address.parse().ok()?, bits.parse().ok()?);
    let size = 1u32.checked_shl(32u32.checked_sub(bits)?)?;
    let aligned = address.to_bits().is_multiple_of(size);
    ((8..=30).contains(&bits) && aligned).then_some((address, size))
}

/// Commands for `ip`, one a line.
fn ip(commands: &str) -> Result<(), String> {
    let spawned = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|e| format!("ip: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(commands.as_bytes()).map_err(|e| format!("ip: {e}"))?;
    }
    finish("ip", child.wait_with_output())
}

fn iptables(rule: &[String], action: &str) -> Result<(), String> {
    let (Some(table), Some(chain)) = (rule.first(), rule.get(1)) else { return Ok(()) };
    let mut command = Command::new("iptables");
    command.args(["-w", "-t", table, action, chain]).args(rule.get(2..).unwrap_or_default());
    finish("iptables", command.stdin(Stdio::null()).output())
}

fn finish(program: &str, output: io::Result<std::process::Output>) -> Result<(), String> {
    let output = output.map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", said.trim().chars().take(MOST_WORDS).collect::<String>()))
}

/// More than one of each can be there after several kills.
fn remove_rules(rules: &[Vec<String>]) {
    for rule in rules {
        for _ in 0..10 {
            if iptables(rule, "-D").is_err() {
                break;
            }
        }
    }
}

fn forward_packets() -> Result<(), String> {
    if std::fs::read_to_string(FORWARDING).is_ok_and(|text| text.trim() == "1") {
        return Ok(());
    }
    std::fs::write(FORWARDING, "1").map_err(|e| format!("{FORWARDING}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        assert_eq!(parse_subnet("10.201.0.0/16"), Some((Ipv4Addr::new(10, 201, 0, 0), 1 << 16)));
        for wrong in ["10.0.0.0", "10.0.0.1/16", "10.0.0.0/31", "10.0.0.0/0", "x/8", "10.0.0.0/40", "::/8"] {
            assert_eq!(parse_subnet(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn rules_carry_the_nodes_mark() {
        let bridge = Bridge::new("10.201.0.0/16", "abcd").unwrap();
        for rule in bridge.rules() {
            assert!(rule.join(" ").contains("--comment bacalhau-abcd -j "), "{rule:?}");
        }
    }
}
