//! The program `colormamba`: manifests, training, evaluation, tables.
//!
//! A [`manifest::Manifest`] says what to train; [`colormamba_training::Trainer`] does one iteration;
//! [`training::session::Session`] trains one variant from one seed in a [`study::folder::RunFolder`]; [`report::table::Table`]
//! puts scores side by side. Rooms use those before them alone: [`system`], [`manifest`], [`inputs`], [`study`], [`scoring`],
//! [`report`], [`training`], [`commands`], [`cli`].

pub mod cli;
pub mod commands;
pub mod inputs;
pub mod manifest;
pub mod report;
pub mod scoring;
pub mod study;
pub mod system;
pub mod training;
