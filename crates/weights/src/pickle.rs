//! Python's pickles, as far as files of tensors need them: read as data, with nothing of them executed.
//!
//! A pickle is a program that builds values. They are kept side by side, and one holds another by its number, so that
//! neither depth nor sharing costs stack or memory: what a pickle of some bytes builds has a size in proportion to
//! them.

use crate::error::{Result, damaged};
use std::collections::HashMap;
use std::io::{BufRead, Read};

/// More values than any file of tensors has: these have some dozens each.
const MOST_NODES: usize = 1 << 23;
/// Longer than any name of a class.
const LONGEST_LINE: u64 = 1024;
/// Longer than any text in a file of tensors.
const LONGEST_TEXT: u64 = 1 << 26;

/// A value's number.
pub(crate) type Id = u32;

/// A value of a pickle.
#[derive(Debug)]
pub(crate) enum Node {
    /// None, a number that is not whole, or anything else that says nothing about tensors.
    Other,
    Bool(bool),
    /// A whole number of up to eight bytes.
    Int(i64),
    Text(String),
    /// A class or function: module and name.
    Global(String, String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A dictionary that was made of a list of pairs.
    Ordered(Id),
    /// What lies outside of the pickle, by its description.
    Persistent(Id),
    /// A function's result, or an object: function or class, and arguments.
    Call(Id, Id),
}

/// All values of a pickle.
#[derive(Debug)]
pub(crate) struct Pickle {
    nodes: Vec<Node>,
    root: Id,
    /// Descriptions of what lies outside.
    outside: Vec<Id>,
}

impl Pickle {
    /// What the pickle as a whole is.
    pub(crate) fn root(&self) -> Id {
        self.root
    }

    pub(crate) fn top(&self) -> &Node {
        self.node(self.root)
    }

    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    pub(crate) fn outside(&self) -> &[Id] {
        &self.outside
    }

    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Keys and values, if it is a dictionary.
    pub(crate) fn entries(&self, dict: Id) -> Option<Vec<(Id, Id)>> {
        match self.node(dict) {
            Node::Dict(entries) => Some(entries.clone()),
            Node::Ordered(list) => match self.node(*list) {
                Node::List(pairs) => Some(pairs.iter().filter_map(|pair| self.pair(*pair)).collect()),
                _ => None,
            },
            _ => None,
        }
    }

    fn pair(&self, pair: Id) -> Option<(Id, Id)> {
        match self.node(pair) {
            Node::List(pair) | Node::Tuple(pair) => pair.first().copied().zip(pair.get(1).copied()),
            _ => None,
        }
    }

    /// The value under that key, the last one as in Python.
    pub(crate) fn find(&self, dict: Id, key: &str) -> Option<Id> {
        let entries = self.entries(dict)?;
        entries.iter().rfind(|(name, _)| self.text(*name) == Some(key)).map(|(_, value)| *value)
    }
}

/// Reads one pickle.
pub(crate) fn read(source: &mut impl BufRead) -> Result<Pickle> {
    let mut machine = Machine {
        source,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        outside: Vec::new(),
    };
    while machine.step()? {}
    let root = machine.pop()?;
    Ok(Pickle { nodes: machine.nodes, root, outside: machine.outside })
}

/// The machine that a pickle is a program of.
struct Machine<'a, R> {
    source: &'a mut R,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Lengths of the stack where marks stand.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    outside: Vec<Id>,
}

