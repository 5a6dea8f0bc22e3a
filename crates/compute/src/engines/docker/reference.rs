//! Names of images: `[registry/]path[:tag][@digest]` or the ID of an image. Pure.
//!
//! What passes here is safe to put into a path of Docker's API.

use super::errors::COMPONENT;
use bacalhau_model::Error;

/// The registry of names that name none, as it stands in an image's full name.
const DOCKER_HUB: &str = "docker.io";

/// Longest name without tag and digest, as Docker has it.
const MAX_NAME: usize = 255;

/// A checked name of an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Reference {
    /// As the user wrote it.
    text: String,
    /// Without tag and digest, as the user wrote it; for an ID the whole.
    name: String,
    tag: Option<String>,
    digest: Option<String>,
    is_id: bool,
}

impl Reference {
    /// Reads a name.
    ///
    /// # Errors
    /// `ImageInvalid`: it cannot be a name.
    pub(super) fn parse(text: &str) -> Result<Reference, Error> {
        Reference::split(text).ok_or_else(|| {
            Error::new("ImageInvalid", format!("invalid image format: {text:?}"))
                .component(COMPONENT)
                .detail("Image", text)
                .fails_execution()
                .hint("Write an image as [registry/]name[:tag] or [registry/]name@sha256:<digest>, in lower case")
        })
    }

    fn split(text: &str) -> Option<Reference> {
        if is_digest(text) {
            let (text, name) = (text.to_owned(), text.to_owned());
            return Some(Reference { text, name, tag: None, digest: None, is_id: true });
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon after the last slash begins the tag; one before it belongs to the registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let good = digest.is_none_or(is_digest) && tag.is_none_or(is_tag) && is_name(name);
        good.then(|| Reference {
            text: text.to_owned(),
            name: name.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
            is_id: false,
        })
    }

    /// The image of this digest, unless the name has one itself or is an ID. A text that is no digest changes nothing.
    pub(super) fn pinned(mut self, digest: Option<&str>) -> Reference {
        if !self.is_id && self.digest.is_none() {
            self.digest = digest.filter(|text| is_digest(text)).map(str::to_owned);
        }
        self
    }

    /// As the user wrote it, for messages.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What to give to the daemon: of tag and digest only the digest, because it alone says what runs.
    pub(super) fn exact(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("{}@{digest}", self.name),
            (None, Some(tag)) => format!("{}:{tag}", self.name),
            (None, None) => self.name.clone(),
        }
    }

    /// Name and tag (or digest) for a pull; `None` for an ID, which no registry knows.
    pub(super) fn to_pull(&self) -> Option<(&str, &str)> {
        let version = self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest");
        (!self.is_id).then_some((self.name.as_str(), version))
    }

    /// Host and port of the registry; `docker.io` when the name has none.
    pub(super) fn registry(&self) -> &str {
        registry_of(&self.name).unwrap_or(DOCKER_HUB)
    }

    /// True for names in Docker Hub's style, with fewer than two slashes and no registry of their own.
    pub(super) fn is_hub_style(&self) -> bool {
        !self.is_id && registry_of(&self.name).is_none() && self.name.matches('/').count() < 2
    }
}

/// The first part of a name is a registry when it looks like a host.
fn registry_of(name: &str) -> Option<&str> {
    let (first, _) = name.split_once('/')?;
    (first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()))
        .then_some(first)
}

fn is_name(name: &str) -> bool {
    let path = match registry_of(name) {
        Some(host) => {
            if !is_host(host) {
                return false;
            }
            name.get(host.len() + 1..).unwrap_or_default()
        }
        None => name,
    };
    name.len() <= MAX_NAME && path.split('/').all(is_component)
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && !name.split('.').any(str::is_empty)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Lower-case letters and digits with `.`, `_`, `__` or any number of `-` between them.
fn is_component(part: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends_plain = part.bytes().next().is_some_and(plain) && part.bytes().last().is_some_and(plain);
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends_plain
        && separators
            .filter(|between| !between.is_empty())
            .all(|between| matches!(between, "." | "_" | "__") || between.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn parts() {
        let read = |text: &str| Reference::parse(text).unwrap();
        let plain = read("ubuntu");
        assert_eq!((plain.exact().as_str(), plain.to_pull()), ("ubuntu", Some(("ubuntu", "latest"))));
        assert_eq!((plain.registry(), plain.is_hub_style()), ("docker.io", true));
        let own = read("127.0.0.1:5000/a/b:v1");
        assert_eq!((own.registry(), own.to_pull()), ("127.0.0.1:5000", Some(("127.0.0.1:5000/a/b", "v1"))));
        assert!(!own.is_hub_style() && !read("localhost/x").is_hub_style() && read("me/x").is_hub_style());
        let pinned = read(&format!("localhost:5000/x:v1@{DIGEST}"));
        assert_eq!(pinned.exact(), format!("localhost:5000/x@{DIGEST}"));
        assert_eq!(pinned.to_pull(), Some(("localhost:5000/x", DIGEST)));
        assert_eq!(read(DIGEST).to_pull(), None);
        assert_eq!(read(DIGEST).exact(), DIGEST);
    }

    #[test]
    fn the_digest_noted_at_submit_counts_unless_the_name_has_one() {
        let exact = |text: &str, noted: Option<&str>| Reference::parse(text).unwrap().pinned(noted).exact();
        let other = DIGEST.replace("01", "10");
        assert_eq!(exact("localhost:5000/x:v1", Some(DIGEST)), format!("localhost:5000/x@{DIGEST}"));
        assert_eq!(exact("x:v1", None), "x:v1");
        assert_eq!(exact("x:v1", Some("sha256:short")), "x:v1");
        assert_eq!(exact(DIGEST, Some(&other)), DIGEST);
        assert_eq!(exact(&format!("x@{DIGEST}"), Some(&other)), format!("x@{DIGEST}"));
    }

    #[test]
    fn what_is_no_name() {
        let cut = DIGEST.get(..50).unwrap();
        for text in [
            "",
            "a b",
            "A",
            "../x",
            "a//b",
            "a:",
            "a@",
            "a?x=1",
            "a@sha256:12",
            "-a",
            "a..b",
            "a:t/../b",
            "é",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
        assert!(Reference::parse(&format!("a@{cut}")).is_err());
        assert!(Reference::parse(&"a".repeat(256)).is_err());
        for text in ["x/a-b__c.d/e_f", "ghcr.io/x/y:V1.2-3", "a---b", "HOST/x"] {
            assert!(Reference::parse(text).is_ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_passes_leaves_the_path_of_a_request(text in "[a-zA-Z0-9./:@?#%&_ -]{0,40}") {
            if let Ok(found) = Reference::parse(&text) {
                prop_assert!(!found.exact().contains(['?', '#', '%', '&', ' ']));
                prop_assert!(!found.exact().split('/').any(|part| part == ".." || part == "." || part.is_empty()));
            }
        }
    }
}
