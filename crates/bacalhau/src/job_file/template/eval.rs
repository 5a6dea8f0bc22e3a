//! Fills in a parsed template. Output and steps are bounded, so no template runs away.

use super::functions;
use super::parser::{Node, Operand, Pipeline};
use super::value::Value;
use std::collections::BTreeMap;

/// Largest result in bytes; a job file is never that large.
const MAX_OUTPUT: usize = 64 << 20;
/// Most steps.
const MAX_STEPS: usize = 1_000_000;

/// Runs a template.
pub(super) fn run(nodes: &[Node], values: &BTreeMap<String, String>) -> Result<String, String> {
    let all = Value::Map(values);
    let mut run = Run { out: String::new(), variables: vec![("$".to_owned(), all.clone())], steps: 0 };
    run.nodes(nodes, &all)?;
    Ok(run.out)
}

struct Run<'a> {
    out: String,
    /// Innermost last.
    variables: Vec<(String, Value<'a>)>,
    steps: usize,
}

/// How a block ended.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl<'a> Run<'a> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value<'a>) -> Result<Flow, String> {
        let scope = self.variables.len();
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                self.variables.truncate(scope);
                return Ok(flow);
            }
        }
        self.variables.truncate(scope);
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value<'a>) -> Result<Flow, String> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(format!("the template takes too many steps (more than {MAX_STEPS})"));
        }
        match node {
            Node::Text(text) => self.print(text)?,
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.print(&value.to_string())?;
                }
            }
            Node::If(branches, otherwise) => {
                let scope = self.variables.len();
                for (condition, body) in branches {
                    if self.pipeline(condition, dot)?.is_true() {
                        let flow = self.nodes(body, dot)?;
                        self.variables.truncate(scope);
                        return Ok(flow);
                    }
                }
                let flow = self.nodes(otherwise, dot)?;
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::With(pipeline, body, otherwise) => {
                let scope = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                let flow = match value.is_true() {
                    true => self.nodes(body, &value)?,
                    false => self.nodes(otherwise, dot)?,
                };
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::Range(pipeline, body, otherwise) => return self.range(pipeline, body, otherwise, dot),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value<'a>,
    ) -> Result<Flow, String> {
        let over = self.commands(pipeline, dot)?;
        let items: Box<dyn Iterator<Item = (Value<'a>, Value<'a>)>> = match over {
            Value::Map(map) => Box::new(
                map.iter().map(|(key, value)| (Value::Text(key.clone()), Value::Text(value.clone()))),
            ),
            Value::Int(count) => Box::new((0..count.max(0)).map(|at| (Value::Int(at), Value::Int(at)))),
            other => return Err(format!("line {}: range can't iterate over {other}", pipeline.line)),
        };
        let scope = self.variables.len();
        let mut any = false;
        for (key, value) in items {
            any = true;
            match pipeline.variables.as_slice() {
                [only] => self.set(only, pipeline, value.clone())?,
                [first, second] => {
                    self.set(first, pipeline, key)?;
                    self.set(second, pipeline, value.clone())?;
                }
                _ => {}
            }
            let flow = self.nodes(body, &value)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        if any { Ok(Flow::On) } else { self.nodes(otherwise, dot) }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value<'a>) -> Result<Value<'a>, String> {
        let value = self.commands(pipeline, dot)?;
        if let Some(name) = pipeline.variables.first() {
            self.set(name, pipeline, value.clone())?;
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value<'a>) -> Result<Value<'a>, String> {
        let at = |e: String| if e.starts_with("line ") { e } else { format!("line {}: {e}", pipeline.line) };
        let mut previous: Option<Value<'a>> = None;
        for command in &pipeline.commands {
            let mut operands = command.iter();
            let value = match operands.next() {
                Some(Operand::Function(name)) => {
                    let mut args = Vec::with_capacity(command.len());
                    for operand in operands {
                        args.push(self.operand(operand, dot).map_err(at)?);
                    }
                    args.extend(previous.take());
                    functions::call(name, &args).map_err(at)?
                }
                Some(operand) => self.operand(operand, dot).map_err(at)?,
                None => return Err(at("missing value in expression".to_owned())),
            };
            previous = Some(value);
        }
        previous.ok_or_else(|| at("missing value in expression".to_owned()))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value<'a>) -> Result<Value<'a>, String> {
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Field(names) => field(dot.clone(), names),
            Operand::Variable(name, fields) => {
                let value = self.variables.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone());
                field(value.ok_or_else(|| format!("undefined variable {name:?}"))?, fields)
            }
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Function(name) => functions::call(name, &[]),
            Operand::Group(pipeline) => self.pipeline(pipeline, dot),
        }
    }

    fn set(&mut self, name: &str, pipeline: &Pipeline, value: Value<'a>) -> Result<(), String> {
        if pipeline.declares {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        match self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            Some((_, slot)) => {
                *slot = value;
                Ok(())
            }
            None => Err(format!("line {}: undefined variable {name:?}", pipeline.line)),
        }
    }

    fn print(&mut self, text: &str) -> Result<(), String> {
        if self.out.len() + text.len() > MAX_OUTPUT {
            return Err(format!("the result is too large (more than {MAX_OUTPUT} bytes)"));
        }
        self.out.push_str(text);
        Ok(())
    }
}

fn field<'a>(mut value: Value<'a>, names: &[String]) -> Result<Value<'a>, String> {
    for name in names {
        value = match value {
            Value::Map(map) => match map.get(name) {
                Some(text) => Value::Text(text.clone()),
                None => return Err(format!("map has no entry for key {name:?}")),
            },
            other => return Err(format!("can't evaluate field {name} in {other}")),
        };
    }
    Ok(value)
}
