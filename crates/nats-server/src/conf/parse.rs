//! From text to the tree: nesting, variables and included files, all of them bounded.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ConfError, Place};
use super::lex::{Key, LexError, Lexer, Scope, Spot, Start};
use super::value::{Map, NODE_SIZE, Node, Value};

/// Bytes of all files together.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of the tree. Variables can repeat large values in a small file.
const MAX_TREE: usize = 256 * 1024 * 1024;
/// Levels of maps and lists.
const MAX_DEPTH: usize = 64;
/// Files that include each other.
const MAX_INCLUDES: usize = 8;
/// Files that are included at all.
const MAX_FILES: usize = 256;
/// Variables of the environment that name each other.
const MAX_VARIABLES: usize = 8;

/// Where variables are looked up that no file sets.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a file and what it includes.
pub(super) fn file(path: &Path, environment: Environment<'_>) -> Result<Map, ConfError> {
    Parser::new(environment).file(path, 0, 0)
}

/// Reads a text as if it were the file.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn text(text: &str, path: &Path, environment: Environment<'_>) -> Result<Map, ConfError> {
    Parser::new(environment).source(text, path, 0, 0)
}

struct Parser<'e> {
    environment: Environment<'e>,
    bytes_left: u64,
    tree_left: usize,
    files_left: usize,
}

/// One file, or the value of a variable of the environment.
struct Source<'a> {
    lexer: Lexer<'a>,
    path: Arc<Path>,
    /// The maps around the place being read; variables are looked up in them, innermost first.
    scopes: Vec<Map>,
    /// How many files are around this one.
    includes: usize,
    /// How many variables of the environment led here.
    variables: usize,
}

impl Source<'_> {
    fn place(&self, spot: Spot) -> Place {
        Place { file: self.path.clone(), line: spot.line, column: spot.column }
    }

    fn wrong(&self, error: LexError) -> ConfError {
        ConfError::Syntax { place: self.place(error.spot), problem: error.problem }
    }

    fn refuse(&self, spot: Spot, problem: impl Into<String>) -> ConfError {
        ConfError::Syntax { place: self.place(spot), problem: problem.into() }
    }
}

