//! Where the time and memory of one training iteration go.

use crate::system::terminal::event;
use anyhow::Result;
use colormamba_ops::profile::{Part, Profile};
use serde::Serialize;
use std::time::Duration;

/// One iteration, measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Variant and seed.
    pub run: String,
    /// Its operations.
    pub profile: Profile,
    /// The most bytes that were allocated during it.
    pub peak_live: u64,
    /// The most bytes that the process has had resident; `None` where the system does not tell.
    pub peak_resident: Option<u64>,
}

/// An operation in JSON.
#[derive(Serialize)]
struct OperationLine {
    operation: String,
    calls: usize,
    forward_seconds: f64,
    backward_seconds: f64,
    share: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    flops: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_kept_bytes: Option<i64>,
}

/// The iteration in JSON.
#[derive(Serialize)]
struct TotalLine {
    seconds: f64,
    flops: u64,
    memory_kept_bytes: i64,
    peak_live_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_resident_bytes: Option<u64>,
}

impl Measured {
    /// A line per operation, the longest first, and one for all.
    ///
    /// # Errors
    /// None that can occur: the lines hold numbers and names alone.
    pub fn json(&self) -> Result<String> {
        let line = |part: &Part| {
            let line = OperationLine {
                operation: term(&part.name),
                calls: part.calls,
                forward_seconds: part.forward.as_secs_f64(),
                backward_seconds: part.backward.as_secs_f64(),
                share: self.share(part),
                flops: part.flops,
                memory_kept_bytes: part.kept,
            };
            event("operation", &self.run, &line)
        };
        let operations: String = self.profile.parts.iter().map(line).collect::<Result<_>>()?;
        let total = TotalLine {
            seconds: self.profile.wall.as_secs_f64(),
            flops: self.flops(),
            memory_kept_bytes: self.kept(),
            peak_live_bytes: self.peak_live,
            peak_resident_bytes: self.peak_resident,
        };
        Ok(operations + &event("profile", &self.run, &total)?)
    }

    /// A row per operation, the longest first, and one for all, in Markdown.
    pub fn table(&self) -> String {
        let head = ["operation", "calls", "forward [ms]", "backward [ms]", "share [%]", "GFLOP/s", "memory kept [MiB]"];
        let mut rows = vec![head.map(String::from)];
        rows.extend(self.profile.parts.iter().map(|part| self.row(part)));
        rows.push(self.total());
        let resident = self.peak_resident.map(|bytes| format!(", {} MiB resident", mib(bytes as f64)));
        format!(
            "One iteration of {}\n\n{}\n{} ms; peak memory {} MiB live{}\n",
            self.run,
            aligned(&rows),
            milliseconds(self.profile.wall),
            mib(self.peak_live as f64),
            resident.unwrap_or_default()
        )
    }

    fn row(&self, part: &Part) -> [String; 7] {
        [
            term(&part.name),
            part.calls.to_string(),
            milliseconds(part.forward),
            milliseconds(part.backward),
            format!("{:.1}", 100.0 * self.share(part)),
            part.flops.map_or(NONE.into(), |flops| giga(flops, part.time())),
            part.kept.map_or(NONE.into(), |bytes| mib(bytes as f64)),
        ]
    }

    fn total(&self) -> [String; 7] {
        let parts = &self.profile.parts;
        [
            "total".into(),
            NONE.into(),
            milliseconds(parts.iter().map(|part| part.forward).sum()),
            milliseconds(parts.iter().map(|part| part.backward).sum()),
            "100.0".into(),
            giga(self.flops(), self.profile.wall),
            mib(self.kept() as f64),
        ]
    }

    fn share(&self, part: &Part) -> f64 {
        part.time().as_secs_f64() / self.profile.wall.as_secs_f64()
    }

    fn flops(&self) -> u64 {
        self.profile.parts.iter().filter_map(|part| part.flops).sum()
    }

    fn kept(&self) -> i64 {
        self.profile.parts.iter().filter_map(|part| part.kept).sum()
    }
}

/// Where a column has no number.
const NONE: &str = "–";

/// What papers call the operation that a function computes.
fn term(name: &str) -> String {
    match name {
        "conv_transpose2d" => "transposed conv2d".into(),
        "depthwise_conv3x3" => "depthwise conv2d".into(),
        "four_direction_scan" => "selective scan in 4 directions".into(),
        "criss_cross" => "criss-cross attention".into(),
        "spade_norm" => "SPADE".into(),
        "gelu" => "GELU".into(),
        "relu" => "ReLU".into(),
        "leaky_relu" => "leaky ReLU".into(),
        "silu" => "SiLU".into(),
        "silu_gate" => "SiLU gate".into(),
        "transpose" => "channels first <-> last".into(),
        "separable" => "padding, resizing, average pooling".into(),
        "max_pool2d" => "max pooling".into(),
        "with_bias" => "attention bias".into(),
        "with_ignored" => "unused agent bias".into(),
        "scaled" => "scaling".into(),
        other => other.replace('_', " "),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", 1e3 * time.as_secs_f64())
}

fn mib(bytes: f64) -> String {
    format!("{:.1}", bytes / f64::from(1 << 20))
}

fn giga(flops: u64, time: Duration) -> String {
    format!("{:.1}", 1e-9 * flops as f64 / time.as_secs_f64())
}

/// A Markdown table whose columns stand below each other: the first to the left, the others to the right.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let first = format!("| {:<1$} |", row[0], widths[0]);
        let others = row.iter().zip(widths).skip(1).map(|(cell, width)| format!(" {cell:>width$} |"));
        first + &others.collect::<String>() + "\n"
    };
    let rule = format!("|{}|", "-".repeat(widths[0] + 2));
    let rule = rule + &widths[1..].iter().map(|width| format!("{}:|", "-".repeat(width + 1))).collect::<String>();
    let mut lines = rows.iter().map(line);
    let head = lines.next().unwrap_or_default();
    format!("{head}{rule}\n{}", lines.collect::<String>())
}
