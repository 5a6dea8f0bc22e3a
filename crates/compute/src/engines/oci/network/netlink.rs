//! The one question to the kernel's network that needs no program: to bring a loopback up.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::io;

/// `RTM_NEWLINK`: change an interface.
const NEW_LINK: u16 = 16;

/// `NLM_F_REQUEST | NLM_F_ACK`: do it, and say whether it was done.
const REQUEST_AND_ANSWER: u16 = 5;

/// `NLMSG_ERROR`: the answer, 0 when all went well.
const ANSWER: u16 = 2;

/// The loopback is the first interface of every namespace.
const LOOPBACK: i32 = 1;

/// `IFF_UP`
const UP: u32 = 1;

/// Length of the request: 16 bytes of header, 16 of the interface.
const LENGTH: u32 = 32;

/// Brings the loopback of the calling thread's network up; the kernel then gives it its address.
pub(super) fn loopback_up() -> io::Result<()> {
    // No protocol is `NETLINK_ROUTE`, which has the number 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let mut request = Vec::with_capacity(32);
    request.extend(LENGTH.to_ne_bytes());
    request.extend(NEW_LINK.to_ne_bytes());
    request.extend(REQUEST_AND_ANSWER.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([0; 4]);
    request.extend(LOOPBACK.to_ne_bytes());
    request.extend(UP.to_ne_bytes());
    request.extend(UP.to_ne_bytes());
    send(&socket, &request, SendFlags::empty())?;
    let mut answer = [0u8; 1024];
    let (_, length) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let answer = answer.get(..length).unwrap_or_default();
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(16..20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, code) {
        (Some(ANSWER), Some(0)) => Ok(()),
        (Some(ANSWER), Some(code)) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(io::Error::other("the kernel's answer cannot be read")),
    }
}
