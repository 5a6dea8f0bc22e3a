//! What this machine is called and how others reach it.

use std::net::{IpAddr, UdpSocket};

/// The machine's name.
pub(crate) fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// The address from which packets to `target` would leave. Nothing is sent: a connected UDP socket knows its route.
pub(super) fn outbound(target: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// Addresses of this machine that are known without asking the network: where packets to the outside would leave.
pub(crate) fn own() -> Vec<IpAddr> {
    outbound("192.0.2.1:9").into_iter().chain([IpAddr::from([127, 0, 0, 1])]).collect()
}
