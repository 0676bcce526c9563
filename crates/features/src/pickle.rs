//! Python's pickles, as far as files of tensors need them.
//!
//! Candle reads pickles of PyTorch's present files; those written by Python 2, as published weights from before 2019
//! often are, hold byte strings, which it does not read.

use candle_core::{Result, bail};
use std::collections::HashMap;
use std::io::BufRead;

/// What a pickle holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// None, a number that is not whole, or anything else that says nothing about tensors.
    Other,
    Bool(bool),
    /// A whole number of up to eight bytes.
    Int(i64),
    Text(String),
    /// A class or function: module and name.
    Global(String, String),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// What lies outside of the pickle, by its description.
    Persistent(Box<Value>),
    /// A function's result.
    Call(Box<Value>, Vec<Value>),
}

/// Reads one pickle.
pub(crate) fn read(source: &mut impl BufRead) -> Result<Value> {
    Ok(read_with_persistent(source)?.0)
}

/// Reads one pickle, and gives the descriptions of all that lies outside of it beside its value.
pub(crate) fn read_with_persistent(source: &mut impl BufRead) -> Result<(Value, Vec<Value>)> {
    let mut machine =
        Machine { source, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), persistent: Vec::new() };
    while machine.step()? {}
    Ok((machine.pop()?, machine.persistent))
}

/// The machine that a pickle is a program of.
struct Machine<'a, R> {
    source: &'a mut R,
    stack: Vec<Value>,
    /// Lengths of the stack where marks stand.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// Descriptions of what lies outside.
    persistent: Vec<Value>,
}

