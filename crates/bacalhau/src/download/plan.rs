//! Which results to fetch, from where, in which order, and under which names.

use bacalhau_model::{Execution, SpecConfig};
use std::collections::HashSet;

/// One result to download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where it is.
    pub(crate) url: String,
    /// Name of the downloaded file: the path of the URL with underscores for slashes.
    pub(crate) file: String,
}

/// Orders results by the partition of their execution, then by when it was created, so that merging always gives the
/// same files. Results that no execution explains come last, in the server's order.
///
/// # Errors
/// The results nobody here can download.
pub(crate) fn plan(results: &[SpecConfig], executions: &[Execution]) -> Result<Vec<Part>, Vec<SpecConfig>> {
    let unknown: Vec<SpecConfig> = results.iter().filter(|r| url(r).is_none()).cloned().collect();
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let mut ordered: Vec<(i64, i64, usize, String)> = results
        .iter()
        .enumerate()
        .filter_map(|(at, result)| url(result).map(|url| (at, result, url)))
        .map(|(at, result, url)| {
            let by = executions.iter().find(|e| e.published_result == *result || url.contains(&e.id));
            let (partition, created) =
                by.map_or((i64::MAX, i64::MAX), |e| (e.partition_index, e.create_time));
            (partition, created, at, url)
        })
        .collect();
    ordered.sort();
    let mut taken = HashSet::new();
    Ok(ordered
        .into_iter()
        .map(|(_, _, at, url)| {
            let mut file = file_name(&url);
            if !taken.insert(file.clone()) {
                file = format!("{at}_{file}");
                taken.insert(file.clone());
            }
            Part { url, file }
        })
        .collect())
}

/// The address of a result, for the types that are fetched over HTTP.
fn url(result: &SpecConfig) -> Option<String> {
    let key = match () {
        () if result.is_type("urlDownload") => "URL",
        () if result.is_type("s3PreSigned") => "PreSignedURL",
        () => return None,
    };
    let text = result.param(key)?.as_str()?;
    let scheme_is_known = text.starts_with("http://") || text.starts_with("https://");
    scheme_is_known.then(|| text.to_owned())
}

fn file_name(address: &str) -> String {
    let path = url::Url::parse(address).map(|u| u.path().to_owned()).unwrap_or_default();
    let name: String = path
        .trim_matches('/')
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .collect();
    match name.trim_start_matches('.') {
        "" => "result".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(id: &str) -> SpecConfig {
        SpecConfig::new("urlDownload").with("URL", format!("http://h:6001/{id}.tar.gz"))
    }

    #[test]
    fn partitions_come_in_order() {
        let execution = |id: &str, partition| Execution {
            id: id.to_owned(),
            partition_index: partition,
            ..Execution::default()
        };
        let executions = [execution("e-b", 1), execution("e-a", 2), execution("e-c", 0)];
        let parts = plan(&[local("e-a"), local("x"), local("e-b"), local("e-c")], &executions).unwrap();
        let files: Vec<_> = parts.iter().map(|p| p.file.as_str()).collect();
        assert_eq!(files, ["e-c.tar.gz", "e-b.tar.gz", "e-a.tar.gz", "x.tar.gz"]);
    }

    #[test]
    fn names_are_safe_and_distinct() {
        let get = |url: &str| SpecConfig::new("urldownload").with("URL", url);
        let parts =
            plan(&[get("http://a/x/../y.tgz?s=1"), get("http://b/y.tgz"), get("http://b/..%2f..")], &[])
                .unwrap();
        let files: Vec<_> = parts.iter().map(|p| p.file.as_str()).collect();
        assert_eq!(files, ["y.tgz", "1_y.tgz", "_2f.."]);
        let unknown = plan(&[SpecConfig::new("ipfs").with("CID", "Qm")], &[]).unwrap_err();
        assert_eq!(unknown.len(), 1);
        assert!(plan(&[get("file:///etc/passwd")], &[]).is_err());
    }
}
