//! Certificates for tests: an authority, a server on loopback, a client.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Files of one test.
pub(crate) struct Certs {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Certs {
    /// An authority (`ca.pem`), and a certificate for `localhost` and 127.0.0.1 (`server.pem`, `server.key`).
    pub(crate) fn new() -> Certs {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let certs = Certs { dir: tempfile::tempdir().unwrap(), issuer: Issuer::new(params, key) };
        std::fs::write(certs.path("ca.pem"), ca.pem()).unwrap();
        let mut server = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        certs.issue("server", server);
        certs
    }

    /// A client's certificate (`<name>.pem`, `<name>.key`) with a common name and perhaps an e-mail address.
    pub(crate) fn client(&self, name: &str, mail: Option<&str>) {
        let mail = mail.into_iter().map(|mail| SanType::Rfc822Name(mail.try_into().unwrap()));
        self.client_with(name, &[(DnType::CommonName, name)], mail.collect());
    }

    /// The same with a whole subject and other names.
    pub(crate) fn client_with(&self, name: &str, subject: &[(DnType, &str)], names: Vec<SanType>) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(name, params);
    }

    fn issue(&self, name: &str, params: CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// What a client needs that trusts the authority, and shows the certificate of `name`, if any.
    pub(crate) fn client_config(&self, name: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = vec![CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap()];
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}
