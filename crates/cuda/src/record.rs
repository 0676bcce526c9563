//! Launches of emulated kernels, kept in files for `scripts/check-races.sh` to run again by threads under a sanitizer.

use std::collections::hash_map::DefaultHasher;
use std::fs::{File, read_dir};
use std::hash::{Hash, Hasher};
use std::io::{ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Names the folder; without it nothing is kept.
const FOLDER: &str = "COLORMAMBA_RECORD_LAUNCHES";

/// Most launches of a kernel, and most bytes of one.
const LAUNCHES: usize = 3;
const BYTES: usize = 4 << 20;

/// A kernel's arguments, of which some are pointers to this memory.
pub(crate) struct Record<'a> {
    /// Where each pointer stands among the arguments' bytes, and the elements that it points to.
    pub memory: Vec<(usize, &'a [u8])>,
    pub name: &'a str,
    pub blocks: [u32; 3],
    pub threads: u32,
    pub shared: u32,
    pub arguments: &'a [u8],
}

/// Where launches are kept, if they are.
pub(crate) fn folder() -> Option<&'static Path> {
    static PLACE: OnceLock<Option<PathBuf>> = OnceLock::new();
    PLACE.get_or_init(|| std::env::var_os(FOLDER).map(PathBuf::from)).as_deref()
}

impl Record<'_> {
    /// Keeps the launch, unless it is large, there is one like it, or there are enough of its kernel.
    pub fn keep(&self, folder: &Path) -> Result<()> {
        let size: usize = self.memory.iter().map(|(_, bytes)| bytes.len()).sum();
        let path = folder.join(format!("{}.{:016x}", self.name, self.likeness()));
        if size > BYTES || path.exists() || self.kept(folder)? >= LAUNCHES {
            return Ok(());
        }
        // Another test may be at it.
        match File::create_new(path) {
            Ok(mut file) => file.write_all(&self.bytes()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn kept(&self, folder: &Path) -> Result<usize> {
        let prefix = format!("{}.", self.name);
        let mut count = 0;
        for entry in read_dir(folder)? {
            count += usize::from(entry?.file_name().to_string_lossy().starts_with(&prefix));
        }
        Ok(count)
    }

    /// The same for launches of the same sizes.
    fn likeness(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.blocks, self.threads, self.shared).hash(&mut hasher);
        self.memory.iter().for_each(|(place, bytes)| (place, bytes.len()).hash(&mut hasher));
        hasher.finish()
    }

    /// As `replay.cpp` reads it.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let number = |n: usize, bytes: &mut Vec<u8>| bytes.extend((n as u64).to_ne_bytes());
        let grid = self.blocks.map(|n| n as usize);
        [self.name.len(), grid[0], grid[1], grid[2], self.threads as usize, self.shared as usize]
            .into_iter()
            .chain([self.arguments.len(), self.memory.len()])
            .for_each(|n| number(n, &mut bytes));
        bytes.extend(self.name.as_bytes());
        bytes.extend(self.arguments);
        for (place, memory) in &self.memory {
            number(*place, &mut bytes);
            number(memory.len(), &mut bytes);
            bytes.extend(*memory);
        }
        bytes
    }
}
