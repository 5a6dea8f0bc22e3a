//! The names in a certificate that can be names of users.

use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::subject::{self, Subject};

/// A name that may be a user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// As it is.
    Plain(String),
    /// The key of a subject, which users may have in another order; see [`Subject`].
    Subject(String),
}

/// E-mail addresses, DNS names, URIs, and then the subject, as the NATS server compares them: as it is in the
/// certificate, in any order, and in the form that Go writes. Empty for what is no certificate.
pub(crate) fn names(der: &[u8]) -> Vec<Name> {
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
    let places = alternative.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(place) => Some(place.to_string()),
        _ => None,
    });
    let text = content.subject.to_string();
    let parsed = Subject::parse(&text).map(Subject::reversed);
    let keys = parsed.iter().flat_map(|subject| [subject.in_order(), subject.in_any_order()]);
    let plain = mails.chain(hosts).chain(places).map(Name::Plain);
    let short = Name::Plain(subject::short_form(&text));
    let all = plain.chain(keys.map(Name::Subject)).chain([short]);
    all.filter(|name| *name != Name::Plain(String::new())).collect()
}
