//! WebAssembly programs as users run them: what they get, what they leave, how they end.

use crate::fake::Fake;
use crate::test_registry::TestRegistry;
use crate::wasm_guests::c_programs::compiled;
use crate::wasm_guests::components::componentised;
use crate::wasm_guests::{cluster, talking};

/// Adds up the two columns of a table given as its first argument.
const TABLE: &str = r#"
  #include <stdio.h>
  #include <stdlib.h>
  int main(int argc, char **argv) {
    FILE *in = fopen(argv[1], "r"), *out = fopen("/outputs/sums.csv", "w");
    if (!in || !out) { perror(argv[1]); return 3; }
    char line[256]; int rows = 0; long a, b;
    fgets(line, sizeof line, in);
    while (fgets(line, sizeof line, in))
      if (sscanf(line, "%ld,%ld", &a, &b) == 2) { fprintf(out, "%ld\n", a + b); rows++; }
    if (fclose(out)) return 4;
    printf("%s: %d rows\n", getenv("GREETING"), rows);
    fprintf(stderr, "%d arguments, %s\n", argc - 1, argv[2]);
    return 0;
  }"#;

#[test]
fn a_program_in_c_from_its_input_to_its_result() {
    let Some(module) = compiled(TABLE) else { return };
    let data = Fake::start(|_| (200, b"a,b\n1,2\n30,40\n-5,5\n".to_vec()));
    let cluster = cluster(&[]);
    for (name, program) in [("module", module.clone()), ("component", componentised(&module))] {
        let file = cluster.program(&format!("{name}.wasm"), &program);
        let input = format!("{}/data.csv:/inputs", data.url);
        let what = ["-e", "GREETING=done", "-i", &input, "-o", "outputs:/outputs", "-p", "local"];
        let ended =
            cluster.wasm_run(name, &[&what[..], &[&file, "--", "/inputs/data.csv", "two words"]].concat());
        assert_eq!((ended.state.as_str(), ended.exit_code()), ("Completed", 0), "{ended:?}");
        assert_eq!(cluster.ok(&["job", "logs", name]), "done: 3 rows\n");
        let logs = cluster.cli(&["job", "logs", name]);
        assert_eq!(String::from_utf8_lossy(&logs.stderr), "2 arguments, two words\n");

        let out = cluster.root.path().join(format!("{name}-results"));
        std::fs::create_dir(&out).unwrap();
        cluster.ok(&["job", "get", name, "--output-dir", out.to_str().unwrap()]);
        let read = |file: &str| std::fs::read_to_string(out.join(file)).unwrap();
        assert_eq!(read("outputs/sums.csv"), "3\n70\n0\n");
        assert_eq!(read("stdout"), "done: 3 rows\n");
        assert_eq!(read("stderr"), "2 arguments, two words\n");
        assert_eq!(read("exitCode").trim(), "0");
    }
}

