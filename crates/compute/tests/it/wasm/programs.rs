//! Real programs: C for wasi-libc, as modules and as components of the same source.

use super::c_programs::compiled;
use super::{componentised, program};
use crate::support::{Case, Node, inline};

/// Jobs for a program as a module and as a component.
fn both(source: &str) -> Vec<Case> {
    compiled(source).map_or(Vec::new(), |module| vec![program(&module), program(&componentised(&module))])
}

#[tokio::test]
async fn a_table_is_transformed() {
    // Adds the first two columns of every row, and counts the rows.
    let source = r#"
      #include <stdio.h>
      #include <stdlib.h>
      int main(int argc, char **argv) {
        FILE *in = fopen(argv[1], "r"), *out = fopen("/outputs/sums.csv", "w");
        if (!in || !out) { perror("open"); return 3; }
        char line[256]; int rows = 0; long a, b;
        fgets(line, sizeof line, in);
        fprintf(out, "sum\n");
        while (fgets(line, sizeof line, in))
          if (sscanf(line, "%ld,%ld", &a, &b) == 2) { fprintf(out, "%ld\n", a + b); rows++; }
        if (fclose(out)) return 4;
        printf("%s: %d rows\n", getenv("GREETING"), rows);
        return rows;
      }"#;
    let node = Node::new().await;
    for case in both(source) {
        let case = case
            .input(inline(b"a,b\n1,2\n30,40\n-5,5\n", "/inputs/data.csv"))
            .param("Parameters", vec!["/inputs/data.csv"])
            .env("GREETING", "done")
            .result("outputs", "/outputs")
            .publisher("local");
        let finished = node.run(case.execution()).await.unwrap();
        assert_eq!(finished.run_output.stdout, "done: 3 rows\n", "{}", finished.run_output.stderr);
        assert!([3, 1].contains(&finished.run_output.exit_code));
        let url = finished.published_result.params["URL"].as_str().unwrap().to_owned();
        // Fails when another test has installed it already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let archive = reqwest::get(url).await.unwrap().bytes().await.unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&archive[..]));
        let sums = archive.entries().unwrap().map(Result::unwrap).find_map(|mut entry| {
            let is_it = entry.path().unwrap().ends_with("outputs/sums.csv");
            let mut text = String::new();
            is_it.then(|| std::io::Read::read_to_string(&mut entry, &mut text).unwrap()).map(|_| text)
        });
        assert_eq!(sums.as_deref(), Some("sum\n3\n70\n0\n"));
    }
}

#[tokio::test]
async fn lines_of_both_streams_are_logged() {
    let source = r#"
      #include <stdio.h>
      #include <time.h>
      int main(void) {
        for (int i = 0; i < 5; i++) {
          printf("out %d\n", i);
          fprintf(stderr, "err %d\n", i);
          struct timespec wait = {0, 1000000};
          nanosleep(&wait, 0);
        }
        return 0;
      }"#;
    let node = Node::new().await;
    for case in both(source) {
        let output = node.run(case.execution()).await.unwrap().run_output;
        let expected = |word: &str| (0..5).map(|i| format!("{word} {i}\n")).collect::<String>();
        assert_eq!((output.stdout, output.stderr), (expected("out"), expected("err")));
    }
}

#[tokio::test]
async fn one_that_takes_all_memory_is_told_so() {
    let source = r#"
      #include <stdlib.h>
      #include <string.h>
      int main(void) { for (;;) { char *volatile p = malloc(1 << 20); if (!p) abort(); memset(p, 1, 1 << 20); } }"#;
    let node = Node::new().await;
    for case in both(source) {
        let failure = node.run(case.memory(32 << 20).execution()).await.unwrap_err();
        assert!(failure.error.message.starts_with("memory limit exceeded"), "{failure}");
    }
}
