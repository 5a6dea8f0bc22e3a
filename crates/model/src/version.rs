//! Which build this is, and how versions compare.

use crate::node::BuildVersion;
use crate::time::Time;

/// The release of the original whose surface this program has; clients compare against it.
const COMPATIBLE: &str = "v1.9.3";

/// This build. Commit and date come from the build's environment when it sets them.
pub fn this_build() -> BuildVersion {
    BuildVersion {
        major: "1".to_owned(),
        minor: "9".to_owned(),
        git_version: COMPATIBLE.to_owned(),
        git_commit: option_env!("BACALHAU_GIT_COMMIT")
            .unwrap_or("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
            .to_owned(),
        build_date: option_env!("BACALHAU_BUILD_DATE")
            .and_then(|text| Time::parse(text).ok())
            .unwrap_or(Time::from_unix_nanos(0)),
        goos: goos(std::env::consts::OS).to_owned(),
        goarch: goarch(std::env::consts::ARCH).to_owned(),
    }
}

/// Go's word for an operating system.
fn goos(os: &str) -> &str {
    match os {
        "macos" => "darwin",
        other => other,
    }
}

/// Go's word for an architecture.
fn goarch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// A version for comparison: `1.9`, `v1.9.0`, `v1.9.0-rc1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SemVer {
    /// Major, minor, patch.
    pub numbers: (u64, u64, u64),
    /// Set for something that comes before the numbers' release.
    pub pre_release: bool,
}

impl SemVer {
    /// Reads a version leniently: a leading `v`, missing parts and build metadata are fine.
    pub fn parse(text: &str) -> Option<SemVer> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (numbers, pre_release) = match text.split_once('-') {
            Some((numbers, pre)) => (numbers, !pre.is_empty()),
            None => (text, false),
        };
        let mut parts = numbers.split('.').map(|part| part.parse::<u64>().ok());
        let major = parts.next()??;
        let minor = parts.next().unwrap_or(Some(0))?;
        let patch = parts.next().unwrap_or(Some(0))?;
        parts.next().is_none().then_some(SemVer { numbers: (major, minor, patch), pre_release })
    }

    /// True when it comes before the release of these numbers.
    pub fn is_before(&self, release: (u64, u64, u64)) -> bool {
        self.numbers < release || (self.numbers == release && self.pre_release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, before) in
            [("1.3.2", true), ("v1.4.0-rc1", true), ("1.4", false), ("v1.9.0", false), ("v10.0.0+x", false)]
        {
            assert_eq!(SemVer::parse(text).unwrap().is_before((1, 4, 0)), before, "{text}");
        }
        for text in ["", "foo", "1.x", "1.2.3.4", "v"] {
            assert_eq!(SemVer::parse(text), None, "{text}");
        }
        let build = this_build();
        assert_eq!(
            (build.major.as_str(), build.minor.as_str(), build.git_version.as_str()),
            ("1", "9", "v1.9.3")
        );
        assert_eq!(
            (goos("macos"), goos("linux"), goarch("x86_64"), goarch("aarch64")),
            ("darwin", "linux", "amd64", "arm64")
        );
    }
}
