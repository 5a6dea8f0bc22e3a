//! What a WebAssembly program may take and reach, through the whole system.

use crate::cluster::{FOREVER, wat_job};
use crate::fake::Fake;
use crate::wasm_guests::components::{Call, DENIED, componentised};
use crate::wasm_guests::{cluster, talking};
use base64::Engine as _;

/// Takes memory until it gets no more, and breaks down.
const GREEDY: &str = r#"(module (memory (export "memory") 1) (func (export "_start")
    (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable))"#;

/// A job file around a program.
fn job(name: &str, program: &[u8], param: &str, more: &str) -> String {
    let bytes = base64::engine::general_purpose::STANDARD.encode(program);
    let job = wat_job(name, "(module)", more);
    let (before, after) = job.split_once("base64,").unwrap();
    let (_, after) = after.split_once('"').unwrap();
    format!("{before}base64,{bytes}\"{after}").replace("Entrypoint: _start", param)
}

#[test]
fn limits_end_programs_with_words() {
    let cluster = cluster(&[]);
    let kinds = |text: &str| {
        let module = wat::parse_str(text).unwrap();
        [("module", module.clone()), ("component", componentised(&module))]
    };
    for (kind, forever) in kinds(FOREVER) {
        let name = format!("{kind}-fuel");
        let ended = cluster.job_run(&name, &job(&name, &forever, "Fuel: 1000000", ""));
        ended.failed_with("fuel limit exceeded: the module executed more than 1000000 instructions");
        let name = format!("{kind}-time");
        let timeout = "    Timeouts: {ExecutionTimeout: 1}\n    Retry: {MaxAttempts: 1}\n";
        let ended = cluster.job_run(&name, &job(&name, &forever, "Entrypoint: _start", timeout));
        ended.failed_with("timed out after 1s");
    }
    for (kind, greedy) in kinds(GREEDY) {
        let name = format!("{kind}-memory");
        let ended = cluster.job_run(&name, &job(&name, &greedy, "Entrypoint: _start", ""));
        // 16 MB are 245 pages.
        ended.failed_with("memory limit exceeded: the module asked for");
        ended.failed_with("the limit is 16056320 bytes");
    }
    // The node is as it was.
    let file = cluster.program("next.wasm", &talking("(func $main)"));
    assert_eq!(cluster.wasm_run("next", &[&file]).state, "Completed");
}

/// Asks for a URL through the module of Bacalhau 1.9; ends with the result's code and prints the body.
fn asking(url: &str) -> Vec<u8> {
    let length = url.len();
    let text = format!(
        r#"(module
            (import "wasi:http/requests" "http_request"
                (func $http (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (data (i32.const 2000) "{url}")
            (func (export "_start") (local $result i32)
                (i32.store (i32.const 100) (i32.const 4096))
                (i32.store (i32.const 104) (i32.const 8192))
                (local.set $result (call $http (i32.const 0) (i32.const 2000) (i32.const {length})
                    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                    (i32.const 20000) (i32.const 100) (i32.const 30000) (i32.const 104) (i32.const 0)))
                (if (i32.eqz (local.get $result)) (then
                    (i32.store (i32.const 0) (i32.const 30000))
                    (i32.store (i32.const 4) (i32.load (i32.const 104)))
                    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
                (call $exit (local.get $result))))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn http_goes_to_listed_domains_only() {
    let server = Fake::start(|_| (200, b"served".to_vec()));
    let authority = server.url.strip_prefix("http://").unwrap();
    let call = Call { method: 0, authority, path: "/", body: "", timeout: 20_000_000_000 };
    let cluster = cluster(&[]);
    let programs = [("module", asking(&server.url), 4), ("component", call.component(), DENIED)];
    for (kind, program, denied) in programs {
        let file = cluster.program(&format!("{kind}.wasm"), &program);
        for (name, network, code) in [
            ("listed", &["--network", "HTTP", "--domain", "127.0.0.1"][..], 0),
            ("others", &["--network", "HTTP", "--domain", "example.com", "--domain", "127.0.0.2"], denied),
            ("refused", &["--network", "Bridge"], denied),
            ("host", &["--network", "Host"], 0),
        ] {
            let before = server.asked().len();
            let name = format!("{kind}-{name}");
            let ended = cluster.wasm_run(&name, &[network, &[&file]].concat());
            assert_eq!((ended.state.as_str(), ended.exit_code()), ("Completed", code), "{ended:?}");
            assert_eq!(ended.stdout(), if code == 0 { "served" } else { "" });
            assert_eq!(server.asked().len() - before, usize::from(code == 0), "{name}");
        }
    }
    // Without a network there is no such module at all.
    let file = cluster.program("none.wasm", &asking(&server.url));
    let ended = cluster.wasm_run("none", &["--network", "None", &file]);
    ended.failed_with("unknown module \"wasi:http/requests\"");
    let ended = cluster.wasm_run("no-domain", &["--network", "HTTP", &file]);
    ended.failed_with("network type HTTP needs at least one domain");
}
