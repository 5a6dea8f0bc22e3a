//! Small programs as WAT.

/// Prints its environment, a variable on each line; then traps when every one of `needles` is in it, else does what
/// `then` says.
pub(super) fn program(needles: &[&str], then: &str) -> String {
    let mut data = String::new();
    let mut checks = String::from("(i32.const 1)");
    let mut at = 256;
    for needle in needles {
        data.push_str(&format!("(data (i32.const {at}) \"{}\")\n", needle.replace('\n', "\\n")));
        let found = format!("(call $contains (i32.const {at}) (i32.const {}))", needle.len());
        checks = format!("(i32.and {checks} {found})");
        at += needle.len();
    }
    let trap = if needles.is_empty() { String::new() } else { format!("(if {checks} (then unreachable))") };
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  {data}
  (func $contains (param $needle i32) (param $length i32) (result i32)
    (local $i i32) (local $j i32)
    (block $never
      (loop $each
        (br_if $never (i32.gt_u (i32.add (local.get $i) (local.get $length)) (i32.load (i32.const 4))))
        (local.set $j (i32.const 0))
        (block $other
          (loop $same
            (if (i32.eq (local.get $j) (local.get $length)) (then (return (i32.const 1))))
            (br_if $other (i32.ne
              (i32.load8_u (i32.add (i32.const 65536) (i32.add (local.get $i) (local.get $j))))
              (i32.load8_u (i32.add (local.get $needle) (local.get $j)))))
            (local.set $j (i32.add (local.get $j) (i32.const 1)))
            (br $same)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $each)))
    (i32.const 0))
  (func (export "_start")
    (local $i i32)
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $environ (i32.const 4096) (i32.const 65536)))
    (block $done
      (loop $each
        (br_if $done (i32.eq (local.get $i) (i32.load (i32.const 4))))
        (if (i32.eqz (i32.load8_u (i32.add (i32.const 65536) (local.get $i))))
          (then (i32.store8 (i32.add (i32.const 65536) (local.get $i)) (i32.const 10))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $each)))
    (i32.store (i32.const 16) (i32.const 65536))
    (i32.store (i32.const 20) (i32.load (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
    {trap}
    {then}))"#
    )
}

/// Ends well.
pub(super) const END: &str = "";
/// Never ends.
pub(super) const GO_ON: &str = "(loop $on (br $on))";
/// Ends with exit code 3.
pub(super) const EXIT_3: &str = "(call $exit (i32.const 3))";
