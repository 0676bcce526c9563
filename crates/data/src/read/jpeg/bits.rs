//! The bits of a scan.

/// A scan's data, from which bits are taken until a marker, or the file's end, follows.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The byte behind those in `held`.
    at: usize,
    /// BitReader that were read and not taken yet, the next at the top.
    held: u64,
    count: u32,
}

/// The data have ended.
#[derive(Debug)]
pub(super) struct Ended;

impl<'a> BitReader<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, held: 0, count: 0 }
    }

    /// The byte behind what was taken, to some bytes.
    pub fn place(&self) -> usize {
        self.at
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else { return };
            if byte == 0xff {
                // A zero behind it says that it is data, anything else is a marker.
                if self.bytes.get(self.at + 1) != Some(&0) {
                    return;
                }
                self.at += 1;
            }
            self.at += 1;
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next 16 bits, ones where the data have ended.
    pub fn peek(&mut self) -> u16 {
        if self.count < 16 {
            self.fill();
        }
        let ones = if self.count < 16 { u64::MAX >> self.count } else { 0 };
        ((self.held | ones) >> 48) as u16
    }

    /// Passes over `n` ≤ 16 bits.
    pub fn skip(&mut self, n: u32) -> Result<(), Ended> {
        if self.count < n {
            self.fill();
        }
        self.count = self.count.checked_sub(n).ok_or(Ended)?;
        self.held <<= n;
        Ok(())
    }

    /// The next `n` ≤ 15 bits.
    pub fn take(&mut self, n: u32) -> Result<u32, Ended> {
        let bits = u32::from(self.peek()) >> (16 - n);
        self.skip(n)?;
        Ok(bits)
    }

    /// Passes over the restart marker of this number, from 0 to 7; the rest of the byte before it is filling.
    pub fn restart(&mut self, number: u8) -> Result<(), usize> {
        let at = self.end()?;
        let marker = self.bytes[at..].iter().position(|&byte| byte != 0xff).map_or(self.bytes.len(), |n| at + n);
        if self.bytes.get(marker) != Some(&(0xd0 + number)) {
            return Err(at);
        }
        *self = Self::new(self.bytes, marker + 1);
        Ok(())
    }

    /// Where the marker that ends the data stands, or the file's end: less than a byte of data may be left before it, and it
    /// is filling.
    ///
    /// # Errors
    /// Where more is left.
    pub fn end(&mut self) -> Result<usize, usize> {
        self.fill();
        let left = self.count / 8;
        let data = self.bytes.get(self.at).is_some_and(|&byte| byte != 0xff || self.bytes.get(self.at + 1) == Some(&0));
        if left > 0 || data { Err(self.at - left as usize) } else { Ok(self.at) }
    }
}
