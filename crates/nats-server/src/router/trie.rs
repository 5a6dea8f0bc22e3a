//! Patterns with wildcards, one level per token. Lookup visits each node at most once and uses no recursion, so that
//! neither a deep subject nor a set of patterns made to branch can exhaust the stack or multiply the work.

use crate::hash::ByteMap;
use crate::slab::Slab;

use super::SubId;

const ROOT: u32 = 0;

#[derive(Default)]
struct Node {
    children: ByteMap<u32>,
    star: Option<u32>,
    /// Patterns that end here with `>`.
    rest: Vec<SubId>,
    /// Patterns that end with this node's token.
    here: Vec<SubId>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.star.is_none() && self.rest.is_empty() && self.here.is_empty()
    }
}

/// The trie; the root always exists.
pub(crate) struct Trie {
    nodes: Slab<Node>,
    /// Work list of `collect`, kept to save allocations: node and where the rest of the subject starts.
    pending: Vec<(u32, usize)>,
}

impl Default for Trie {
    fn default() -> Self {
        let mut nodes = Slab::default();
        nodes.insert(Node::default());
        Self { nodes, pending: Vec::new() }
    }
}

impl Trie {
    /// Adds a pattern. Returns the place in its node's list, which `remove` wants to know.
    pub(crate) fn insert(&mut self, pattern: &[u8], id: SubId) -> usize {
        let mut at = ROOT;
        let mut rest = false;
        for token in pattern.split(|byte| *byte == b'.') {
            if token == b">" {
                rest = true;
                break;
            }
            at = match self.child(at, token) {
                Some(child) => child,
                None => self.add_child(at, token),
            };
        }
        let Some(node) = self.nodes.get_mut(at) else { return 0 };
        let list = if rest { &mut node.rest } else { &mut node.here };
        list.push(id);
        list.len() - 1
    }

    /// Removes what is at `place` in the list of `pattern`'s node, and the nodes that nobody needs then. Returns the
    /// subscription that is at `place` now, if one moved there.
    pub(crate) fn remove(&mut self, pattern: &[u8], place: usize) -> Option<SubId> {
        let mut path: Vec<(u32, &[u8])> = Vec::new();
        let mut at = ROOT;
        let mut rest = false;
        for token in pattern.split(|byte| *byte == b'.') {
            if token == b">" {
                rest = true;
                break;
            }
            path.push((at, token));
            at = self.child(at, token)?;
        }
        let node = self.nodes.get_mut(at)?;
        let moved = super::take_out(if rest { &mut node.rest } else { &mut node.here }, place);
        while let Some((parent, token)) = path.pop() {
            if !self.nodes.get(at).is_some_and(Node::is_empty) {
                break;
            }
            self.nodes.remove(at);
            if let Some(node) = self.nodes.get_mut(parent) {
                if token == b"*" {
                    node.star = None;
                } else {
                    node.children.remove(token);
                }
            }
            at = parent;
        }
        moved
    }

    /// Appends every subscription whose pattern matches the literal `subject`. A subject with an empty token matches
    /// nothing: no subscription could name it. Returns how many nodes it has visited, the measure of its cost.
    pub(crate) fn collect(&mut self, subject: &[u8], found: &mut Vec<SubId>) -> u64 {
        if subject.split(|byte| *byte == b'.').any(<[u8]>::is_empty) {
            return 0;
        }
        let mut visited = 0;
        self.pending.clear();
        self.pending.push((ROOT, 0));
        while let Some((at, start)) = self.pending.pop() {
            visited += 1;
            let Some(node) = self.nodes.get(at) else { continue };
            // A start past the end means that all tokens have been used.
            let Some(rest) = subject.get(start..) else {
                found.extend_from_slice(&node.here);
                continue;
            };
            let token = memchr::memchr(b'.', rest).and_then(|dot| rest.get(..dot)).unwrap_or(rest);
            found.extend_from_slice(&node.rest);
            let next = start + token.len() + 1;
            if let Some(star) = node.star {
                self.pending.push((star, next));
            }
            if let Some(child) = node.children.get(token) {
                self.pending.push((*child, next));
            }
        }
        visited
    }

    fn child(&self, at: u32, token: &[u8]) -> Option<u32> {
        let node = self.nodes.get(at)?;
        if token == b"*" { node.star } else { node.children.get(token).copied() }
    }

    fn add_child(&mut self, at: u32, token: &[u8]) -> u32 {
        let child = self.nodes.insert(Node::default());
        if let Some(node) = self.nodes.get_mut(at) {
            if token == b"*" {
                node.star = Some(child);
            } else {
                node.children.insert(token.into(), child);
            }
        }
        child
    }

    /// Nodes besides the root.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.nodes.len() - 1
    }
}
