//! Programs in C for wasi-libc. Used by the tests of several crates.

use std::path::Path;
use std::process::Command;

/// What wasi-libc takes from compiler-rt, which Debian packages apart: multiplication of 128 bits.
pub const RUNTIME: &str = r#"
  typedef unsigned long long u64;
  typedef union { __int128 all; struct { u64 low, high; } half; } wide;
  __int128 __multi3(__int128 a, __int128 b) {
    wide x = {a}, y = {b}, r;
    u64 mask = 0xffffffff, al = x.half.low & mask, ah = x.half.low >> 32, bl = y.half.low & mask, bh = y.half.low >> 32;
    u64 mid = ah * bl + (al * bl >> 32), mid2 = al * bh + (mid & mask);
    r.half.low = x.half.low * y.half.low;
    r.half.high = ah * bh + (mid >> 32) + (mid2 >> 32) + x.half.high * y.half.low + x.half.low * y.half.high;
    return r.all;
  }
  __int128 __muloti4(__int128 a, __int128 b, int *overflow) { *overflow = 0; return __multi3(a, b); }
"#;

/// Compiles a program, or says that it cannot and gives `None`.
pub fn compiled(source: &str) -> Option<Vec<u8>> {
    let installed = Command::new("clang").arg("--version").output().is_ok()
        && Command::new("wasm-ld").arg("--version").output().is_ok()
        && Path::new("/usr/lib/wasm32-wasi").exists();
    if !installed {
        eprintln!("SKIPPED: clang, lld and wasi-libc are not all installed");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("main.c"), folder.path().join("main.wasm"));
    std::fs::write(&from, format!("{source}{RUNTIME}")).unwrap();
    let output = Command::new("clang")
        .args(["--target=wasm32-wasi", "-O1", "-nodefaultlibs", "-lc", "-o"])
        .args([&to, &from])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read(to).unwrap())
}
