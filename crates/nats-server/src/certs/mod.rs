//! Certificates: read from files, turned into what the TLS library takes, and into names of users.

mod names;
pub(crate) mod subject;

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::error::Error;
use crate::options::TlsOptions;

pub(crate) use names::{Name, names};

/// Reads the files of a listener's options. `option` is its name in errors.
///
/// # Errors
/// [`Error::Option`] with the file and what is wrong with it. Keys are never shown.
pub(crate) fn server_config(option: &'static str, options: &TlsOptions) -> Result<Arc<ServerConfig>, Error> {
    let wrong = |problem: String| Error::Option { option, problem };
    let chain = certificates(&options.cert_file).map_err(wrong)?;
    let key = PrivateKeyDer::from_pem_file(&options.key_file).map_err(|error| {
        wrong(format!("no private key can be read from {}: {error}", show(&options.key_file)))
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(format!("no TLS version can be used: {error}")))?;
    let builder = if options.verify || options.verify_and_map {
        let Some(file) = &options.ca_file else {
            return Err(wrong(
                "clients cannot be verified without ca_file, the certificates of their issuers".to_owned(),
            ));
        };
        let roots = roots(file).map_err(wrong)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier =
            verifier.map_err(|error| wrong(format!("{} cannot verify clients: {error}", show(file))))?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(chain, key).map_err(|error| {
        let (cert, key) = (show(&options.cert_file), show(&options.key_file));
        let error = error.to_string();
        wrong(match error.contains("UnsupportedCertVersion") {
            true => format!("certificate {cert} is of X.509 version 1; make one of version 3, as `openssl x509 -req` does with -extfile"),
            false => format!("certificate {cert} and key {key} do not go together: {error}"),
        })
    })?;
    Ok(Arc::new(config))
}

fn roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| format!("a certificate of {} cannot be trusted: {error}", show(file)))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", show(file));
    let all: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))?.collect();
    let all = all.map_err(|error| unreadable(&error))?;
    if all.is_empty() {
        return Err(format!("{} holds no certificate in PEM form", show(file)));
    }
    Ok(all)
}

fn show(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
