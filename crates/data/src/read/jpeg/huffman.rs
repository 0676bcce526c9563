//! Huffman codes.

use super::bits::{BitReader, Ended};

/// The codes that the file has defined by now: four for the first coefficients of blocks (DC), four for the others (AC).
#[derive(Default)]
pub(super) struct Tables {
    pub dc: [Option<Code>; 4],
    pub ac: [Option<Code>; 4],
}

impl Tables {
    /// From the content of a segment; none if it is not one.
    pub fn define(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((&place, rest)) = content.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let symbols = counts.iter().map(|&n| usize::from(n)).sum();
            let (symbols, rest) = rest.split_at_checked(symbols)?;
            let tables = match place >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return None,
            };
            *tables.get_mut(usize::from(place & 15))? = Some(Code::new(counts, symbols)?);
            content = rest;
        }
        Some(())
    }
}

/// BitReader that are looked up at once.
const SHORT: u32 = 9;

/// A Huffman code.
pub(super) struct Code {
    /// By the next [`SHORT`] bits: the symbol and its length, 0 where it is longer.
    short: Vec<(u8, u8)>,
    /// By length, from 1: the first number above the codes of that length, as 16 bits, and what to add to a code for the
    /// place of its symbol.
    long: [(u32, i32); 16],
    symbols: Vec<u8>,
}

impl Code {
    /// Of `counts` symbols for each length from 1 to 16; none if there are more than codes.
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut code = Self { short: vec![(0, 0); 1 << SHORT], long: [(0, 0); 16], symbols: symbols.to_vec() };
        let (mut next, mut place) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            code.long[length as usize - 1].1 = place as i32 - next as i32;
            for &symbol in &symbols[place..place + usize::from(count)] {
                if next >= 1 << length {
                    return None;
                }
                if length <= SHORT {
                    let first = (next << (SHORT - length)) as usize;
                    code.short[first..first + (1 << (SHORT - length))].fill((symbol, length as u8));
                }
                next += 1;
            }
            place += usize::from(count);
            code.long[length as usize - 1].0 = next << (16 - length);
            next <<= 1;
        }
        Some(code)
    }

    /// The next symbol; `None` if the bits are no code.
    pub fn symbol(&self, bits: &mut BitReader) -> Result<Option<u8>, Ended> {
        let ahead = u32::from(bits.peek());
        let (symbol, length) = self.short[(ahead >> (16 - SHORT)) as usize];
        if length > 0 {
            bits.skip(u32::from(length))?;
            return Ok(Some(symbol));
        }
        let longer = (SHORT + 1..=16).find(|&length| ahead < self.long[length as usize - 1].0);
        // At the end of the data the bits ahead are ones, which are no code.
        let Some(length) = longer else { return bits.skip(16).map(|()| None) };
        bits.skip(length)?;
        let place = (ahead >> (16 - length)) as i32 + self.long[length as usize - 1].1;
        Ok(self.symbols.get(usize::try_from(place).unwrap_or(usize::MAX)).copied())
    }
}
