//! Whom a container runs as: names are looked up in the image's own `passwd` and `group`. Pure.

/// Numbers of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// Groups of a user at most, as the kernel has it (`NGROUPS_MAX` is 65536; nobody has that many).
const MOST_GROUPS: usize = 1024;

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd(text: &str) -> impl Iterator<Item = PasswdLine<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(PasswdLine { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

/// Name, number, members.
fn groups(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((name, fields.nth(1)?.parse().ok()?, fields.next().unwrap_or_default()))
    })
}

/// Finds `user`, `uid`, `user:group`, `uid:gid` and mixtures; empty is root.
///
/// `Err` says what the image does not have.
pub(super) fn find(wanted: &str, passwd_file: &str, group_file: &str) -> Result<User, String> {
    let (name, group) = match wanted.split_once(':') {
        Some((name, group)) => (name.trim(), Some(group.trim()).filter(|group| !group.is_empty())),
        None => (wanted.trim(), None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number: Option<u32> = name.parse().ok();
    let line = passwd(passwd_file).find(|line| line.name == name || Some(line.uid) == number);
    let (uid, own_gid, home, known_as) = match (line, number) {
        (Some(line), _) => (line.uid, line.gid, line.home, line.name),
        (None, Some(uid)) => (uid, 0, "", ""),
        (None, None) => return Err(format!("user {name:?}, who is not in its /etc/passwd")),
    };
    let home = if !home.is_empty() {
        home
    } else if uid == 0 {
        "/root"
    } else {
        "/"
    };
    let home = home.to_owned();
    if let Some(group) = group {
        let number: Option<u32> = group.parse().ok();
        let line = groups(group_file).find(|(name, gid, _)| *name == group || Some(*gid) == number);
        let gid = line.map(|(_, gid, _)| gid).or(number);
        let gid = gid.ok_or_else(|| format!("group {group:?}, which is not in its /etc/group"))?;
        // With a group of its own choice it gets no others, as with Docker.
        return Ok(User { uid, gid, groups: Vec::new(), home });
    }
    let is_member = |members: &str| !known_as.is_empty() && members.split(',').any(|m| m.trim() == known_as);
    let groups = groups(group_file).filter(|(_, gid, members)| *gid != own_gid && is_member(members));
    Ok(User { uid, gid: own_gid, groups: groups.map(|(_, gid, _)| gid).take(MOST_GROUPS).collect(), home })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\nworker:x:1000:1001:w:/home/w:/bin/sh\n7:x:70:71::/:\n";
    const GROUP: &str = "root:x:0:\nworkers:x:1001:worker\nextra:x:1002:a,worker\n";

    #[test]
    fn in_all_spellings() {
        let cases: [(&str, u32, u32, &[u32], &str); 10] = [
            ("", 0, 0, &[], "/root"),
            ("root", 0, 0, &[], "/root"),
            ("worker", 1000, 1001, &[1002], "/home/w"),
            ("1000", 1000, 1001, &[1002], "/home/w"),
            ("1000:5", 1000, 5, &[], "/home/w"),
            ("worker:extra", 1000, 1002, &[], "/home/w"),
            ("worker:", 1000, 1001, &[1002], "/home/w"),
            ("4242", 4242, 0, &[], "/"),
            ("4242:4243", 4242, 4243, &[], "/"),
            (":1002", 0, 1002, &[], "/root"),
        ];
        for (wanted, uid, gid, groups, home) in cases {
            let expected = User { uid, gid, groups: groups.to_vec(), home: home.into() };
            assert_eq!(find(wanted, PASSWD, GROUP).unwrap(), expected, "{wanted}");
        }
        assert!(find("nobody", PASSWD, GROUP).unwrap_err().contains("nobody"));
        assert!(find("root:nogroup", PASSWD, GROUP).unwrap_err().contains("nogroup"));
        assert_eq!(find("", "", "").unwrap().uid, 0);
    }

    proptest! {
        #[test]
        fn any_files_are_survived(wanted in ".{0,20}", passwd in "[a-z0-9:\n]{0,80}", group in "[a-z0-9:,\n]{0,80}") {
            let _ = find(&wanted, &passwd, &group);
        }
    }
}
