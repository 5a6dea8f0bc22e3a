//! Requests about nodes.

use super::Client;
use super::types::{AllCredentials, KeyBody, NodeBody, NodeUpdated, Nodes, OneNode};
use crate::credentials::NodeCredential;
use bacalhau_model::{Error, NodeState};
use reqwest::Method;

/// Which nodes to list.
#[derive(Clone, Debug, Default)]
pub struct NodesQuery {
    /// Label selectors, all of which must match.
    pub labels: Vec<String>,
    /// `approved`, `pending`, `rejected`, or empty for all.
    pub approval: String,
    /// `connected`, `disconnected`, or empty for all.
    pub status: String,
    /// Field to sort by; empty for the server's choice.
    pub order_by: String,
    /// Descending.
    pub reverse: bool,
    /// At most so many; 0 for all.
    pub limit: u32,
    /// Where to go on.
    pub next_token: String,
}

impl Client {
    /// Nodes known to the orchestrator.
    pub async fn nodes(&self, query: &NodesQuery) -> Result<Vec<NodeState>, Error> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        pairs.extend(query.labels.iter().map(|l| ("labels", l.clone())));
        let mut add = |key: &'static str, value: &str| {
            if !value.is_empty() {
                pairs.push((key, value.to_owned()));
            }
        };
        add("filter-approval", &query.approval);
        add("filter-status", &query.status);
        add("order_by", &query.order_by);
        add("reverse", if query.reverse { "true" } else { "" });
        add("next_token", &query.next_token);
        if query.limit > 0 {
            pairs.push(("limit", query.limit.to_string()));
        }
        let answer: Nodes = self.get(&["orchestrator", "nodes"], &pairs).await?;
        Ok(answer.nodes)
    }

    /// The nodes that have credentials.
    pub async fn node_credentials(&self) -> Result<Vec<NodeCredential>, Error> {
        let answer: AllCredentials = self.get(&["orchestrator", "credentials"], &[]).await?;
        Ok(answer.credentials)
    }

    /// Lets a node join with a key of its own.
    pub async fn create_node_credentials(&self, name: &str, public_key: &str) -> Result<(), Error> {
        let body = KeyBody { public_key };
        let path = ["orchestrator", "credentials", name];
        self.call::<NodeCredential, _>(Method::PUT, &path, &[], Some(&body)).await.map(drop)
    }

    /// Takes a node's credentials away.
    pub async fn revoke_node_credentials(&self, name: &str) -> Result<(), Error> {
        let path = ["orchestrator", "credentials", name];
        self.call::<NodeUpdated, ()>(Method::DELETE, &path, &[], None).await.map(drop)
    }

    /// One node, by ID or unique prefix.
    pub async fn node(&self, id: &str) -> Result<NodeState, Error> {
        let answer: OneNode = self.get(&["orchestrator", "nodes", id], &[]).await?;
        Ok(answer.node)
    }

    /// `approve`, `reject`, `delete`, `cordon` or `uncordon` for one node.
    pub async fn update_node(&self, id: &str, action: &str, message: &str) -> Result<NodeUpdated, Error> {
        let body = NodeBody { action, message, node_id: id, deadline: None };
        self.call(Method::PUT, &["orchestrator", "nodes", id], &[], Some(&body)).await
    }

    /// Empties a node; batch and ops executions may go on for `deadline`, whole seconds.
    pub async fn drain_node(
        &self,
        id: &str,
        deadline: std::time::Duration,
        message: &str,
    ) -> Result<NodeUpdated, Error> {
        let body = NodeBody { action: "drain", message, node_id: id, deadline: Some(deadline.as_secs()) };
        self.call(Method::PUT, &["orchestrator", "nodes", id], &[], Some(&body)).await
    }
}
