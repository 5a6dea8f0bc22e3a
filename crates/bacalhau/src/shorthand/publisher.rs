//! `-p/--publisher`: `type`, `scheme://...`, with `opt=name=value`.

use super::csv_fields;
use bacalhau_model::SpecConfig;

/// Where results go.
pub(crate) fn parse_publisher(text: &str) -> Result<SpecConfig, String> {
    let fields = csv_fields::parse(text, "publisher")?;
    let (kind, rest) = fields.uri.split_once("://").unwrap_or((fields.uri.as_str(), ""));
    let kind = kind.to_ascii_lowercase();
    match kind.as_str() {
        "ipfs" | "local" | "s3managed" => Ok(SpecConfig::new(kind)),
        "s3" => {
            let mut spec = SpecConfig::new("s3");
            if !rest.is_empty() {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                spec = spec.with("bucket", bucket).with("key", key);
            }
            for (name, value) in fields.options {
                spec.params.insert(name, value.into());
            }
            Ok(spec)
        }
        _ => Err(format!("unknown publisher type: {kind} (there are local, s3, s3managed and ipfs)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers() {
        let show = |text| bacalhau_model::json::to_string(&parse_publisher(text).unwrap()).unwrap();
        assert_eq!(show("local"), r#"{"Type":"local"}"#);
        assert_eq!(show("ipfs://"), r#"{"Type":"ipfs"}"#);
        assert_eq!(
            show("s3://b/k/{jobID},opt=region=eu"),
            r#"{"Type":"s3","Params":{"bucket":"b","key":"k/{jobID}","region":"eu"}}"#
        );
        assert_eq!(show("s3,opt=bucket=b,opt=key=k"), r#"{"Type":"s3","Params":{"bucket":"b","key":"k"}}"#);
        assert!(parse_publisher("ftp").unwrap_err().contains("unknown publisher type: ftp"));
        assert!(parse_publisher("s3://b/k,what").unwrap_err().contains("invalid publisher option: what"));
    }
}
