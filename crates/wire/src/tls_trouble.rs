//! Why encryption with an orchestrator failed, in words for the operator of a node. Pure.

use rustls::{CertificateError, Error};

/// What went wrong and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsTrouble {
    pub(crate) what: &'static str,
    pub(crate) hint: &'static str,
}

/// Finds the failure of TLS among the causes of an error.
pub(crate) fn find(error: &(dyn std::error::Error + 'static)) -> Option<TlsTrouble> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inner = wrapped.and_then(|inner| inner.downcast_ref::<Error>());
        if let Some(found) = inner.or_else(|| error.downcast_ref::<Error>()) {
            return explain(found);
        }
        cause = error.source();
    }
    None
}

fn explain(error: &Error) -> Option<TlsTrouble> {
    let (what, hint) = match error {
        Error::InvalidMessage(_) => (
            "it answers without TLS",
            "switch TLS on there (`bacalhau tls create`), or unset Compute.TLS.RequireTLS on this node",
        ),
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => (
            "its certificate comes from an authority that this node does not trust",
            "set Compute.TLS.CACert to a copy of the orchestrator's ca.pem, which `bacalhau tls create` made",
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => (
            "its certificate is for other names than this one",
            "use a name of the certificate in Compute.Orchestrators, or make a certificate with this one on the \
             orchestrator: bacalhau tls create --host <name>",
        ),
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => (
            "its certificate has expired",
            "make a new one on the orchestrator (`bacalhau tls create`) and send it SIGHUP",
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => ("its certificate is not valid yet", "compare the clocks of this node and of the orchestrator"),
        _ => return None,
    };
    Some(TlsTrouble { what, hint })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_inside_of_others() {
        let error = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert!(find(&error()).unwrap().hint.contains("Compute.TLS.CACert"));
        let wrapped = std::io::Error::new(std::io::ErrorKind::InvalidData, error());
        assert!(find(&wrapped).is_some());
        assert_eq!(find(&std::io::Error::other("nothing of the kind")), None);
        assert_eq!(find(&Error::HandshakeNotComplete), None);
    }
}
