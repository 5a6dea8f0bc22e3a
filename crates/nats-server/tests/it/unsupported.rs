//! What is not supported is refused by name, and stands in the README.

use std::process::Command;

use bacalhau_nats_server::conf;

const README: &str = include_str!("../../README.md");

/// Flags with a value, if they take one.
const FLAGS: &[&[&str]] = &[
    &["-routes", "nats://127.0.0.1:1"],
    &["-cluster", "nats://127.0.0.1:1"],
    &["-cluster_name", "x"],
    &["-cluster_listen", "nats://127.0.0.1:1"],
    &["-cluster_advertise", "x"],
    &["-no_advertise"],
    &["-connect_retries", "3"],
    &["-ms", "1"],
    &["-https_port", "1"],
    &["-syslog"],
    &["-remote_syslog", "udp://127.0.0.1:1"],
    &["-profile", "1"],
    &["-help_tls"],
];

/// A file, and the field in it that is refused.
const FIELDS: &[(&str, &str)] = &[
    ("cluster { port: 1 }", "cluster"),
    ("gateway { name: x }", "gateway"),
    ("leafnodes { remotes: [{ url: \"nats://x:1\" }] }", "remotes"),
    ("accounts { A { jetstream: enabled } }", "jetstream"),
    ("default_js_domain { A: x }", "default_js_domain"),
    ("mqtt { port: 1 }", "mqtt"),
    ("accounts { A { imports: [] } }", "imports"),
    ("accounts { A { exports: [] } }", "exports"),
    ("accounts { A { mappings: {} } }", "mappings"),
    ("accounts { A { limits: {} } }", "limits"),
    ("accounts { A { msg_trace: {} } }", "msg_trace"),
    ("accounts { A { trace_dest: x } }", "trace_dest"),
    ("authorization { auth_callout {} }", "auth_callout"),
    ("default_sentinel: x", "default_sentinel"),
    ("trusted_keys: x", "trusted_keys"),
    ("resolver: URL(http://x)", "resolver"),
    ("resolver { type: full }", "resolver"),
    ("resolver_tls {}", "resolver_tls"),
    ("resolver_pinned_accounts: []", "resolver_pinned_accounts"),
    ("authorization { users: [{ user: a, proxy_required: true }] }", "proxy_required"),
    ("tls { cipher_suites: [] }", "cipher_suites"),
    ("tls { curve_preferences: [] }", "curve_preferences"),
    ("tls { min_version: \"1.3\" }", "min_version"),
    ("tls { pinned_certs: [] }", "pinned_certs"),
    ("tls { certs: [] }", "certs"),
    ("tls { cert_store: x }", "cert_store"),
    ("tls { cert_match: x }", "cert_match"),
    ("tls { cert_match_by: x }", "cert_match_by"),
    ("tls { cert_match_skip_invalid: true }", "cert_match_skip_invalid"),
    ("tls { ca_certs_match: [] }", "ca_certs_match"),
    ("tls { ocsp_peer: true }", "ocsp_peer"),
    ("tls { connection_rate_limit: 1 }", "connection_rate_limit"),
    ("tls { verify_cert_and_check_known_urls: true }", "verify_cert_and_check_known_urls"),
    ("ocsp: true", "ocsp"),
    ("ocsp_cache: true", "ocsp_cache"),
    ("websocket { jwt_cookie: x }", "jwt_cookie"),
    ("websocket { user_cookie: x }", "user_cookie"),
    ("websocket { pass_cookie: x }", "pass_cookie"),
    ("websocket { token_cookie: x }", "token_cookie"),
    ("websocket { headers {} }", "headers"),
    ("websocket { advertise: x }", "advertise"),
    ("websocket { no_auth_user: x }", "no_auth_user"),
    ("websocket { authorization {} }", "authorization"),
    ("websocket { ping_interval: \"1s\" }", "ping_interval"),
    ("https: 1", "https"),
    ("https_port: 1", "https_port"),
    ("syslog: true", "syslog"),
    ("remote_syslog: x", "remote_syslog"),
    ("mappings {}", "mappings"),
    ("no_fast_producer_stall: true", "no_fast_producer_stall"),
    ("proxy_protocol: true", "proxy_protocol"),
    ("proxies {}", "proxies"),
    ("write_timeout: close", "write_timeout"),
    ("feature_flags {}", "feature_flags"),
];

fn listed(name: &str) {
    let rows = README.split("## What is not").nth(1).unwrap().split("\n## ").next().unwrap();
    assert!(rows.contains(&format!("`{name}`")), "the README does not list {name}");
}

#[test]
fn flags() {
    for flag in FLAGS {
        let output = Command::new(env!("CARGO_BIN_EXE_nats-server"))
            .args(["-a", "127.0.0.1", "-p", "-1"])
            .args(*flag)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{flag:?}");
        assert!(said.contains(&format!("flag {} is not supported", flag[0])), "{flag:?}: {said}");
        listed(flag[0]);
    }
}

#[test]
fn fields() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.conf");
    for (text, field) in FIELDS {
        std::fs::write(&path, text).unwrap();
        let said = conf::load(&path).unwrap_err().to_string();
        assert!(said.contains("test.conf:1:"), "{text}: {said}");
        assert!(said.contains(&format!("\"{field}\" is not supported by this server")), "{text}: {said}");
        listed(field);
    }
}
