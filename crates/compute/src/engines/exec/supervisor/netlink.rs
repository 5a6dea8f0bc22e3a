//! The one thing to ask the kernel's network for: to switch the loopback on.

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use std::io;

/// `RTM_NEWLINK`: change a link.
const NEW_LINK: u16 = 16;
/// `NLMSG_ERROR`: how it went.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const ASK: u16 = 1 | 4;
/// `IFF_UP`.
const UP: u32 = 1;
/// The loopback is the first link of every network.
const LOOPBACK: i32 = 1;

/// Switches the loopback of this process's network on.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, &message(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0u8; 512];
    let (_, length) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    result(answer.get(..length).unwrap_or_default())
}

/// `struct nlmsghdr` and `struct ifinfomsg`, in the machine's byte order.
fn message() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend(32u32.to_ne_bytes());
    bytes.extend(NEW_LINK.to_ne_bytes());
    bytes.extend(ASK.to_ne_bytes());
    bytes.extend(1u32.to_ne_bytes()); // sequence
    bytes.extend(0u32.to_ne_bytes()); // port: the kernel's choice
    bytes.extend([0u8, 0, 0, 0]); // family, padding, type
    bytes.extend(LOOPBACK.to_ne_bytes());
    bytes.extend(UP.to_ne_bytes()); // flags
    bytes.extend(UP.to_ne_bytes()); // which of them change
    bytes
}

/// Reads the kernel's answer: a header and a negative error number, 0 for success.
fn result(answer: &[u8]) -> io::Result<()> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer makes no sense");
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes).ok_or_else(odd)?;
    let code = answer.get(16..20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes).ok_or_else(odd)?;
    match (kind, code) {
        (ERROR, 0) => Ok(()),
        (ERROR, code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(odd()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(message().len(), 32);
        let answer = |code: i32| {
            let mut bytes = vec![0u8; 4];
            bytes.extend(ERROR.to_ne_bytes());
            bytes.resize(16, 0);
            bytes.extend(code.to_ne_bytes());
            bytes
        };
        result(&answer(0)).unwrap();
        assert_eq!(result(&answer(-1)).unwrap_err().raw_os_error(), Some(1));
        assert!(result(&[]).is_err());
    }
}
