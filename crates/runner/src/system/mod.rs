//! What the operating system is asked for: files, memory, the terminal, Ctrl-C; and what a wrong command is.

pub mod files;
pub mod interrupt;
pub mod memory;
pub mod output;
pub mod terminal;
pub mod usage;
pub mod words;
