//! The program `colormamba`: manifests, training, evaluation, tables.
//!
//! A [`manifest::Manifest`] says what to train; [`colormamba_training::Trainer`] does one iteration; [`session::Session`]
//! trains one variant from one seed in a [`folder::RunFolder`]; [`table::Table`] puts scores side by side.

pub mod baselines;
pub mod cli;
pub mod commands;
pub mod dataset;
pub mod evaluate;
pub mod files;
pub mod folder;
pub mod images;
pub mod interrupt;
pub mod leak;
pub mod manifest;
pub mod memory;
pub mod precision;
pub mod profile;
pub mod progress;
pub mod provenance;
pub mod record;
pub mod session;
pub mod table;
pub mod usage;
pub mod weights;
