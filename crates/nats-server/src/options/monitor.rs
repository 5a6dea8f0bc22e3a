//! The HTTP listener that shows the server's state.

/// Where monitoring is served, to everybody who can reach it: it asks for no credentials and is not encrypted, so keep it
/// away from networks that are not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorOptions {
    /// Address to listen on. Default `0.0.0.0`.
    pub host: String,
    /// Port to listen on; 0 lets the system choose. Default 8222.
    pub port: u16,
    /// Prefix of all paths, e.g. `/nats`. Default empty.
    pub base_path: String,
}

impl Default for MonitorOptions {
    fn default() -> Self {
        MonitorOptions { host: "0.0.0.0".to_owned(), port: 8222, base_path: String::new() }
    }
}
