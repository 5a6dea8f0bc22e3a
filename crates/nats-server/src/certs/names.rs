//! The names in a certificate that can be names of users.

use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// E-mail addresses, DNS names, and then the subject as `CN=...,O=...` with the most specific part first, as the NATS
/// server compares them. Empty for what is no certificate.
pub(crate) fn names(der: &[u8]) -> Vec<String> {
    let Ok(certificate) = Certificate::from_der(der) else { return Vec::new() };
    let content = &certificate.tbs_certificate;
    let alternative = content.get::<SubjectAltName>().ok().flatten().map(|(_, names)| names.0);
    let alternative = alternative.unwrap_or_default();
    let mails = alternative.iter().filter_map(|name| match name {
        GeneralName::Rfc822Name(mail) => Some(mail.to_string()),
        _ => None,
    });
    let hosts = alternative.iter().filter_map(|name| match name {
        GeneralName::DnsName(host) => Some(host.to_string()),
        _ => None,
    });
    let subject = content.subject.to_string();
    mails.chain(hosts).chain(Some(subject)).filter(|name| !name.is_empty()).collect()
}
