//! Paths inside a task. Pure.

use bacalhau_model::Error;

/// Makes a path absolute and plain: `data/./a//b/../c` becomes `/data/a/c`; `..` never leads above `/`.
///
/// # Errors
/// An empty path or one with a NUL character.
pub fn normalise(path: &str) -> Result<String, Error> {
    if path.trim().is_empty() {
        return Err(super::invalid("a path inside the task cannot be empty"));
    }
    if path.contains('\0') {
        return Err(super::invalid(format!("path {path:?} contains a null character")));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::normalise;
    use proptest::prelude::*;

    #[test]
    fn plain_paths() {
        let cases = [
            ("main.wasm", "/main.wasm"),
            ("/a/b/", "/a/b"),
            ("/../../etc", "/etc"),
            ("data/./a//b/../c", "/data/a/c"),
            ("/", "/"),
            ("..", "/"),
        ];
        for (given, expected) in cases {
            assert_eq!(normalise(given).unwrap(), expected);
        }
        assert!(normalise(" ").is_err() && normalise("a\0b").is_err());
    }

    proptest! {
        #[test]
        fn always_absolute_and_stable(path in "[a./]{1,20}") {
            let once = normalise(&path).unwrap();
            prop_assert!(once.starts_with('/') && !once.contains("//"));
            prop_assert!(!once.split('/').any(|part| part == ".." || part == "."));
            prop_assert_eq!(normalise(&once).unwrap(), once);
        }
    }
}