impl<'e> Parser<'e> {
    fn new(environment: Environment<'e>) -> Parser<'e> {
        Parser { environment, bytes_left: MAX_BYTES, tree_left: MAX_TREE, files_left: MAX_FILES }
    }

    fn file(&mut self, path: &Path, includes: usize, depth: usize) -> Result<Map, ConfError> {
        let unreadable = |source| ConfError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(self.bytes_left + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let place = |line, column| Place { file: path.into(), line, column };
        let size = bytes.len() as u64;
        self.bytes_left = self.bytes_left.checked_sub(size).ok_or_else(|| ConfError::Syntax {
            place: place(1, 1),
            problem: format!("the configuration is larger than {MAX_BYTES} bytes, with all that it includes"),
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = good.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
            ConfError::Syntax {
                place: place(saturated(line), saturated(column)),
                problem: "the file is not UTF-8".to_owned(),
            }
        })?;
        self.source(&text, path, includes, depth)
    }

    fn source(&mut self, text: &str, path: &Path, includes: usize, depth: usize) -> Result<Map, ConfError> {
        let (lexer, path) = (Lexer::new(text), path.into());
        let mut source = Source { lexer, path, scopes: Vec::new(), includes, variables: 0 };
        self.map(&mut source, Scope::File, depth)
    }

    /// Fields up to the end of their map or file.
    fn map(&mut self, source: &mut Source<'_>, scope: Scope, depth: usize) -> Result<Map, ConfError> {
        source.scopes.push(Map::default());
        let result = self.fields(source, scope, depth);
        let map = source.scopes.pop().unwrap_or_default();
        result.map(|()| map)
    }

    fn fields(&mut self, source: &mut Source<'_>, scope: Scope, depth: usize) -> Result<(), ConfError> {
        loop {
            let (spot, key) = source.lexer.key(scope).map_err(|error| source.wrong(error))?;
            match key {
                Key::End => return Ok(()),
                Key::Include(path) => {
                    let included = self.include(source, spot, &path, depth)?;
                    if let Some(map) = source.scopes.last_mut() {
                        map.extend(included);
                    }
                }
                Key::Name(name) => {
                    self.charge(source, spot, NODE_SIZE + 2 * name.len())?;
                    let value = self.value(source, depth, Some(&name))?;
                    let place = source.place(spot);
                    if let Some(map) = source.scopes.last_mut() {
                        map.insert(name, Node { place, value });
                    }
                }
            }
            if source.lexer.end_of_field(scope).map_err(|error| source.wrong(error))? {
                return Ok(());
            }
        }
    }

    fn value(
        &mut self,
        source: &mut Source<'_>,
        depth: usize,
        key: Option<&str>,
    ) -> Result<Value, ConfError> {
        let (spot, start) = source.lexer.value().map_err(|error| source.wrong(error))?;
        if depth >= MAX_DEPTH && !matches!(start, Start::Value(_)) {
            return Err(source.refuse(spot, format!("values are nested deeper than {MAX_DEPTH} levels")));
        }
        match start {
            Start::Map => self.map(source, Scope::Map, depth + 1).map(Value::Map),
            Start::List => self.list(source, depth + 1, key).map(Value::List),
            Start::Variable(name) => self.variable(source, spot, &name, depth, key),
            Start::Value(value) => {
                self.charge(source, spot, value.measure().0)?;
                Ok(value)
            }
        }
    }

    fn list(
        &mut self,
        source: &mut Source<'_>,
        depth: usize,
        key: Option<&str>,
    ) -> Result<Vec<Node>, ConfError> {
        let mut nodes = Vec::new();
        while source.lexer.item().map_err(|error| source.wrong(error))? {
            let spot = source.lexer.spot();
            self.charge(source, spot, NODE_SIZE)?;
            let value = self.value(source, depth, key)?;
            nodes.push(Node { place: source.place(spot), value });
            source.lexer.end_of_item().map_err(|error| source.wrong(error))?;
        }
        Ok(nodes)
    }

    /// The value of `$name`: of a field before it, in the maps around it, or of the environment.
    fn variable(
        &mut self,
        source: &mut Source<'_>,
        spot: Spot,
        name: &str,
        depth: usize,
        key: Option<&str>,
    ) -> Result<Value, ConfError> {
        let place = source.place(spot);
        // A password that begins with a dollar looks like a variable, and must not be shown.
        let shown = if key.is_some_and(is_secret) { "used here".to_owned() } else { format!("{name:?}") };
        let refuse = |problem: String| Err(ConfError::Syntax { place: place.clone(), problem });
        if let Some(found) = source.scopes.iter_mut().rev().find_map(|map| map.variable(name)) {
            let (size, levels) = found.measure();
            if depth + levels > MAX_DEPTH {
                return refuse(format!("values are nested deeper than {MAX_DEPTH} levels"));
            }
            let value = found.clone();
            self.charge(source, spot, size)?;
            return Ok(value);
        }
        let Some(text) = (self.environment)(name) else {
            return refuse(format!(
                "the variable {shown} can not be found; set it above this line or in the environment, or put the \
                 value into quotes if it is none"
            ));
        };
        if source.variables >= MAX_VARIABLES {
            return refuse(format!(
                "the variable {shown}: variables of the environment name each other more than {MAX_VARIABLES} times"
            ));
        }
        let text = text.trim();
        if text.is_empty() {
            return Ok(Value::Text(String::new()));
        }
        let mut inner = Source {
            lexer: Lexer::new(text),
            path: source.path.clone(),
            scopes: Vec::new(),
            includes: source.includes,
            variables: source.variables + 1,
        };
        let value = self.value(&mut inner, depth, key);
        match value {
            Ok(value) if inner.lexer.is_done() => Ok(value),
            Ok(_) => refuse(format!(
                "the variable {shown} of the environment is more than one value; put it into quotes there"
            )),
            // Its own places are those of another text.
            Err(ConfError::Syntax { problem, .. }) => {
                refuse(format!("the variable {shown} of the environment could not be parsed: {problem}"))
            }
            Err(other) => Err(other),
        }
    }

    fn include(
        &mut self,
        source: &Source<'_>,
        spot: Spot,
        path: &str,
        depth: usize,
    ) -> Result<Map, ConfError> {
        if source.includes >= MAX_INCLUDES {
            let problem =
                format!("files include each other deeper than {MAX_INCLUDES} levels; is there a cycle?");
            return Err(source.refuse(spot, problem));
        }
        self.files_left = self.files_left.checked_sub(1).ok_or_else(|| {
            source.refuse(spot, format!("more than {MAX_FILES} files are included; is there a cycle?"))
        })?;
        let path = source.path.parent().map_or_else(|| PathBuf::from(path), |folder| folder.join(path));
        self.file(&path, source.includes + 1, depth).map_err(|error| match error {
            ConfError::Read { path, source: reason } => {
                source.refuse(spot, format!("error reading the included file {}: {reason}", path.display()))
            }
            other => other,
        })
    }

    /// Notes bytes of the tree.
    fn charge(&mut self, source: &Source<'_>, spot: Spot, size: usize) -> Result<(), ConfError> {
        self.tree_left = self.tree_left.checked_sub(size).ok_or_else(|| {
            source.refuse(
                spot,
                format!("the configuration takes more than {MAX_TREE} bytes in memory; variables count wherever they are used"),
            )
        })?;
        Ok(())
    }
}

/// Does the field hold a secret?
fn is_secret(key: &str) -> bool {
    ["pass", "password", "token"].iter().any(|name| key.eq_ignore_ascii_case(name))
}

fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
