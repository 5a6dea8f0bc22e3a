//! Subjects of certificates (`CN=worker,O=Acme`) compared as the NATS server does: in any order, with types in any case
//! and escapes resolved. Pure.

/// Types of attributes that are compared. A subject with others has no key.
const TYPES: [&str; 10] = ["CN", "SERIALNUMBER", "OU", "O", "POSTALCODE", "STREET", "L", "ST", "C", "DC"];
/// Those that the short form has, in its order.
const SHORT: [&str; 9] = ["SERIALNUMBER", "CN", "OU", "O", "POSTALCODE", "STREET", "L", "ST", "C"];

/// A part of a subject: one attribute, or several that belong together (`+`), in a fixed order.
type Part = Vec<(String, String)>;

/// A subject, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject(Vec<Part>);

impl Subject {
    /// Reads the text of a subject (RFC 4514). `None`: it is none, or has what is not compared.
    pub(crate) fn parse(text: &str) -> Option<Subject> {
        let parts = split(text, ',').into_iter().map(part).collect::<Option<Vec<Part>>>()?;
        Some(Subject(parts))
    }

    /// The same in the opposite order: certificates begin with the country, their text ends with it.
    pub(crate) fn reversed(mut self) -> Subject {
        self.0.reverse();
        self
    }

    /// Two subjects are the same, in the same order, if this is.
    pub(crate) fn in_order(&self) -> String {
        // Quotes and what is between them are escaped, so that no value can look like another attribute.
        format!("{:?}", self.0)
    }

    /// Two subjects are the same, in whatever order, if this is.
    pub(crate) fn in_any_order(&self) -> String {
        let mut parts = self.0.clone();
        parts.sort_unstable();
        format!("any {parts:?}")
    }
}

/// The form in which Go writes the subject of a certificate: well-known attributes only, in an order of its own.
pub(crate) fn short_form(text: &str) -> String {
    let all: Vec<(String, String)> =
        split(text, ',').into_iter().flat_map(|part| split(part, '+')).filter_map(attribute).collect();
    let of_type = |kind: &&str| {
        let values = all.iter().filter(|(found, _)| found == kind);
        let values: Vec<String> = values.map(|(kind, value)| format!("{kind}={}", escaped(value))).collect();
        (!values.is_empty()).then(|| values.join("+"))
    };
    SHORT.iter().filter_map(of_type).collect::<Vec<_>>().join(",")
}

fn part(text: &str) -> Option<Part> {
    let mut attributes = split(text, '+').into_iter().map(attribute).collect::<Option<Part>>()?;
    attributes.sort_unstable();
    Some(attributes)
}

fn attribute(text: &str) -> Option<(String, String)> {
    let (kind, value) = text.split_once('=')?;
    let kind = kind.trim().to_ascii_uppercase();
    let value = unescaped(value.trim_start())?;
    TYPES.contains(&kind.as_str()).then_some((kind, value))
}

/// Cuts at a separator that is not escaped.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut pieces, mut from, mut is_escaped) = (Vec::new(), 0, false);
    for (at, letter) in text.char_indices() {
        if letter == separator && !is_escaped {
            pieces.push(text.get(from..at).unwrap_or_default());
            from = at + letter.len_utf8();
        }
        is_escaped = letter == '\\' && !is_escaped;
    }
    pieces.push(text.get(from..).unwrap_or_default());
    pieces
}

/// Resolves `\,` and `\2c`, and leaves out blanks at the end. `None`: damaged, or a value in hexadecimal.
fn unescaped(text: &str) -> Option<String> {
    if text.starts_with('#') {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let (mut rest, mut end) = (text, 0);
    while let Some(letter) = rest.chars().next() {
        rest = rest.get(letter.len_utf8()..)?;
        if letter != '\\' {
            bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            end = if letter == ' ' { end } else { bytes.len() };
            continue;
        }
        match rest.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if rest.starts_with(|c: char| c.is_ascii_hexdigit()) => {
                bytes.push(byte);
                rest = rest.get(2..)?;
            }
            _ => {
                let letter = rest.chars().next()?;
                bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(letter.len_utf8()..)?;
            }
        }
        end = bytes.len();
    }
    bytes.truncate(end);
    String::from_utf8(bytes).ok()
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (at, letter) in value.chars().enumerate() {
        let special = match letter {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == last,
            '#' => at == 0,
            _ => false,
        };
        if special {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        let key = |text| Subject::parse(text).map(|subject| subject.in_any_order());
        key(one).is_some() && key(one) == key(other)
    }

    #[test]
    fn order_case_of_types_blanks_and_escapes_do_not_matter() {
        let usual = "CN=w,OU=a+OU=b,O=Acme\\, Inc,C=US,DC=x";
        for other in [
            "DC=x,C=US,O=Acme\\, Inc,OU=a+OU=b,CN=w",
            "cn=w, ou=b+ou=a , o=Acme\\2c Inc, c=US, dc=x",
            "CN=w,OU=b+OU=a,O=Acme\\,\\20Inc,C=US,DC=x",
        ] {
            assert!(same(usual, other), "{other}");
        }
        for other in [
            "CN=w,OU=a,OU=b,O=Acme\\, Inc,C=US,DC=x",
            "CN=W,OU=a+OU=b,O=Acme\\, Inc,C=US,DC=x",
            "CN=w,OU=a+OU=b,O=Acme\\, Inc,C=US",
            "CN=w,OU=a+OU=b,O=Acme\\, Inc,C=US,DC=x,DC=x",
            "CN=w,OU=a+OU=b,O=Acme, Inc,C=US,DC=x",
        ] {
            assert!(!same(usual, other), "{other}");
        }
        let subject = |text| Subject::parse(text).unwrap();
        assert_eq!(subject("CN=a,C=b").reversed().in_order(), subject("C=b,CN=a").in_order());
        assert_ne!(subject("CN=a,C=b").in_order(), subject("C=b,CN=a").in_order());
    }

    #[test]
    fn what_is_no_subject_has_no_key() {
        for text in ["", "name", "a@b", "CN", "X=1", "CN=a,", "CN=#0c0161", "CN=a,1.2.3=b", "CN=a\\"] {
            assert_eq!(Subject::parse(text), None, "{text}");
        }
        // A value cannot pretend to be another attribute.
        assert!(!same("CN=a\\,O=b", "CN=a,O=b"));
        assert!(!same("CN=a\"), (\"O\\, b", "CN=a,O=b"));
    }

    #[test]
    fn the_short_form_leaves_out_what_is_not_well_known() {
        let text = "emailAddress=a@b.c,SERIALNUMBER=42,DC=x,CN=a\\+b,OU=u+OU=v,C=US,ST=CA";
        assert_eq!(short_form(text), "SERIALNUMBER=42,CN=a\\+b,OU=u+OU=v,ST=CA,C=US");
        assert_eq!(short_form("no subject"), "");
    }
}
