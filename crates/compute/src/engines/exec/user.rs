//! Who tasks run as. Reads `/etc/passwd` and `/etc/group`; other sources of users are named by number.

use std::fs;

/// User and group by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Nobody's numbers where there is no such name: what the kernel shows for users it cannot name.
const NOBODY: User = User { uid: 65_534, gid: 65_534 };

/// Finds out who tasks run as, on a node that runs as `node`. `None`: as the node itself.
///
/// # Errors
/// A name that does not exist, or a user the node cannot become; in words.
pub(super) fn resolve(node: User, user: &str, group: &str) -> Result<Option<User>, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    choose(node, user.trim(), group.trim(), &read("/etc/passwd"), &read("/etc/group"))
}

fn choose(node: User, user: &str, group: &str, passwd: &str, groups: &str) -> Result<Option<User>, String> {
    let mut chosen = match user {
        "" if node.uid == 0 => {
            find(passwd, "nobody", 3).map_or(NOBODY, |(uid, gid)| User { uid, gid: gid.unwrap_or(uid) })
        }
        "" => node,
        name => {
            let (uid, gid) = find(passwd, name, 3).or_else(|| number(passwd, name)).ok_or_else(|| {
                format!("Engines.Types.Exec.User: there is no user {name:?} on this machine")
            })?;
            // A number that nobody has yet is its own group.
            User { uid, gid: gid.unwrap_or(uid) }
        }
    };
    if !group.is_empty() {
        chosen.gid =
            find(groups, group, 2).map(|(gid, _)| gid).or_else(|| group.parse().ok()).ok_or_else(|| {
                format!("Engines.Types.Exec.Group: there is no group {group:?} on this machine")
            })?;
    }
    if chosen == node {
        return Ok(None);
    }
    if node.uid != 0 {
        return Err(
            "Engines.Types.Exec.User and Group: only a node that runs as root can run tasks as somebody else"
                .to_owned(),
        );
    }
    Ok(Some(chosen))
}

/// The line of a name: the number at `column - 1` and the one after.
fn find(text: &str, name: &str, column: usize) -> Option<(u32, Option<u32>)> {
    text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| {
        (fields.first() == Some(&name)).then_some(())?;
        let at = |index: usize| fields.get(index).and_then(|text| text.parse().ok());
        Some((at(2)?, if column == 3 { at(3) } else { None }))
    })
}

/// A user given by number, with the group that its line tells.
fn number(passwd: &str, text: &str) -> Option<(u32, Option<u32>)> {
    let uid: u32 = text.parse().ok()?;
    let group = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&text)).then(|| fields.get(3)?.parse().ok())?
    });
    Some((uid, group))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:n:/:/bin/false\nrunner:x:1001:1002::/:\n";
    const GROUPS: &str = "root:x:0:\nvideo:x:44:runner\n";
    const ROOT: User = User { uid: 0, gid: 0 };

    fn chosen(node: User, user: &str, group: &str) -> Result<Option<User>, String> {
        choose(node, user, group, PASSWD, GROUPS)
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(chosen(ROOT, "", ""), Ok(Some(User { uid: 65534, gid: 65533 })));
        assert_eq!(choose(ROOT, "", "", "", ""), Ok(Some(NOBODY)));
        assert_eq!(chosen(ROOT, "root", ""), Ok(None));
        assert_eq!(chosen(ROOT, "runner", ""), Ok(Some(User { uid: 1001, gid: 1002 })));
        assert_eq!(chosen(ROOT, "1001", "video"), Ok(Some(User { uid: 1001, gid: 44 })));
        assert_eq!(chosen(ROOT, "77", "88"), Ok(Some(User { uid: 77, gid: 88 })));
        assert_eq!(chosen(ROOT, "77", ""), Ok(Some(User { uid: 77, gid: 77 })));
        assert!(chosen(ROOT, "ghost", "").unwrap_err().contains("\"ghost\""));
        assert!(chosen(ROOT, "", "ghosts").unwrap_err().contains("\"ghosts\""));
    }

    #[test]
    fn only_root_becomes_somebody_else() {
        let node = User { uid: 1001, gid: 1002 };
        assert_eq!(chosen(node, "", ""), Ok(None));
        assert_eq!(chosen(node, "runner", ""), Ok(None));
        assert!(chosen(node, "root", "").unwrap_err().contains("runs as root"));
    }
}
