//! `-i/--input`: `uri[:target]` or `src=uri,dst=target,opt=name=value`.
//!
//! Unlike Bacalhau 1.9 a port (`http://host:8080/file`) is not taken for a target and a query (`?a=1`) not for an
//! option.

use super::csv_fields;
use crate::args::go_bool;
use bacalhau_model::{InputSource, SpecConfig};
use serde_json::Value;

/// Where an input appears when nothing else is said.
const DEFAULT_TARGET: &str = "/inputs";

/// An input source; its alias is the URI.
pub(crate) fn parse_input(text: &str) -> Result<InputSource, String> {
    parse_with_target(text, DEFAULT_TARGET)
}

/// As [`parse_input`], with another default target.
pub(crate) fn parse_with_target(text: &str, default: &str) -> Result<InputSource, String> {
    let fields = csv_fields::parse(text, "storage")?;
    let (uri, mut target) = match fields.bare && fields.target.is_none() {
        true => split_target(&fields.uri),
        false => (fields.uri.as_str(), None),
    };
    if let Some(explicit) = fields.target.as_deref() {
        target = Some(explicit);
    }
    Ok(InputSource {
        source: source(uri, &fields.options)?,
        alias: uri.to_owned(),
        target: target.unwrap_or(default).to_owned(),
    })
}

/// True when the text starts with a scheme that inputs know.
pub(crate) fn has_scheme(text: &str) -> bool {
    let uri =
        text.split_once('=').filter(|(key, _)| matches!(*key, "src" | "source")).map_or(text, |(_, v)| v);
    ["ipfs://", "http://", "https://", "s3://", "file://", "git://", "gitlfs://"]
        .iter()
        .any(|scheme| uri.trim().to_ascii_lowercase().starts_with(scheme))
}

/// Splits at the last colon after the scheme, unless what follows is a port.
fn split_target(uri: &str) -> (&str, Option<&str>) {
    let start = uri.find("://").map_or(0, |at| at + 3);
    let after = uri.get(start..).unwrap_or_default();
    let Some((before, target)) = after.rsplit_once(':') else { return (uri, None) };
    let port_end = target.find(['/', '?', '#']).unwrap_or(target.len());
    let port = target.get(..port_end).unwrap_or_default();
    let is_port = !before.contains('/') && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if is_port || target.is_empty() {
        return (uri, None);
    }
    (uri.get(..start + before.len()).unwrap_or(uri), Some(target))
}

fn source(uri: &str, options: &[(String, String)]) -> Result<SpecConfig, String> {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return Err(format!(
            "unknown storage schema: {uri} (write file://, s3://, http://, https:// or ipfs:// in front)"
        ));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "ipfs" => {
            let cid = rest.split('/').next().unwrap_or_default();
            Ok(SpecConfig::new("ipfs").with("CID", cid))
        }
        "http" | "https" => Ok(SpecConfig::new("urlDownload").with("URL", uri)),
        "s3" => s3(rest, options),
        "file" => file(rest, options),
        "git" | "gitlfs" => Err(format!("unsupported type: {scheme}")),
        _ => Err(format!("unknown storage schema: {scheme}")),
    }
}

fn s3(rest: &str, options: &[(String, String)]) -> Result<SpecConfig, String> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let mut spec = SpecConfig::new("s3")
        .with("Bucket", bucket)
        .with("Key", key)
        .with("Filter", "")
        .with("Region", "")
        .with("Endpoint", "")
        .with("VersionID", "")
        .with("ChecksumSHA256", "");
    for (name, value) in options {
        let param = match name.to_ascii_lowercase().as_str() {
            "endpoint" => "Endpoint",
            "region" => "Region",
            "filter" => "Filter",
            "versionid" | "version-id" | "version_id" => "VersionID",
            "checksum-256" | "checksum256" | "checksum_256" => "ChecksumSHA256",
            _ => return Err(format!("unknown option {name:?} for storage s3")),
        };
        spec.params.insert(param.to_owned(), Value::String(value.clone()));
    }
    Ok(spec)
}

fn file(path: &str, options: &[(String, String)]) -> Result<SpecConfig, String> {
    let mut read_write = false;
    for (name, value) in options {
        match name.to_ascii_lowercase().as_str() {
            "rw" | "read-write" | "read_write" | "readwrite" => {
                read_write = go_bool(value).ok_or_else(|| {
                    format!("failed to parse {name} option: {value:?} is not true or false")
                })?;
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(SpecConfig::new("local").with("SourcePath", path).with("ReadWrite", read_write).with("CreateAs", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, String) {
        let input = parse_input(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let params = bacalhau_model::json::to_string(&input.source.params).unwrap();
        (input.source.r#type, params, input.target)
    }

    #[test]
    fn uris() {
        for (text, kind, params, target) in [
            ("ipfs://Qm1/x", "ipfs", r#"{"CID":"Qm1"}"#, "/inputs"),
            ("ipfs://Qm1:/data", "ipfs", r#"{"CID":"Qm1"}"#, "/data"),
            ("http://h/f", "urlDownload", r#"{"URL":"http://h/f"}"#, "/inputs"),
            ("http://h:8080/f", "urlDownload", r#"{"URL":"http://h:8080/f"}"#, "/inputs"),
            ("http://h:8080/f:/data/f", "urlDownload", r#"{"URL":"http://h:8080/f"}"#, "/data/f"),
            ("https://h/f?a=1", "urlDownload", r#"{"URL":"https://h/f?a=1"}"#, "/inputs"),
            ("src=https://h/f?a=1,dst=/data", "urlDownload", r#"{"URL":"https://h/f?a=1"}"#, "/data"),
            (
                "file:///data:/in,opt=rw=true",
                "local",
                r#"{"CreateAs":"","ReadWrite":true,"SourcePath":"/data"}"#,
                "/in",
            ),
            ("file://rel/p", "local", r#"{"CreateAs":"","ReadWrite":false,"SourcePath":"rel/p"}"#, "/inputs"),
            (
                "s3://b/k/*,dst=/in,opt=region=eu-west-1",
                "s3",
                r#"{"Bucket":"b","ChecksumSHA256":"","Endpoint":"","Filter":"","Key":"k/*","Region":"eu-west-1","VersionID":""}"#,
                "/in",
            ),
        ] {
            assert_eq!(parts(text), (kind.to_owned(), params.to_owned(), target.to_owned()), "{text}");
        }
        assert_eq!(parse_input("ipfs://Qm1:/d").unwrap().alias, "ipfs://Qm1");
    }

    #[test]
    fn refusals() {
        for (text, why) in [
            ("", "empty"),
            ("/data", "unknown storage schema"),
            ("ftp://x", "unknown storage schema: ftp"),
            ("git://x", "unsupported type: git"),
            ("s3://b/k,oops", "invalid storage option: oops"),
            ("s3://b/k,opt=foo=1", "unknown option \"foo\""),
            ("s3://b/k,foo=1", "unexpected key foo in field foo=1"),
            ("file://x,opt=rw=maybe", "maybe"),
        ] {
            let error = parse_input(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(has_scheme("s3://b") && has_scheme("src=http://x") && !has_scheme("main.wasm:/x"));
    }
}
