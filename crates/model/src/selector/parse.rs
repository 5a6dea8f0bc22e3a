//! Label selectors as text: `region in (a,b),env=prod,gpu,!arm,mem>4` (the selector language of Kubernetes).

use super::Requirement;

/// The requirements of a selector, all of which must hold.
///
/// # Errors
/// What is wrong and where.
pub fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable() };
    let mut requirements = Vec::new();
    if parser.tokens.peek().is_none() {
        return Ok(requirements);
    }
    loop {
        requirements.push(parser.requirement()?);
        match parser.tokens.next() {
            None => return Ok(requirements),
            Some(Token::Comma) => {}
            Some(other) => return Err(format!("found '{}', expected: ',' or the end", other.text())),
        }
    }
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
            Some(other) => {
                Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt or ','", other.text()))
            }
        }
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        if self.tokens.next() != Some(Token::Open) {
            return Err("expected: '(' with values".to_owned());
        }
        let mut values = Vec::new();
        loop {
            match self.tokens.next() {
                Some(Token::Word(word)) => values.push(word),
                Some(Token::Close) if values.is_empty() => {
                    return Err("expected: values between ( and )".to_owned());
                }
                Some(other) => return Err(format!("found '{}', expected: a value", other.text())),
                None => return Err("expected: ')'".to_owned()),
            }
            match self.tokens.next() {
                Some(Token::Comma) => {}
                Some(Token::Close) => {
                    values.sort();
                    values.dedup();
                    return Ok(values);
                }
                _ => return Err("expected: ',' or ')'".to_owned()),
            }
        }
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
            "region|in|a b ; env|=|prod ; x|==|1 ; y|!=|2 ; gpu|exists| ; arm|!| ; mem|gt|4 ; z|lt|9 ; t|notin|q"
        );
        assert_eq!(show("  "), "");
        assert_eq!(show("a="), "a|=|");
    }

    #[test]
    fn refusals() {
        for text in
            ["a in", "a in ()", "a in (b", "a b", ",", "a,", "mem>x", "=b", "a in (b c)", "(", "a=b c"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
