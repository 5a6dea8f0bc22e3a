//! Builds the tree of a template from its pieces.

use super::functions;
use super::lexer::{Piece, Token};
use super::value::Value;

/// Deepest nesting of blocks and parentheses.
const MAX_DEPTH: usize = 100;

/// A part of the template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Copied as it is.
    Text(String),
    /// An expression to print.
    Print(Pipeline),
    /// `if`, with its `else if`s, and `else`.
    If(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
    /// `range`: what to walk over, the body, and what to do when there is nothing.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// `with`.
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `break`.
    Break,
    /// `continue`.
    Continue,
}

/// Expressions joined by `|`, perhaps kept in variables.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    /// Where in the file.
    pub(super) line: usize,
    /// `$a` or `$a, $b` (range only).
    pub(super) variables: Vec<String>,
    /// True for `:=`, false for `=`.
    pub(super) declares: bool,
    /// Each a function with arguments, or a single value.
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A value in an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// `.`
    Dot,
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a`
    Variable(String, Vec<String>),
    /// A literal.
    Literal(Value<'static>),
    /// A function's name.
    Function(String),
    /// `( ... )`
    Group(Pipeline),
}

/// Parses all pieces.
pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, String> {
    let mut parser = Parser { pieces: pieces.into_iter(), depth: 0, loops: 0 };
    match parser.block()? {
        (nodes, End::OfFile) => Ok(nodes),
        (_, End::Closed(line)) => Err(format!("line {line}: unexpected {{{{end}}}}")),
        (_, End::Else(line, _)) => Err(format!("line {line}: unexpected {{{{else}}}}")),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
    loops: usize,
}

/// What ended a block.
enum End {
    OfFile,
    Closed(usize),
    /// With the tokens after `else`.
    Else(usize, Vec<Token>),
}

impl Parser {
    fn block(&mut self) -> Result<(Vec<Node>, End), String> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (tokens, line) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens, line) => (tokens, line),
            };
            let keyword = match tokens.first() {
                Some(Token::Word(word)) => word.as_str(),
                _ => "",
            };
            match keyword {
                "end" => return Ok((nodes, End::Closed(line))),
                "else" => return Ok((nodes, End::Else(line, tokens.into_iter().skip(1).collect()))),
                "if" | "with" | "range" => {
                    let keyword = keyword.to_owned();
                    let pipeline = pipeline(tokens.into_iter().skip(1).collect(), line, keyword == "range")?;
                    nodes.push(self.nested(&keyword, pipeline, line)?);
                }
                "break" | "continue" => {
                    if self.loops == 0 {
                        return Err(format!("line {line}: {{{{{keyword}}}}} outside {{{{range}}}}"));
                    }
                    nodes.push(if keyword == "break" { Node::Break } else { Node::Continue });
                }
                "define" | "template" | "block" => {
                    return Err(format!(
                        "line {line}: {{{{{keyword}}}}} is not supported in job files; write the text in place"
                    ));
                }
                _ => nodes.push(Node::Print(pipeline(tokens, line, false)?)),
            }
        }
        Ok((nodes, End::OfFile))
    }

    fn nested(&mut self, keyword: &str, first: Pipeline, line: usize) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("line {line}: blocks are nested too deep"));
        }
        let is_loop = usize::from(keyword == "range");
        self.loops += is_loop;
        let (body, mut end) = self.block()?;
        self.loops -= is_loop;
        let mut branches = vec![(first, body)];
        let mut otherwise = Vec::new();
        loop {
            match end {
                End::Closed(_) => break,
                End::OfFile => {
                    return Err(format!("line {line}: {{{{{keyword}}}}} is not closed by {{{{end}}}}"));
                }
                End::Else(at, tokens) if tokens.is_empty() => {
                    let (body, last) = self.block()?;
                    match last {
                        End::Closed(_) => {}
                        End::Else(at, _) => return Err(format!("line {at}: unexpected {{{{else}}}}")),
                        End::OfFile => {
                            return Err(format!("line {at}: {{{{else}}}} is not closed by {{{{end}}}}"));
                        }
                    }
                    otherwise = body;
                    break;
                }
                End::Else(at, tokens) => match tokens.first() {
                    Some(Token::Word(word)) if word == "if" && keyword == "if" => {
                        let condition = pipeline(tokens.into_iter().skip(1).collect(), at, false)?;
                        let (body, next) = self.block()?;
                        branches.push((condition, body));
                        end = next;
                    }
                    _ => {
                        return Err(format!(
                            "line {at}: only {{{{else}}}} or {{{{else if}}}} may stand here"
                        ));
                    }
                },
            }
        }
        self.depth -= 1;
        let mut branches = branches.into_iter();
        Ok(match (keyword, branches.next()) {
            ("range", Some((pipeline, body))) => Node::Range(pipeline, body, otherwise),
            ("with", Some((pipeline, body))) => Node::With(pipeline, body, otherwise),
            (_, Some(first)) => Node::If(std::iter::once(first).chain(branches).collect(), otherwise),
            (_, None) => Node::Text(String::new()),
        })
    }
}

fn pipeline(tokens: Vec<Token>, line: usize, two_variables: bool) -> Result<Pipeline, String> {
    let mut tokens = tokens.into_iter().peekable();
    let pipeline = Expression { line, depth: 0 }.pipeline(&mut tokens, two_variables)?;
    match tokens.next() {
        None => Ok(pipeline),
        Some(_) => Err(format!("line {line}: unexpected \")\"")),
    }
}

struct Expression {
    line: usize,
    depth: usize,
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<Token>>;

impl Expression {
    fn fail<T>(&self, why: impl std::fmt::Display) -> Result<T, String> {
        Err(format!("line {}: {why}", self.line))
    }

    fn pipeline(&mut self, tokens: &mut Tokens, two_variables: bool) -> Result<Pipeline, String> {
        let (variables, declares) = self.variables(tokens, two_variables)?;
        let mut commands = vec![Vec::new()];
        loop {
            match tokens.peek() {
                None | Some(Token::Close) => break,
                Some(Token::Pipe) => {
                    tokens.next();
                    commands.push(Vec::new());
                }
                Some(_) => {
                    let operand = self.operand(tokens)?;
                    if let Some(command) = commands.last_mut() {
                        command.push(operand);
                    }
                }
            }
        }
        for (at, command) in commands.iter().enumerate() {
            match command.first() {
                None => return self.fail("missing value in expression"),
                Some(Operand::Function(_)) => {}
                Some(_) if at > 0 => return self.fail("only a function may follow |"),
                Some(_) if command.len() > 1 => return self.fail("only a function can have arguments"),
                Some(_) => {}
            }
        }
        Ok(Pipeline { line: self.line, variables, declares, commands })
    }

    /// `$x :=`, `$x =`, `$i, $x :=` at the start of a pipeline.
    fn variables(&self, tokens: &mut Tokens, two: bool) -> Result<(Vec<String>, bool), String> {
        let mut ahead = tokens.clone();
        let mut names = Vec::new();
        while let Some(Token::Variable(name, fields)) = ahead.next() {
            if !fields.is_empty() {
                break;
            }
            names.push(name);
            let declares = match ahead.next() {
                Some(Token::Comma) => continue,
                Some(Token::Declare) => true,
                Some(Token::Assign) => false,
                _ => break,
            };
            if names.len() > if two { 2 } else { 1 } {
                return self.fail("too many variables");
            }
            *tokens = ahead;
            return Ok((names, declares));
        }
        Ok((Vec::new(), false))
    }

    fn operand(&mut self, tokens: &mut Tokens) -> Result<Operand, String> {
        match tokens.next() {
            Some(Token::Dot) => Ok(Operand::Dot),
            Some(Token::Field(names)) => Ok(Operand::Field(names)),
            Some(Token::Variable(name, fields)) => Ok(Operand::Variable(name, fields)),
            Some(Token::Text(text)) => Ok(Operand::Literal(Value::Text(text))),
            Some(Token::Int(number)) => Ok(Operand::Literal(Value::Int(number))),
            Some(Token::Float(number)) => Ok(Operand::Literal(Value::Float(number))),
            Some(Token::Word(word)) => match word.as_str() {
                "true" => Ok(Operand::Literal(Value::Bool(true))),
                "false" => Ok(Operand::Literal(Value::Bool(false))),
                _ if functions::exists(&word) => Ok(Operand::Function(word)),
                _ => self.fail(format!(
                    "function {word:?} not defined; there are: {}",
                    functions::NAMES.join(", ")
                )),
            },
            Some(Token::Open) => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return self.fail("parentheses are nested too deep");
                }
                let inner = self.pipeline(tokens, false)?;
                self.depth -= 1;
                match tokens.next() {
                    Some(Token::Close) => Ok(Operand::Group(inner)),
                    _ => self.fail("a parenthesis is not closed"),
                }
            }
            Some(other) => self.fail(format!("unexpected {other:?} in expression")),
            None => self.fail("missing value in expression"),
        }
    }
}
