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
    Ok(reference)
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
            (&pinned, &format!("docker.io/library/busybox:1@{digest}")),
        ];
        for (given, expected) in cases {
            assert_eq!(parse(given).unwrap().to_string(), expected);
        }
        assert!(is_docker_hub(&parse("a").unwrap()) && !is_docker_hub(&parse("localhost:5000/a").unwrap()));
    }

    #[test]
    fn wrong_names() {
        let long = "a".repeat(5000);
        let id = "0".repeat(64);
        let upper = format!("a@sha256:{}", "A".repeat(64));
        for name in ["", "Busybox", "a b", "a:", "a@sha256:12", "../a", "a//b", &long, &id, &upper] {
            let error = parse(name).unwrap_err();
            assert!(
                error.code == "ImageInvalid" && error.message.starts_with("invalid image format"),
                "{name}"
            );
        }
    }
}