impl<R: BufRead> Machine<'_, R> {
    /// Runs one instruction; whether another follows.
    fn step(&mut self) -> Result<bool> {
        match self.byte()? {
            b'.' => return Ok(false),
            // The version of the format.
            0x80 => drop(self.byte()?),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Value::Other),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => self.whole(1)?,
            b'M' => self.whole(2)?,
            b'J' => {
                let value = i32::from_le_bytes(self.bytes()?);
                self.stack.push(Value::Int(value.into()));
            }
            0x8a => self.long()?,
            b'G' => {
                self.bytes::<8>()?;
                self.stack.push(Value::Other);
            }
            b'U' => {
                let length = self.byte()?;
                self.text(length.into())?;
            }
            b'T' | b'X' => {
                let length = self.number()?;
                self.text(length)?;
            }
            b'c' => {
                let global = Value::Global(self.line()?, self.line()?);
                self.stack.push(global);
            }
            b'q' => {
                let place = self.byte()?;
                self.keep(place.into())?;
            }
            b'r' => {
                let place = self.number()?;
                self.keep(place)?;
            }
            b'h' => {
                let place = self.byte()?;
                self.recall(place.into())?;
            }
            b'j' => {
                let place = self.number()?;
                self.recall(place)?;
            }
            b')' => self.stack.push(Value::Tuple(Vec::new())),
            b']' => self.stack.push(Value::List(Vec::new())),
            b'}' => self.stack.push(Value::Dict(Vec::new())),
            b't' => {
                let items = self.marked()?;
                self.stack.push(Value::Tuple(items));
            }
            count @ 0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(count - 0x84));
                let Some(from) = from else { bail!("a pickle whose stack is empty") };
                let items = self.stack.split_off(from);
                self.stack.push(Value::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.marked()?;
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.insert(vec![key, value])?;
            }
            b'u' => {
                let items = self.marked()?;
                self.insert(items)?;
            }
            b'Q' => {
                let description = self.pop()?;
                self.persistent.push(description.clone());
                self.stack.push(Value::Persistent(Box::new(description)));
            }
            b'R' => self.call()?,
            // Attributes of an object, which tensors do not need.
            b'b' => drop(self.pop()?),
            code => bail!("a pickle with the instruction {code:#04x}, which files of tensors do not have"),
        }
        Ok(true)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.bytes::<1>()?[0])
    }

    fn number(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    /// Pushes an unsigned number of that many bytes.
    fn whole(&mut self, bytes: usize) -> Result<()> {
        let mut value = 0;
        for i in 0..bytes {
            value |= i64::from(self.byte()?) << (8 * i);
        }
        self.stack.push(Value::Int(value));
        Ok(())
    }

    /// Pushes a signed number of any length, if it has at most eight bytes.
    fn long(&mut self) -> Result<()> {
        let length = usize::from(self.byte()?);
        let mut bytes = vec![0; length];
        self.source.read_exact(&mut bytes)?;
        let negative = bytes.last().is_some_and(|last| *last >= 0x80);
        bytes.resize(length.max(8), if negative { 0xff } else { 0 });
        let value = bytes.first_chunk().filter(|_| length <= 8).map(|low| Value::Int(i64::from_le_bytes(*low)));
        self.stack.push(value.unwrap_or(Value::Other));
        Ok(())
    }

    fn text(&mut self, length: u32) -> Result<()> {
        let mut bytes = Vec::new();
        let read = std::io::Read::take(&mut *self.source, length.into());
        std::io::Read::read_to_end(&mut { read }, &mut bytes)?;
        if bytes.len() != length as usize {
            bail!("a pickle that ends inside of a string");
        }
        self.stack.push(Value::Text(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        self.source.read_until(b'\n', &mut bytes)?;
        if bytes.pop() != Some(b'\n') {
            bail!("a pickle that ends inside of a name");
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn pop(&mut self) -> Result<Value> {
        match self.stack.pop() {
            Some(value) => Ok(value),
            None => bail!("a pickle whose stack is empty"),
        }
    }

    /// All that stands behind the last mark.
    fn marked(&mut self) -> Result<Vec<Value>> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => bail!("a pickle without the mark that it refers to"),
        }
    }

    fn keep(&mut self, place: u32) -> Result<()> {
        let Some(value) = self.stack.last() else { bail!("a pickle whose stack is empty") };
        self.memo.insert(place, value.clone());
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<()> {
        let Some(value) = self.memo.get(&place) else { bail!("a pickle that recalls what it has not kept") };
        self.stack.push(value.clone());
        Ok(())
    }

    fn append(&mut self, items: Vec<Value>) -> Result<()> {
        let Some(Value::List(list)) = self.stack.last_mut() else { bail!("a pickle that appends to no list") };
        list.extend(items);
        Ok(())
    }

    fn insert(&mut self, items: Vec<Value>) -> Result<()> {
        let Some(Value::Dict(dict)) = self.stack.last_mut() else { bail!("a pickle that inserts into no dictionary") };
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            dict.push((key, value));
        }
        Ok(())
    }

    fn call(&mut self) -> Result<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Tuple(arguments) = arguments else { bail!("a pickle with a call whose arguments are no tuple") };
        let is = |module: &str, name: &str| matches!(&function, Value::Global(m, n) if m == module && n == name);
        let value = if is("collections", "OrderedDict") {
            ordered(arguments)
        } else if is("torch", "Size") {
            arguments.into_iter().next().unwrap_or(Value::Tuple(Vec::new()))
        } else {
            Value::Call(Box::new(function), arguments)
        };
        self.stack.push(value);
        Ok(())
    }
}

/// An ordered dictionary: Python 2 gives its entries to the constructor, as a list of lists of two; Python 3 inserts
/// them.
fn ordered(arguments: Vec<Value>) -> Value {
    let Some(Value::List(entries)) = arguments.into_iter().next() else { return Value::Dict(Vec::new()) };
    let pair = |entry: Value| match entry {
        Value::List(entry) | Value::Tuple(entry) => {
            let mut entry = entry.into_iter();
            Some((entry.next()?, entry.next()?))
        }
        _ => None,
    };
    Value::Dict(entries.into_iter().filter_map(pair).collect())
}
