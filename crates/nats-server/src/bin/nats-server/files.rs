//! Files that tell other programs about this one: its process id and its ports. Both are removed at the end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bacalhau_nats_server::Server;

/// The file with the process id.
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    pub(crate) fn write(path: &Path) -> Result<PidFile, String> {
        std::fs::write(path, std::process::id().to_string())
            .map_err(|error| format!("cannot write the pid file {}: {error}", path.display()))?;
        Ok(PidFile(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// The file `nats-server_<pid>.ports`: JSON with the URLs of each kind of listener.
pub(crate) struct PortsFile(PathBuf);

impl PortsFile {
    pub(crate) fn write(folder: &Path, server: &Server) -> Result<PortsFile, String> {
        let url = |scheme: &str, mut address: SocketAddr| {
            if address.ip().is_unspecified() {
                address.set_ip([127, 0, 0, 1].into());
            }
            [format!("{scheme}://{address}")]
        };
        let options = server.options();
        let nats = if options.tls.is_some_and(|tls| !tls.allow_non_tls) { "tls" } else { "nats" };
        let web = if options.websocket.is_some_and(|web| web.tls.is_some()) { "wss" } else { "ws" };
        let listeners = [
            ("nats", Some(url(nats, server.addr()))),
            ("monitoring", server.monitor_addr().map(|address| url("http", address))),
            ("websocket", server.websocket_addr().map(|address| url(web, address))),
        ];
        let ports: BTreeMap<_, _> =
            listeners.into_iter().filter_map(|(kind, urls)| Some((kind, urls?))).collect();
        let text = serde_json::json!(ports).to_string();
        let path = folder.join(format!("nats-server_{}.ports", std::process::id()));
        // Readers wait for the file to appear, so it must appear complete.
        let draft = path.with_extension("ports.tmp");
        std::fs::write(&draft, text)
            .and_then(|()| std::fs::rename(&draft, &path))
            .map_err(|error| format!("cannot write the ports file {}: {error}", path.display()))?;
        Ok(PortsFile(path))
    }
}

impl Drop for PortsFile {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Somebody may have removed it before.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}
