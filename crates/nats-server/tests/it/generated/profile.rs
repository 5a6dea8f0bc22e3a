//! Configurations that scripts are played on, and what the scripts should know of them.

/// A configuration file for both servers.
pub(super) struct Profile {
    pub(super) name: &'static str,
    /// `@NAME@` is a placeholder; `pair` knows what for.
    pub(super) conf: &'static str,
    /// `max_payload` and `max_control_line` of it.
    pub(super) payload: usize,
    pub(super) control_line: usize,
    /// Members of a CONNECT document that log in; an empty one is for nobody.
    pub(super) credentials: &'static [&'static str],
    pub(super) wrong_credentials: &'static [&'static str],
    /// Subjects that the configuration says something about.
    pub(super) subjects: &'static [&'static str],
}

const PLAIN: Profile = Profile {
    name: "plain",
    conf: "server_name: plain",
    payload: 1024 * 1024,
    control_line: 4096,
    credentials: &[],
    wrong_credentials: &[],
    subjects: &["a", "b.c", "r.*"],
};

/// All of them.
pub(super) const PROFILES: &[Profile] = &[
    PLAIN,
    Profile {
        name: "limits",
        conf: "max_payload: 1000, max_control_line: 200, max_subscriptions: 6",
        payload: 1000,
        control_line: 200,
        ..PLAIN
    },
    Profile {
        name: "permissions",
        conf: r#"
            no_auth_user: guest
            max_control_line: 512
            authorization {
                default_permissions: { publish: ["a.>", "r.>"], subscribe: { allow: ["a.>", "r.*", "q.* grp.*"], deny: "a.a" } }
                users: [
                    { user: free, password: f, permissions: { publish: ">" } }
                    { user: guest, password: g }
                    { user: denied, password: d, permissions: {
                        publish: { deny: ["a.*", "b.>"] }, subscribe: { deny: ["a.b", "*.c", "c.>", "b many*", "q.b"] } } }
                    { user: queues, password: q, permissions: {
                        publish: ">", subscribe: { allow: ["a many*", "b.* one*", "c", "q.>", "r.>"], deny: ["q.a one*", "c.a"] } } }
                    { user: answers, password: s, permissions: {
                        subscribe: ["a.>", "a"], allow_responses: { max: 2, expires: "1m" } } }
                    { user: once, password: o, permissions: { publish: { allow: "b", deny: "r.1" }, allow_responses: true } }
                ]
            }"#,
        control_line: 512,
        credentials: &[
            r#""user":"free","pass":"f""#,
            r#""user":"free","pass":"f""#,
            "",
            r#""user":"denied","pass":"d""#,
            r#""user":"queues","pass":"q""#,
            r#""user":"answers","pass":"s""#,
            r#""user":"once","pass":"o""#,
        ],
        wrong_credentials: &[
            r#""user":"free","pass":"x""#,
            r#""user":"nobody""#,
            r#""pass":"x""#,
            r#""auth_token":"x""#,
            r#""nkey":"x""#,
            r#""user":"free""#,
            r#""user":"""#,
        ],
        subjects: &[
            "a.a", "a.b", "a.>", "q.a", "q.b", "c.a", "c", "b", "b.c", "*.c", "a.*", "r.1", "r.*", "*", "*.*",
        ],
        ..PLAIN
    },
    Profile {
        name: "accounts",
        conf: r#"
            max_payload: 2000
            accounts {
                A { users: [{ user: a, password: a }, { user: h, password: "@HASH@" }, { user: a2, password: a, permissions: { sub: { deny: "a.b" } } }] }
                B { users: [{ user: b, password: b }, { nkey: "@NKEY@" }] }
            }
            no_auth_user: b"#,
        payload: 2000,
        credentials: &[
            r#""user":"a","pass":"a""#,
            r#""user":"a2","pass":"a""#,
            r#""user":"b","pass":"b""#,
            r#""nkey":"@NKEY@","sig":"@SIG@""#,
            r#""user":"h","pass":"h""#,
            "",
        ],
        wrong_credentials: &[
            r#""user":"a","pass":"b""#,
            r#""user":"h","pass":"@HASH@""#,
            r#""nkey":"@NKEY@""#,
            r#""nkey":"@NKEY@","sig":"x""#,
            r#""nkey":"@NKEY@","sig":"@SIG@","user":"a""#,
            r#""nkey":"@NKEY@","sig":"@SIG@","user":"x""#,
            r#""nkey":"x","user":"a","pass":"a""#,
            r#""auth_token":"x""#,
            r#""user":"a","pass":"a","auth_token":"x","jwt":"x""#,
        ],
        ..PLAIN
    },
    Profile {
        name: "token",
        conf: "authorization { token: tok, timeout: 5 }\nmax_control_line: 300",
        control_line: 300,
        credentials: &[r#""auth_token":"tok""#],
        wrong_credentials: &[
            r#""auth_token":"x""#,
            r#""user":"tok""#,
            r#""auth_token":"tok","nkey":"x""#,
            r#""auth_token":"tok","user":"x","pass":"y""#,
            r#""auth_token":"tok","jwt":"x","sig":"y""#,
            r#""pass":"tok""#,
        ],
        ..PLAIN
    },
    Profile {
        name: "one user",
        conf: "authorization { user: u, password: p, timeout: 5 }",
        credentials: &[r#""user":"u","pass":"p""#],
        wrong_credentials: &[
            r#""user":"u","pass":"p","auth_token":"x""#,
            r#""user":"u","pass":"p","nkey":"x""#,
            r#""user":"u""#,
            r#""user":"U","pass":"p""#,
            r#""auth_token":"p""#,
        ],
        ..PLAIN
    },
    Profile {
        name: "operator",
        conf: "@OPERATOR@",
        credentials: &[
            r#""jwt":"@JWT@","sig":"@SIG@""#,
            r#""jwt":"@JWT@","sig":"@SIG@""#,
            r#""jwt":"@LIMITED@","sig":"@SIG@""#,
            r#""jwt":"@BEARER@""#,
        ],
        wrong_credentials: &[
            r#""jwt":"@JWT@""#,
            r#""jwt":"@JWT@","sig":"x""#,
            r#""jwt":"@JWT@","sig":"@SIG@","user":"x","pass":"y","auth_token":"z""#,
            r#""jwt":"@JWT@","sig":"@SIG@","nkey":"x""#,
            r#""jwt":"@EXPIRED@","sig":"@SIG@""#,
            r#""jwt":"@STRANGER@","sig":"@SIG@""#,
            r#""nkey":"@NKEY@","sig":"@SIG@""#,
            r#""jwt":"","sig":"@SIG@""#,
            r#""sig":"@SIG@""#,
        ],
        subjects: &["a", "a.b", "a.>", "r.*"],
        ..PLAIN
    },
];
