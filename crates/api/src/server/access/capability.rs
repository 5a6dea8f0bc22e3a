//! Which capability a request needs, by its path, and which actions grant it.

use axum::http::Method;

/// For everybody: what clients ask before they log in.
const OPEN: [&str; 8] = [
    "/",
    "/version",
    "/livez",
    "/api/v1/auth",
    "/api/v1/version",
    "/api/v1/agent/alive",
    "/api/v1/agent/version",
    "/api/v1/agent/authconfig",
];

/// Folders of the API and what they are about.
const RESOURCES: [(&str, &str); 7] = [
    ("/metrics", "agent"),
    ("/api/v1/agent", "agent"),
    ("/api/v1/orchestrator/jobs", "job"),
    ("/api/v1/orchestrator/explain", "job"),
    ("/api/v1/orchestrator/events", "job"),
    ("/api/v1/orchestrator/nodes", "node"),
    ("/api/v1/orchestrator/credentials", "node"),
];

/// What a request needs.
pub(super) struct Wanted {
    /// For messages, e.g. `read:job`.
    pub(super) text: String,
    is_read: bool,
}

/// `None` when everybody may. Paths are compared by whole segments; unknown ones need the most.
pub(super) fn wanted(method: &Method, path: &str) -> Option<Wanted> {
    if OPEN.iter().any(|open| is_within(path, open)) {
        return None;
    }
    let resource =
        RESOURCES.iter().find(|(folder, _)| is_within(path, folder)).map(|(_, resource)| *resource);
    let (is_read, resource) = match resource {
        Some(resource) => (method == Method::GET, resource),
        None => (false, "node"),
    };
    let verb = if is_read { "read" } else { "write" };
    Some(Wanted { text: format!("{verb}:{resource}"), is_read })
}

fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || (folder != "/" && rest.starts_with('/')))
}

impl Wanted {
    pub(super) fn is_granted_by(&self, action: &str) -> bool {
        match action {
            "*" => true,
            "read:*" => self.is_read,
            "write:*" => !self.is_read,
            exact => exact == self.text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_their_capability() {
        for (method, path, needs) in [
            (Method::GET, "/", None),
            (Method::GET, "/api/v1/auth/clientkey", None),
            (Method::GET, "/api/v1/agent/alive", None),
            (Method::GET, "/api/v1/agent/config", Some("read:agent")),
            (Method::GET, "/api/v1/orchestrator/jobs", Some("read:job")),
            (Method::GET, "/api/v1/orchestrator/events", Some("read:job")),
            (Method::HEAD, "/api/v1/orchestrator/jobs/x", Some("write:job")),
            (Method::DELETE, "/api/v1/orchestrator/jobs/x/record", Some("write:job")),
            (Method::PUT, "/api/v1/orchestrator/nodes/n", Some("write:node")),
            (Method::GET, "/api/v1/orchestrator/credentials", Some("read:node")),
            (Method::PUT, "/api/v1/orchestrator/credentials/n", Some("write:node")),
            (Method::GET, "/api/v1/authority", Some("write:node")),
            (Method::GET, "/api/v1/orchestrator/jobsx", Some("write:node")),
            (Method::GET, "//", Some("write:node")),
        ] {
            let found = wanted(&method, path).map(|w| w.text);
            assert_eq!(found.as_deref(), needs, "{method} {path}");
        }
    }
}
