//! `tls`: certificates for encrypted connections, without an authority of others.

use crate::certificates::Files;
use crate::context::Context;
use crate::failure::Outcome;
use crate::serve::addresses;
use bacalhau_config::edit::Assignment;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Commands of `tls`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Make a certificate authority and the orchestrator's certificate, and switch TLS on
    #[command(after_help = "Examples:\n  \
        bacalhau tls create                                   for this machine's name and addresses\n  \
        bacalhau tls create --host bacalhau.example.org       and for another name\n\n\
        Run it again for a new certificate from the same authority; the orchestrator takes it on SIGHUP.")]
    Create(CreateArgs),
}

/// Flags of `tls create`.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// A name or IP address that nodes use for the orchestrator, beside those of this machine; may be repeated
    #[arg(long, value_name = "NAME|IP", value_parser = host)]
    host: Vec<String>,
    /// Days that the certificate is good
    #[arg(long, value_name = "N", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

/// What a certificate can be for: a name or an address, without the port that it is used with.
fn host(text: &str) -> Result<String, String> {
    let plain = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let is_name = !plain.is_empty() && !plain.contains([':', '/', ' ', '@', '[', ']']);
    match is_name || plain.parse::<IpAddr>().is_ok() {
        true => Ok(plain.to_owned()),
        false => Err("give a host name or an IP address, without scheme and port".to_owned()),
    }
}

/// Runs a command.
pub(crate) fn run(context: &Context, verb: Verb) -> Outcome {
    let Verb::Create(args) = verb;
    let files = Files::new(context.settings()?.data_dir().join("tls"));
    let own = addresses::own().into_iter().map(|ip| ip.to_string());
    let known = [addresses::hostname(), "localhost".to_owned(), "::1".to_owned()];
    // In a fixed order and each once, the given ones first.
    let mut seen = BTreeSet::new();
    let hosts: Vec<String> =
        args.host.into_iter().chain(known).chain(own).filter(|host| seen.insert(host.clone())).collect();
    let is_new = files.make(&hosts, args.days)?;
    let config = super::config::target(context)?;
    for (key, path) in [
        ("Orchestrator.TLS.ServerCert", files.server_cert()),
        ("Orchestrator.TLS.ServerKey", files.server_key()),
    ] {
        Assignment::parse(&[format!("{key}={}", path.display())])?.write(&config)?;
    }
    let authority = if is_new { "Made a certificate authority" } else { "Used the certificate authority" };
    context.out.line(&format!(
        "{authority}: {}\nMade a certificate for {}: {}\nWrote Orchestrator.TLS.ServerCert and ServerKey to {}\n\n\
         On each compute node, with a copy of ca.pem:\n  \
         bacalhau config set Compute.TLS.CACert=<path of ca.pem>\n  \
         bacalhau config set Compute.TLS.RequireTLS=true\n\n\
         Keep ca.key in that folder secret: who has it can pretend to be your orchestrator.",
        files.ca_cert().display(),
        hosts.join(", "),
        files.server_cert().display(),
        config.display(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses() {
        for (text, is) in
            [("a.example", "a.example"), ("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("[::1]", "::1")]
        {
            assert_eq!(host(text).as_deref(), Ok(is));
        }
        for text in ["", "a:4222", "http://a", "10.0.0.1:4222", "[::1]:4222", "a b", "s@a"] {
            assert!(host(text).is_err(), "{text}");
        }
    }
}
