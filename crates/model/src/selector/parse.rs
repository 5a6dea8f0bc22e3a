//! Label selectors as text: `region in (a,b),env=prod,gpu,!arm,mem>4` (the selector language of Kubernetes).

use super::{Requirement, syntax};

/// Starts every refusal.
const PREFIX: &str = "unable to parse requirement";

/// The requirements of a selector, all of which must hold, in the order of their keys. Empty text has none.
///
/// # Errors
/// What is wrong and where.
pub fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    requirements(text).map_err(|why| format!("{PREFIX}: {why}"))
}

fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable() };
    let mut requirements = Vec::new();
    if parser.tokens.peek().is_none() {
        return Ok(requirements);
    }
    loop {
        let requirement = parser.requirement()?;
        syntax::key(&requirement.key)?;
        requirement.values.iter().try_for_each(|value| syntax::value(&requirement.key, value))?;
        requirements.push(requirement);
        match parser.tokens.next() {
            Some(Token::Comma) => {}
            Some(other) => return Err(format!("found '{}', expected: ',' or the end", other.text())),
            None => break,
        }
    }
    // Jobs keep constraints in this order, so that the same selector written differently is no change.
    requirements.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(requirements)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Operator(&'static str),
    Comma,
    Open,
    Close,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Word(word) => word,
            Token::Operator(text) => text,
            Token::Comma => ",",
            Token::Open => "(",
            Token::Close => ")",
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    const SIGNS: [&str; 6] = ["==", "!=", "=", "!", ">", "<"];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
        let used = match (first, sign) {
            (_, Some(sign)) => {
                tokens.push(Token::Operator(sign));
                sign.len()
            }
            (',', _) => {
                tokens.push(Token::Comma);
                1
            }
            ('(', _) => {
                tokens.push(Token::Open);
                1
            }
            (')', _) => {
                tokens.push(Token::Close);
                1
            }
            _ => {
                let end =
                    rest.find(|c: char| c.is_whitespace() || ",()=!<>".contains(c)).unwrap_or(rest.len());
                let word = rest.get(..end).unwrap_or_default();
                tokens.push(Token::Word(word.to_owned()));
                end
            }
        };
        rest = rest.get(used..).ok_or("unreadable text")?.trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.tokens.next_if_eq(&Token::Operator("!")).is_some();
        let key = match self.tokens.next() {
            Some(Token::Word(word)) => word,
            Some(other) => return Err(format!("found '{}', expected: a label name", other.text())),
            None => return Err("found the end, expected: a label name".to_owned()),
        };
        let make =
            |operator: &str, values| Requirement { key: key.clone(), operator: operator.to_owned(), values };
        if absent {
            return Ok(make("!", Vec::new()));
        }
        match self.tokens.peek() {
            None | Some(Token::Comma) => Ok(make("exists", Vec::new())),
            Some(Token::Word(word)) if word == "in" || word == "notin" => {
                let operator = word.clone();
                self.tokens.next();
                Ok(make(&operator, self.set()?))
            }
            Some(Token::Operator(sign)) if *sign != "!" => {
                let operator = match *sign {
                    ">" => "gt",
                    "<" => "lt",
                    other => other,
                };
                self.tokens.next();
                let value = match self.tokens.next_if(|t| matches!(t, Token::Word(_))) {
                    Some(Token::Word(word)) => word,
                    _ => String::new(),
                };
                if matches!(operator, "gt" | "lt") && value.parse::<i64>().is_err() {
                    return Err(format!(
                        "for 'Gt', 'Lt' operators, the value must be an integer, not {value:?}"
                    ));
                }
                Ok(make(operator, vec![value]))
            }
            Some(other) => Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text())),
        }
    }

    /// `(a,b)`, sorted, each once. A value may be empty, as in `(,b)` and `()`.
    fn set(&mut self) -> Result<Vec<String>, String> {
        if self.tokens.next() != Some(Token::Open) {
            return Err("expected: '(' with values".to_owned());
        }
        let mut values = Vec::new();
        loop {
            values.push(match self.tokens.next_if(|t| matches!(t, Token::Word(_))) {
                Some(Token::Word(word)) => word,
                _ => String::new(),
            });
            match self.tokens.next() {
                Some(Token::Comma) => {}
                Some(Token::Close) => break,
                Some(other) => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
                None => return Err("found the end, expected: ',' or ')'".to_owned()),
            }
        }
        values.sort();
        values.dedup();
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let show = |text: &str| {
            let parsed = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let parts: Vec<String> =
                parsed.iter().map(|r| format!("{}|{}|{}", r.key, r.operator, r.values.join(" "))).collect();
            parts.join(" ; ")
        };
        assert_eq!(
            show("region in (b, a),env=prod,x==1, y != 2 ,gpu,!arm,mem>4,z<9,t notin (q)"),
            "arm|!| ; env|=|prod ; gpu|exists| ; mem|gt|4 ; region|in|a b ; t|notin|q ; x|==|1 ; y|!=|2 ; z|lt|9"
        );
        assert_eq!(show("  "), "");
        assert_eq!(show("a="), "a|=|");
    }

    #[test]
    fn refusals_say_what_was_found() {
        // Recorded from Bacalhau 1.9.
        assert_eq!(
            parse("a b").unwrap_err(),
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"
        );
        for text in
            ["-a", "a-", "a=-b", "x_/y", "a/b/c", "a=b c", "a in (ok,no/pe)", "A.b/", "/a", "é=1", "mem>-4"]
        {
            assert!(parse(text).unwrap_err().starts_with("unable to parse requirement: "), "{text}");
        }
        assert!(parse(&"a".repeat(63)).is_ok() && parse(&"a".repeat(64)).is_err());
        assert!(parse(&format!("a={}", "b".repeat(64))).is_err());
    }

    #[test]
    fn corners_of_the_language() {
        let show = |text: &str| {
            let parsed = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            parsed.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        assert_eq!(show("b=1,a=2,b!=3"), "a=2,b=1,b!=3", "sorted by key, as Bacalhau 1.9 stores them");
        assert_eq!(show("a in ()"), "a in ()");
        assert_eq!(show("a in (,b)"), "a in (,b)");
        assert_eq!(show("in in (in,notin)"), "in in (in,notin)");
        assert_eq!(show("example.com/a_b.c=D-e_f"), "example.com/a_b.c=D-e_f");
    }

    #[test]
    fn refusals() {
        for text in
            ["a in", "a in b", "a in (b", "a b", ",", "a,", "!", "mem>x", "=b", "a in (b c)", "(", "a=b c"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