#[test]
fn endings() {
    let cluster = cluster(&[]);
    let broken = talking(r#"(func $deep (unreachable)) (func $main (call $deep))"#);
    let exits = |code: i64| talking(&format!("(func $main (call $exit (i32.const {code})))"));
    for (name, program, code) in [
        ("returns", talking("(func $main)"), 0),
        ("exits-3", exits(3), 3),
        ("exits-255", exits(255), 255),
        // An adapter as old as this one knows success and failure only.
        ("component-exits", componentised(&exits(3)), 1),
    ] {
        let ended = cluster.wasm_run(name, &[&cluster.program(name, &program)]);
        assert_eq!((ended.state.as_str(), ended.exit_code()), ("Completed", code), "{ended:?}");
        assert_eq!(ended.stdout(), "out\n");
        let logs = cluster.cli(&["job", "logs", name]);
        let streams = [String::from_utf8_lossy(&logs.stdout), String::from_utf8_lossy(&logs.stderr)];
        assert_eq!(streams, ["out\n", "err\n"], "{name}");
    }
    // Broken programs say where; what they printed stays.
    for (name, program) in [("traps", broken.clone()), ("component-traps", componentised(&broken))] {
        let ended = cluster.wasm_run(name, &[&cluster.program(name, &program)]);
        ended.failed_with("unreachable");
        ended.failed_with("deep < main");
        assert_eq!(cluster.ok(&["job", "logs", name]), "out\n");
    }
    // Programs that are none, or do not have what is asked for.
    let text = cluster.program("text.wasm", b"print('hello')");
    let refused = cluster.cli(&["wasm", "run", "--name", "text", &text]);
    let printed = String::from_utf8_lossy(&refused.stderr);
    assert!(printed.contains("text.wasm\" is not a WebAssembly program"), "{printed}");
    let ended = cluster.wasm_run("broken", &[&cluster.program("broken.wasm", b"\0asm\x01\0\0\0hello")]);
    ended.failed_with("failed to load module");
    let program = cluster.program("no-such-entry.wasm", &talking("(func $main)"));
    let ended = cluster.wasm_run("no-such-entry", &["--entry-point", "begin", &program]);
    ended.failed_with("unable to find the entrypoint 'begin'");
}

#[test]
fn modules_that_import_modules() {
    let cluster = cluster(&[]);
    let library = wat::parse_str(
        r#"(module $maths (func (export "double") (param i32) (result i32)
            (i32.mul (local.get 0) (i32.const 2))))"#,
    );
    let library = format!("{}:/lib/maths.wasm", cluster.program("library.wasm", &library.unwrap()));
    let main = wat::parse_str(
        r#"(module
            (import "maths" "double" (func $double (param i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (call $double (i32.const 21)))))"#,
    );
    let main = cluster.program("main.wasm", &main.unwrap());
    let ended = cluster.wasm_run("linked", &["--import-modules", &library, &main]);
    assert_eq!((ended.state.as_str(), ended.exit_code()), ("Completed", 42), "{ended:?}");
    cluster.wasm_run("alone", &[&main]).failed_with("unknown module \"maths\"");
    let component = cluster.program("component.wasm", &componentised(&talking("(func $main)")));
    let ended = cluster.wasm_run("mixed", &["--import-modules", &library, &component]);
    ended.failed_with("ImportModules is for modules");
}

#[test]
fn a_module_from_a_registry() {
    let Some(registry) = TestRegistry::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let push = |name: &str, module: &[u8]| runtime.block_on(push(&registry, name, module));
    let says = |code: u32| talking(&format!("(func $main (call $exit (i32.const {code})))"));
    let first = push("tools/says:1", &says(7));
    let cluster = cluster(&[]);
    let name = format!("oci://{}", registry.name("tools/says:1"));
    let ended = cluster.wasm_run("pulled", &[&name]);
    assert_eq!((ended.stdout(), ended.exit_code()), ("out\n", 7), "{ended:?}");
    let described = cluster.json(&["job", "describe", "pulled"]);
    assert_eq!(described["Job"]["Meta"]["bacalhau.org/image-digest"], first);
    // Nobody has it: said before it runs anywhere.
    let missing = format!("oci://{}", registry.name("tools/none:1"));
    let refused = cluster.cli(&["wasm", "run", "--name", "missing", &missing]);
    let printed =
        String::from_utf8_lossy(&refused.stdout).into_owned() + &String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && printed.contains("tools/none"), "{printed}");
}

/// Pushes a module as `wkg` and others do; gives the digest of its manifest.
async fn push(registry: &TestRegistry, name: &str, module: &[u8]) -> String {
    let config = r#"{"architecture":"wasm","os":"wasip1"}"#;
    let config_digest = registry.push_blob(name, config.as_bytes()).await;
    let layer = registry.push_blob(name, module).await;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type,
        "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": config_digest, "size": config.len()},
        "layers": [{"mediaType": "application/wasm", "digest": layer, "size": module.len()}],
    });
    registry.push_manifest(name, media_type, &manifest.to_string()).await
}

#[test]
fn a_node_tells_the_version_of_its_runtime() {
    let cluster = cluster(&[]);
    let info = &cluster.json(&["node", "describe", "node-0"])["Info"]["ComputeNodeInfo"];
    let version = info["EngineVersions"]["wasm"].as_str().unwrap();
    assert!(version.starts_with("Wasmtime ") && version.split('.').count() == 3, "{version}");
}
