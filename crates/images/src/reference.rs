//! Names of images as Docker reads them: `busybox` is `docker.io/library/busybox:latest`. Pure.

use crate::error;
use bacalhau_model::Error;
use oci_client::Reference;

/// Longest name worth parsing: a registry, a repository of 255 characters, a tag of 128 and a digest.
const LONGEST: usize = 1024;

/// Reads the name of an image.
///
/// # Errors
/// It cannot be one (code `ImageInvalid`).
pub fn parse(name: &str) -> Result<Reference, Error> {
    let name = name.trim();
    if name.len() > LONGEST {
        return Err(error::invalid_name(name.get(..64).unwrap_or(""), "it is too long"));
    }
    if name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(error::invalid_name(name, "64 hexadecimal digits are an ID, not a name"));
    }
    let reference: Reference = name.parse().map_err(|reason| error::invalid_name(name, reason))?;
    if let Some(digest) = reference.digest()
        && crate::Digest::parse(digest).is_none()
    {
        return Err(error::invalid_name(name, "its digest is not sha256 in lower case"));
    }
    Ok(with_host_in_capitals(reference))
}

/// To Docker a first part in capitals is a host, because names have none.
fn with_host_in_capitals(reference: Reference) -> Reference {
    let Some((host, repository)) = reference.repository().split_once('/') else { return reference };
    if !host.bytes().any(|b| b.is_ascii_uppercase()) {
        return reference;
    }
    let (host, repository) = (host.to_owned(), repository.to_owned());
    match (reference.tag().map(str::to_owned), reference.digest().map(str::to_owned)) {
        (Some(tag), Some(digest)) => Reference::with_tag_and_digest(host, repository, tag, digest),
        (Some(tag), None) => Reference::with_tag(host, repository, tag),
        (None, Some(digest)) => Reference::with_digest(host, repository, digest),
        (None, None) => reference,
    }
}

/// Host and port of the registry.
pub(crate) fn host(reference: &Reference) -> &str {
    match reference.registry() {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        registry => registry,
    }
}

/// True for images of Docker Hub.
pub(crate) fn is_docker_hub(reference: &Reference) -> bool {
    host(reference) == "registry-1.docker.io"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn like_docker() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = format!("busybox:1@{digest}");
        let cases = [
            ("busybox", "docker.io/library/busybox:latest"),
            (" busybox:1.36 ", "docker.io/library/busybox:1.36"),
            ("user/image", "docker.io/user/image:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("localhost/a", "localhost/a:latest"),
            ("ghcr.io/a/b/c", "ghcr.io/a/b/c:latest"),
            ("HOST/a", "HOST/a:latest"),
            ("x/a-b__c.d/e_f", "docker.io/x/a-b__c.d/e_f:latest"),
            ("ghcr.io/x/y:V1.2-3", "ghcr.io/x/y:V1.2-3"),
            ("a---b", "docker.io/library/a---b:latest"),
            (&pinned, &format!("docker.io/library/busybox:1@{digest}")),
        ];
        for (given, expected) in cases {
            assert_eq!(parse(given).unwrap().to_string(), expected);
        }
        assert_eq!(parse("HOST/a").unwrap().registry(), "HOST");
        assert!(is_docker_hub(&parse("a").unwrap()) && !is_docker_hub(&parse("localhost:5000/a").unwrap()));
    }

    #[test]
    fn wrong_names() {
        let long = "a".repeat(5000);
        let id = "0".repeat(64);
        let upper = format!("a@sha256:{}", "A".repeat(64));
        let texts = [
            "",
            "Busybox",
            "a b",
            "a:",
            "a@",
            "a?x=1",
            "a@sha256:12",
            "../a",
            "a//b",
            "-a",
            "a..b",
            "a:t/../b",
            "é",
        ];
        for name in texts.into_iter().chain([long.as_str(), &id, &upper]) {
            let error = parse(name).unwrap_err();
            assert!(
                error.code == "ImageInvalid" && error.message.starts_with("invalid image format: \""),
                "{name}"
            );
            assert!(!error.details["Reason"].is_empty() && !error.retryable);
        }
    }

    proptest! {
        /// They go into the paths of requests.
        #[test]
        fn nothing_that_passes_leaves_the_path_of_a_request(text in "[a-zA-Z0-9./:@?#%&_ -]{0,40}") {
            if let Ok(found) = parse(&text) {
                let found = found.to_string();
                prop_assert!(!found.contains(['?', '#', '%', '&', ' ']));
                prop_assert!(!found.split('/').any(|part| part == ".." || part == "." || part.is_empty()));
            }
        }
    }
}
