//! Which system calls a container may make.
//!
//! A list of what programs need, like Docker's: what is left out would load code into the kernel, change the machine's
//! clock, mounts or swap, look into other processes' memory, or is known for holes.

use serde_json::{Value, json};

/// Allowed without conditions, with blanks between them.
const ALLOWED: &str = include_str!("seccomp_allowed.txt");

/// Flags of `clone` that make namespaces, which would give a process rights inside of them.
const NAMESPACES: u64 = 0x7e02_0000;

/// Addresses of virtual machines, past all network namespaces.
const AF_VSOCK: u64 = 40;

/// Personalities that programs use: none, of a 32-bit machine, with fixed addresses, both, and the question.
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// "No such system call": so that the C library falls back to `clone`, whose flags can be looked at.
const ENOSYS: u32 = 38;

/// The section of the runtime's configuration.
pub(super) fn profile() -> Value {
    let names: Vec<&str> =
        ALLOWED.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect();
    let mut calls = vec![
        json!({"names": names, "action": "SCMP_ACT_ALLOW"}),
        json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}),
        json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}),
        json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE"}]}),
    ];
    calls.extend(PERSONALITIES.map(|value| {
        json!({"names": ["personality"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]})
    }));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": architectures(),
        "syscalls": calls,
    })
}

/// Of this machine, and the 32-bit ones that it runs too.
fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "riscv64" => &["SCMP_ARCH_RISCV64"],
        "s390x" => &["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
        "powerpc64" => &["SCMP_ARCH_PPC64LE"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_leaves_out_what_is_dangerous() {
        let text = profile().to_string();
        let names: Vec<&str> =
            ALLOWED.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect();
        assert!(names.is_sorted() && names.len() > 300, "{}", names.len());
        for wanted in ["read", "execve", "futex", "openat2", "epoll_wait", "rseq", "statx", "chroot"] {
            assert!(names.contains(&wanted), "{wanted}");
        }
        for refused in [
            "mount",
            "umount2",
            "unshare",
            "setns",
            "bpf",
            "init_module",
            "kexec_load",
            "keyctl",
            "add_key",
            "ptrace_old",
            "perf_event_open",
            "open_by_handle_at",
            "reboot",
            "swapon",
            "settimeofday",
            "io_uring_setup",
            "userfaultfd",
            "pivot_root",
            "move_mount",
            "fsopen",
            "syslog",
            "clone",
            "socket",
            "personality",
            "iopl",
        ] {
            assert!(!names.contains(&refused), "{refused}");
        }
        let _: oci_spec::runtime::LinuxSeccomp = serde_json::from_str(&text).unwrap();
    }
}
