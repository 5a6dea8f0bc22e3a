//! What a job names as its image, for the Docker daemon. Pure.
//!
//! Beyond the names of registries a daemon knows IDs, and images that exist nowhere else: so it is told the job's own
//! words, unless a digest says more exactly what runs. What passes here is safe to put into a path of its API.

use super::errors::COMPONENT;
use bacalhau_images::{Digest, Reference, parse_reference, pinned};
use bacalhau_model::{Error, Job};

/// A checked name or ID of an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ImageName {
    /// As the user wrote it.
    text: String,
    /// `None` for an ID. A short one looks like a name, and the daemon tells the two apart.
    reference: Option<Reference>,
}

impl ImageName {
    /// Reads a name or an ID.
    ///
    /// # Errors
    /// `ImageInvalid`: it is neither.
    pub(super) fn parse(text: &str) -> Result<ImageName, Error> {
        let text = text.trim();
        let is_id = Digest::parse(text).is_some() || Digest::parse(&format!("sha256:{text}")).is_some();
        let reference = if is_id {
            None
        } else {
            Some(parse_reference(text).map_err(|error| error.component(COMPONENT))?)
        };
        Ok(ImageName { text: text.to_owned(), reference })
    }

    /// The image that an execution of `job` runs: the digest noted at submit says which one the tag stands for.
    pub(super) fn pinned(self, job: &Job) -> ImageName {
        ImageName { reference: self.reference.map(|reference| pinned(reference, job)), ..self }
    }

    /// As the user wrote it, for messages.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What to give to the daemon: of tag and digest only the digest, because it alone says what runs.
    pub(super) fn exact(&self) -> String {
        match self.reference.as_ref().and_then(|reference| Some((reference, reference.digest()?))) {
            Some((reference, digest)) => format!("{}@{digest}", full_name(reference)),
            None => self.text.clone(),
        }
    }

    /// Name and tag (or digest) for a pull; `None` for an ID, which no registry knows.
    pub(super) fn to_pull(&self) -> Option<(String, &str)> {
        let reference = self.reference.as_ref()?;
        let version = reference.digest().or(reference.tag()).unwrap_or("latest");
        Some((full_name(reference), version))
    }

    /// What registries are asked for; `None` for an ID.
    pub(super) fn reference(&self) -> Option<&Reference> {
        self.reference.as_ref()
    }
}

fn full_name(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacalhau_model::job::meta;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn read(text: &str) -> ImageName {
        ImageName::parse(text).unwrap()
    }

    #[test]
    fn the_daemon_is_told_the_jobs_own_words() {
        // A short ID, a name, an image that exists only here: the daemon knows.
        for text in ["0123456789ab", "ubuntu", "mine:dev", "127.0.0.1:5000/a/b:v1"] {
            assert_eq!(read(text).exact(), text);
        }
        assert_eq!(read("ubuntu").to_pull(), Some(("docker.io/library/ubuntu".to_owned(), "latest")));
        let own = read(" 127.0.0.1:5000/a/b:v1 ");
        assert_eq!(own.to_pull(), Some(("127.0.0.1:5000/a/b".to_owned(), "v1")));
        assert_eq!(own.text(), "127.0.0.1:5000/a/b:v1");
        let exact = read(&format!("localhost:5000/x:v1@{DIGEST}"));
        assert_eq!(exact.exact(), format!("localhost:5000/x@{DIGEST}"));
        assert_eq!(exact.to_pull(), Some(("localhost:5000/x".to_owned(), DIGEST)));
        assert_eq!(ImageName::parse("A b").unwrap_err().message, "invalid image format: \"A b\"");
    }

    #[test]
    fn ids_are_no_names() {
        for id in [DIGEST, &DIGEST.replace("sha256:", "")] {
            assert_eq!((read(id).exact().as_str(), read(id).to_pull()), (id, None));
            assert!(read(id).reference().is_none());
        }
    }

    #[test]
    fn the_digest_noted_at_submit_counts_unless_the_name_has_one() {
        let exact = |text: &str, noted: &str| {
            let job = Job { meta: [(meta::IMAGE_DIGEST.into(), noted.into())].into(), ..Job::default() };
            read(text).pinned(&job).exact()
        };
        let other = DIGEST.replace("01", "10");
        assert_eq!(exact("localhost:5000/x:v1", DIGEST), format!("localhost:5000/x@{DIGEST}"));
        assert_eq!(exact("x:v1", "sha256:short"), "x:v1");
        assert_eq!(exact(DIGEST, &other), DIGEST);
        assert_eq!(exact(&format!("x@{DIGEST}"), &other), format!("docker.io/library/x@{DIGEST}"));
        assert_eq!(read("x:v1").pinned(&Job::default()).exact(), "x:v1");
    }
}
