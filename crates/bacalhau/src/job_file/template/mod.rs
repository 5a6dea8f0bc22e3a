//! Templates in job files: the part of Go's `text/template` that job files use.
//!
//! Supported: fields (`{{.name}}`), variables, `if`/`else if`/`else`, `range`, `with`, `break`, `continue`, comments,
//! trim marks, pipes, and the functions of [`functions`]. Named templates (`define`, `template`, `block`) and methods
//! are not; they are refused by name. A name that is not given is an error, never an empty text.

mod eval;
mod functions;
mod lexer;
mod parser;
mod value;

use std::collections::BTreeMap;

/// Why a template could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// It is not a template.
    Parse(String),
    /// It is one, but it could not be filled in.
    Execute(String),
}

/// Fills in a template.
pub(crate) fn render(text: &str, values: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    let nodes = lexer::split(text).and_then(parser::parse).map_err(TemplateError::Parse)?;
    eval::run(&nodes, values).map_err(TemplateError::Execute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<String, TemplateError> {
        let values = [("name", "world"), ("n", "3"), ("empty", ""), ("html", "<b>")]
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        render(text, &values)
    }

    #[test]
    fn fills_in() {
        for (template, expected) in [
            ("no template", "no template"),
            ("{{.name}}", "world"),
            ("a {{ .name }} b {{.n}}", "a world b 3"),
            ("{{$.name}}", "world"),
            ("{{.html}}", "<b>"),
            ("x {{- .name -}}\n\n y", "xworldy"),
            ("a{{/* note */}}b {{- /* note */ -}} c", "abc"),
            ("{{if .name}}yes{{else}}no{{end}}", "yes"),
            ("{{if .empty}}yes{{else if eq .n \"3\"}}three{{else}}no{{end}}", "three"),
            ("{{if and .name (not .empty)}}both{{end}}", "both"),
            ("{{if or .empty .name | not}}a{{else}}b{{end}}", "b"),
            ("{{$x := .name}}{{$x}}-{{$x = \"z\"}}{{$x}}", "world-z"),
            ("{{with .name}}{{.}}{{end}}{{with .empty}}x{{else}}none{{end}}", "worldnone"),
            ("{{printf \"%s-%03d|%q|%v|%%\" .name 7 .n true}}", "world-007|\"3\"|true|%"),
            ("{{.name | printf \"%s %s\" \"hello\"}}", "hello world"),
            ("{{range $k, $v := .}}{{$k}}={{$v}};{{end}}", "empty=;html=<b>;n=3;name=world;"),
            ("{{range $i := 3}}{{$i}}{{if eq $i 1}}{{break}}{{end}},{{end}}", "0,1"),
            ("{{range 3}}{{if eq . 1}}{{continue}}{{end}}{{.}}{{end}}", "02"),
            ("{{range 0}}x{{else}}none{{end}}", "none"),
            (
                "{{len .name}} {{index . \"n\"}} {{eq .n \"1\" \"3\"}} {{lt 1 2}} {{ge 1 2}}",
                "5 3 true true false",
            ),
            ("{{print \"a\" 1 2 \"b\"}} {{1.5}} {{`raw }} text`}} {{'a'}}", "a1 2b 1.5 raw }} text 97"),
            ("{{\"quoted \\\"x\\\" {{\"}}", "quoted \"x\" {{"),
            ("{{html .html}} {{urlquery \"a b&c\"}}", "&lt;b&gt; a+b%26c"),
            ("{{slice .name 1 3}}", "or"),
        ] {
            assert_eq!(fill(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let says = |template: &str, text: &str| {
            let error = match fill(template) {
                Err(TemplateError::Parse(e) | TemplateError::Execute(e)) => e,
                Ok(ok) => panic!("{template}: {ok}"),
            };
            assert!(error.contains(text), "{template}: {error}");
        };
        says("{{.nope}}", "map has no entry for key \"nope\"");
        says("a\nb\n{{.nope}}", "line 3");
        says("{{.name", "unclosed action");
        says("{{if .name}}", "{{if}} is not closed");
        says("{{end}}", "unexpected {{end}}");
        says("{{else}}", "unexpected {{else}}");
        says("{{frobnicate .name}}", "function \"frobnicate\" not defined");
        says("{{define \"x\"}}{{end}}", "define");
        says("{{template \"x\"}}", "template");
        says("{{\"open}}", "unterminated");
        says("{{$x}}", "undefined variable \"$x\"");
        says("{{break}}", "outside");
        says("{{.name.more}}", "more");
        says("{{range 100000000}}x{{end}}", "too");
        says("{{}}", "missing value");
        says("{{eq 1 \"1\"}}", "incompatible types");
        says(&format!("{{{{{}", "(".repeat(1000) + "}}"), "deep");
        says(&"{{if .name}}".repeat(1000), "deep");
        says("{{printf}}", "printf");
        says("{{slice .name 4 99}}", "out of range");
    }

    #[test]
    fn nothing_makes_it_panic() {
        let pieces = [
            "{{", "}}", "-", " ", ".name", "$x", ":=", "|", "(", ")", "\"", "`", "if", "end", "range", ",",
            "é", "\n", "'", "0x", "1e", "/*",
        ];
        let mut seed = 7usize;
        for _ in 0..20_000 {
            let mut text = String::from("{{");
            for _ in 0..8 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(seed >> 33) % pieces.len()]);
            }
            let _ = fill(&text);
        }
    }
}