impl<R: BufRead> Machine<'_, R> {
    /// Runs one instruction; whether another follows.
    fn step(&mut self) -> Result<bool> {
        let code = self.byte()?;
        match code {
            b'.' => return Ok(false),
            // The version of the format, and the length of what follows.
            0x80 => drop(self.byte()?),
            0x95 => drop(self.bytes::<8>()?),
            b'(' => self.mark()?,
            b'0' => drop(self.pop()?),
            b'1' => drop(self.marked()?),
            b'2' => {
                let top = self.top()?;
                self.push_id(top)?;
            }
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(code)?,
            b')' | b']' | b'}' | 0x8f | b't' | b'l' | b'd' | 0x91 | 0x85..=0x87 => self.collection(code)?,
            b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(code)?,
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'o' | b'i' | b'b' | b'Q' => self.object(code)?,
            _ => self.scalar(code)?,
        }
        Ok(true)
    }

    /// Numbers and texts.
    fn scalar(&mut self, code: u8) -> Result<()> {
        let node = match code {
            b'N' => Node::Other,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'K' => Node::Int(self.byte()?.into()),
            b'M' => Node::Int(u16::from_le_bytes(self.bytes()?).into()),
            b'J' => Node::Int(i32::from_le_bytes(self.bytes()?).into()),
            0x8a => {
                let length = self.byte()?;
                self.long(length.into())?
            }
            0x8b => {
                let length = self.number()?;
                self.long(length.into())?
            }
            b'G' => {
                self.bytes::<8>()?;
                Node::Other
            }
            b'U' | 0x8c | b'C' => {
                let length = self.byte()?;
                self.text(length.into())?
            }
            b'T' | b'X' | b'B' => {
                let length = self.number()?;
                self.text(length.into())?
            }
            0x8d | 0x8e | 0x96 => {
                let length = u64::from_le_bytes(self.bytes()?);
                self.text(length)?
            }
            b'F' | b'I' | b'L' => {
                self.line()?;
                Node::Other
            }
            code => return damaged(format!("its pickle has the instruction {code:#04x}, which files of tensors lack")),
        };
        self.push(node)
    }

    /// Keeps the value on top, or pushes a kept one.
    fn memory(&mut self, code: u8) -> Result<()> {
        let place = match code {
            b'q' | b'h' => self.byte()?.into(),
            b'r' | b'j' => self.number()?,
            // The next place; the memo has no more entries than the pickle has bytes.
            _ => self.memo.len() as u32,
        };
        if matches!(code, b'h' | b'j') {
            let Some(id) = self.memo.get(&place) else { return damaged("its pickle recalls what it has not kept") };
            return self.push_id(*id);
        }
        let top = self.top()?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn collection(&mut self, code: u8) -> Result<()> {
        let node = match code {
            b')' => Node::Tuple(Vec::new()),
            b']' | 0x8f => Node::List(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            b't' => Node::Tuple(self.marked()?),
            b'd' => Node::Dict(pairs(self.marked()?)),
            0x85..=0x87 => {
                let Some(from) = self.stack.len().checked_sub(usize::from(code - 0x84)) else { return empty() };
                Node::Tuple(self.stack.split_off(from))
            }
            _ => Node::List(self.marked()?),
        };
        self.push(node)
    }

    /// Adds to a list or a dictionary.
    fn fill(&mut self, code: u8) -> Result<()> {
        let items = match code {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.marked()?,
        };
        let top = self.top()?;
        match (&mut self.nodes[top as usize], code) {
            (Node::List(list), b'a' | b'e' | 0x90) => list.extend(items),
            (Node::Dict(dict), b's' | b'u') => dict.extend(pairs(items)),
            // Objects of other classes that are filled like a list or a dictionary.
            (Node::Call(..) | Node::Other, _) => {}
            _ => return damaged("its pickle adds to what is no list or dictionary"),
        }
        Ok(())
    }

    /// Classes, functions and what they are called with, which is recorded and never done.
    fn object(&mut self, code: u8) -> Result<()> {
        match code {
            b'c' => {
                let global = Node::Global(self.line()?, self.line()?);
                self.push(global)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let global = Node::Global(self.name(module)?, self.name(name)?);
                self.push(global)
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments)
            }
            0x92 => {
                let (_, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(class, arguments)
            }
            b'o' | b'i' => {
                if code == b'i' {
                    self.line()?;
                    self.line()?;
                }
                self.marked()?;
                self.push(Node::Other)
            }
            b'Q' => {
                let description = self.pop()?;
                self.outside.push(description);
                self.push(Node::Persistent(description))
            }
            // Attributes of an object, which tensors do not need.
            _ => self.pop().map(drop),
        }
    }

    fn call(&mut self, function: Id, arguments: Id) -> Result<()> {
        let Node::Tuple(values) = &self.nodes[arguments as usize] else {
            return damaged("its pickle has a call whose arguments are no tuple");
        };
        let first = values.first().copied();
        let called = match &self.nodes[function as usize] {
            Node::Global(module, name) => (module.as_str(), name.as_str()),
            _ => ("", ""),
        };
        match (called, first) {
            // Python 2 gives the entries to the constructor, as a list of lists of two; Python 3 inserts them.
            (("collections", "OrderedDict"), Some(list)) => self.push(Node::Ordered(list)),
            (("collections", "OrderedDict" | "defaultdict"), _) => self.push(Node::Dict(Vec::new())),
            (("torch", "Size"), Some(sizes)) => self.push_id(sizes),
            _ => self.push(Node::Call(function, arguments)),
        }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        match self.source.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => damaged("it ends inside of a pickle"),
            Err(error) => Err(error.into()),
        }
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.bytes::<1>()?[0])
    }

    fn number(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    /// A signed number of any length, if it has at most eight bytes.
    fn long(&mut self, length: u64) -> Result<Node> {
        let mut bytes = self.taken(length)?;
        if bytes.len() > 8 {
            return Ok(Node::Other);
        }
        let negative = bytes.last().is_some_and(|last| *last >= 0x80);
        bytes.resize(8, if negative { 0xff } else { 0 });
        Ok(bytes.first_chunk().map_or(Node::Other, |bytes| Node::Int(i64::from_le_bytes(*bytes))))
    }

    fn text(&mut self, length: u64) -> Result<Node> {
        let bytes = self.taken(length)?;
        Ok(Node::Text(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The next bytes. Memory is taken for those that are there, whatever the length claims.
    fn taken(&mut self, length: u64) -> Result<Vec<u8>> {
        if length > LONGEST_TEXT {
            return damaged(format!("its pickle claims a text of {length} bytes"));
        }
        let mut bytes = Vec::new();
        self.source.take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return damaged("it ends inside of a pickle's text");
        }
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        self.source.take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
        if bytes.pop() != Some(b'\n') {
            return damaged("a name in its pickle does not end");
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn name(&self, id: Id) -> Result<String> {
        match &self.nodes[id as usize] {
            Node::Text(text) if text.len() as u64 <= LONGEST_LINE => Ok(text.clone()),
            _ => damaged("the name of a class in its pickle is no text"),
        }
    }

    fn push(&mut self, node: Node) -> Result<()> {
        let id = self.nodes.len() as Id;
        self.nodes.push(node);
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Result<()> {
        // The stack grows by one number at a time too, from values that are kept.
        if self.nodes.len() > MOST_NODES || self.stack.len() > MOST_NODES {
            return damaged("its pickle has more parts than any file of tensors");
        }
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        self.stack.pop().map_or_else(empty, Ok)
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().map_or_else(empty, Ok)
    }

    fn mark(&mut self) -> Result<()> {
        if self.marks.len() > MOST_NODES {
            return damaged("its pickle has more parts than any file of tensors");
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// All that stands behind the last mark.
    fn marked(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => damaged("its pickle refers to a mark that is not there"),
        }
    }
}

fn pairs(items: Vec<Id>) -> Vec<(Id, Id)> {
    items.as_chunks::<2>().0.iter().map(|[key, value]| (*key, *value)).collect()
}

fn empty<T>() -> Result<T> {
    damaged("its pickle takes from an empty stack")
}
