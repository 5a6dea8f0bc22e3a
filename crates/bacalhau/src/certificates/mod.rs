//! A certificate authority of one's own, and certificates of servers from it.

use crate::failure::fail;
use bacalhau_config::atomic;
use bacalhau_model::Error;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// How long an authority is good.
const AUTHORITY_DAYS: i64 = 3650;
/// Clocks of other machines may be behind.
const CLOCK_SLACK: Duration = Duration::hours(1);

/// The files of a folder.
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(crate) fn new(folder: PathBuf) -> Files {
        Files { folder }
    }

    /// The authority's certificate, which everybody needs.
    pub(crate) fn ca_cert(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The authority's key, which nobody else may have.
    fn ca_key(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    /// The server's certificate.
    pub(crate) fn server_cert(&self) -> PathBuf {
        self.folder.join("server.pem")
    }

    /// The server's key.
    pub(crate) fn server_key(&self) -> PathBuf {
        self.folder.join("server.key")
    }

    /// Makes an authority unless there is one, and a certificate for a server that is reached by these names and IP
    /// addresses, good for `days`. True: the authority is new.
    ///
    /// # Errors
    /// Files that cannot be read or written, and names that cannot stand in a certificate.
    pub(crate) fn make(&self, hosts: &[String], days: u32) -> Result<bool, Error> {
        let is_new = !self.ca_key().exists();
        if is_new && self.ca_cert().exists() {
            let text = format!("{} is there, but its key ca.key is not", self.ca_cert().display());
            return Err(fail(text).hint(
                "bring ca.key back for a new certificate, or move ca.pem away to make a new authority for all nodes",
            ));
        }
        let authority = if is_new { self.new_authority()? } else { self.authority()? };
        let mut params = CertificateParams::new(hosts).map_err(|e| {
            fail(format!("one of {} cannot stand in a certificate: {e}", hosts.join(", ")))
                .hint("--host takes host names and IP addresses")
        })?;
        params.distinguished_name.push(DnType::CommonName, hosts.first().map_or("bacalhau", String::as_str));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, i64::from(days));
        let key = new_key()?;
        let certificate = params.signed_by(&key, &authority).map_err(not_made)?;
        write(&self.server_key(), &key.serialize_pem())?;
        write(&self.server_cert(), &certificate.pem())?;
        Ok(is_new)
    }

    fn new_authority(&self) -> Result<Issuer<'static, KeyPair>, Error> {
        let key = new_key()?;
        let params = authority_params(&key);
        let certificate: Certificate = params.self_signed(&key).map_err(not_made)?;
        // The certificate first: a key without one would be taken for a whole authority.
        write(&self.ca_cert(), &certificate.pem())?;
        write(&self.ca_key(), &key.serialize_pem())?;
        Ok(Issuer::new(params, key))
    }

    fn authority(&self) -> Result<Issuer<'static, KeyPair>, Error> {
        let path = self.ca_key();
        let unusable = |e: &dyn Display| {
            fail(format!("the authority's key {} cannot be used: {e}", path.display()))
                .hint("restore it, or remove the folder to make a new authority for all nodes")
        };
        if !self.ca_cert().exists() {
            return Err(unusable(&"its certificate ca.pem is missing"));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| unusable(&e))?;
        let key = KeyPair::from_pem(&text).map_err(|e| unusable(&e))?;
        Ok(Issuer::new(authority_params(&key), key))
    }
}

/// All that certificates take from their authority follows from its key, so that the key is enough to go on.
fn authority_params(key: &KeyPair) -> CertificateParams {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key_raw());
    let mark: String = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("bacalhau authority {mark}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, AUTHORITY_DAYS);
    params
}

fn valid_for(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - CLOCK_SLACK;
    params.not_after = now + Duration::days(days);
}

fn new_key() -> Result<KeyPair, Error> {
    KeyPair::generate().map_err(not_made)
}

fn not_made(error: rcgen::Error) -> Error {
    fail(format!("the certificate cannot be made: {error}"))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    atomic::write(path, text).map_err(|e| fail(format!("cannot write {}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_authority_stays_and_files_are_their_owner_s_only() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path().join("tls"));
        let hosts = vec!["orchestrator.example".to_owned(), "10.0.0.1".to_owned()];
        assert!(files.make(&hosts, 90).unwrap());
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        let (authority, server) = (read(files.ca_cert()), read(files.server_cert()));
        assert!(!files.make(&hosts, 90).unwrap());
        assert_eq!(read(files.ca_cert()), authority);
        assert_ne!(read(files.server_cert()), server);
        for path in [files.ca_key(), files.server_key()] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(files.make(&["ä".to_owned()], 90).unwrap_err().message.contains('ä'));
        // An authority whose key is kept elsewhere is not replaced by another.
        let kept = dir.path().join("ca.key");
        std::fs::rename(files.ca_key(), &kept).unwrap();
        assert!(files.make(&hosts, 90).unwrap_err().message.contains("its key ca.key is not"));
        assert_eq!(read(files.ca_cert()), authority);
        std::fs::rename(kept, files.ca_key()).unwrap();
        assert!(!files.make(&hosts, 90).unwrap());
        std::fs::write(files.ca_key(), "broken").unwrap();
        assert!(files.make(&hosts, 90).unwrap_err().message.contains("ca.key"));
    }
}
