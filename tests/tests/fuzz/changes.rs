//! Files with changes that look random and are the same in every run.

/// The longest file that is tried.
pub const LONGEST: usize = 1 << 20;

/// A linear congruence.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Numbers at which programs break.
const EDGES: [u32; 12] = [0, 1, 2, 7, 8, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];

/// Bytes that mean something to a reader of pickles or JSON: lengths, ends, instructions.
const TELLING: &[u8] = b"\x00\x01\x7f\x80\xff()]}tRQ.hqjrXKMeaus{\"[,:9";

/// The same as words of a text.
const WORDS: [&str; 16] = [
    "0",
    "-1",
    "1.5",
    "1e400",
    "nan",
    "-inf",
    "9223372036854775807",
    "9223372036854775808",
    "true",
    "\"\"",
    "\"\\n\"",
    "[]",
    "{}",
    "[[x]]",
    "a.b = 1",
    "é",
];

/// One of the files with some changes: single bytes, numbers of two and four bytes, parts lost, doubled, or of another
/// file.
pub fn bytes(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes: Vec<u8> = random.of(corpus).clone();
    for _ in 0..1 + random.below(5) {
        // Headers are at the start, directories of TIFF and markers often at the end.
        let at = match random.below(4) {
            0 => random.below(bytes.len().min(256)),
            1 => bytes.len() - 1 - random.below(bytes.len().min(512)),
            _ => random.below(bytes.len()),
        };
        let length = (1 + random.below(64)).min(bytes.len() - at);
        match random.below(9) {
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = random.below(256) as u8,
            3 => {
                let edge = random.of(&EDGES).to_be_bytes();
                let edge = if random.below(2) == 0 { edge } else { [edge[3], edge[2], edge[1], edge[0]] };
                let width = if random.below(2) == 0 { 2 } else { 4 };
                bytes.iter_mut().skip(at).zip(edge.iter().take(width)).for_each(|(byte, edge)| *byte = *edge);
            }
            4 if bytes.len() > length + 1 => _ = bytes.drain(at..at + length),
            5 => {
                let part = bytes[at..at + length].to_vec();
                bytes.splice(at..at, part);
            }
            6 => {
                let other: &Vec<u8> = random.of(corpus);
                let from = random.below(other.len());
                let part = &other[from..other.len().min(from + length)];
                bytes.iter_mut().skip(at).zip(part).for_each(|(byte, other)| *byte = *other);
            }
            7 => bytes[at] = *random.of(TELLING),
            _ if at > 0 && random.below(4) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// One of the texts with some changes: words lost, or in the place of others; lines lost, doubled, or of another text;
/// and now and then what [`bytes`] does.
pub fn text(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    if random.below(4) == 0 {
        return bytes(corpus, random);
    }
    let mut text = lines(corpus, random);
    for _ in 0..1 + random.below(3) {
        let at = random.below(text.len());
        match random.below(8) {
            0 => _ = text.remove(at),
            1 => text.insert(at, text[random.below(text.len())].clone()),
            2 => {
                let others = lines(corpus, random);
                text.insert(at, random.of(&others).clone());
            }
            3 => text.swap(at, 0),
            _ => text[at] = with_other_word(&text[at], corpus, random),
        }
        if text.is_empty() {
            text.push(String::new());
        }
    }
    text.join("\n").into_bytes()
}

/// Those of one of the texts.
fn lines(corpus: &[Vec<u8>], random: &mut Random) -> Vec<String> {
    let text: &Vec<u8> = random.of(corpus);
    String::from_utf8_lossy(text).split('\n').map(str::to_string).collect()
}

/// The line with another of its words: one of another text, one of [`WORDS`], or none.
fn with_other_word(line: &str, corpus: &[Vec<u8>], random: &mut Random) -> String {
    let words: Vec<&str> = line.split_inclusive([' ', ',', '=', '.', '[', ']', '{', '}']).collect();
    let at = random.below(words.len());
    let put = match random.below(3) {
        0 => String::new(),
        1 => random.of(&WORDS).to_string(),
        _ => {
            let other = lines(corpus, random);
            let words: Vec<&str> = random.of(&other).split([' ', ',']).collect();
            random.of(&words).to_string()
        }
    };
    // What ended the word stays.
    let end = words.get(at).and_then(|word| word.chars().last()).filter(|end| !end.is_alphanumeric());
    let end = end.map(String::from).unwrap_or_default();
    let (before, after) = (words[..at.min(words.len())].concat(), words.get(at + 1..).unwrap_or_default().concat());
    format!("{before}{put}{end}{after}")
}
