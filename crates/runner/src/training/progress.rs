//! What a run says while it runs.

use crate::study::record::{EpochLine, StepLine};
use crate::system::terminal::{Verbosity, event, note, print};
use crate::system::words::fixed;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// On a terminal a bar moves; elsewhere a line is written at most this often.
const PAUSE: Duration = Duration::from_secs(15);

/// Reports one run.
pub struct Progress {
    label: String,
    steps: usize,
    begun: (Instant, usize),
    form: Form,
}

enum Form {
    Bar(ProgressBar),
    Lines { last: Instant },
    Json,
    Quiet,
}

impl Progress {
    /// A run called `label` of `steps` steps, of which `done` were done before.
    ///
    /// # Errors
    /// None that can occur: the bar's template is fixed.
    pub fn new(verbosity: Verbosity, label: &str, steps: usize, done: usize) -> Result<Self> {
        let form = match verbosity {
            Verbosity::Quiet => Form::Quiet,
            Verbosity::Json => Form::Json,
            Verbosity::Normal if std::io::stderr().is_terminal() => {
                let style = "{prefix} {wide_bar} {pos}/{len} {elapsed} {msg}";
                let bar = ProgressBar::new(steps as u64).with_style(ProgressStyle::with_template(style)?);
                bar.set_prefix(label.to_string());
                bar.set_position(done as u64);
                Form::Bar(bar)
            }
            Verbosity::Normal => Form::Lines { last: Instant::now() },
        };
        Ok(Self { label: label.to_string(), steps, begun: (Instant::now(), done), form })
    }

    /// After a step.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn step(&mut self, line: &StepLine) -> Result<()> {
        let status = self.status(line);
        match &mut self.form {
            Form::Bar(bar) => {
                bar.set_position(line.step as u64);
                bar.set_message(status);
            }
            Form::Lines { last } if last.elapsed() >= PAUSE => {
                *last = Instant::now();
                note(&format!("{}: step {}/{}, {status}", self.label, line.step, self.steps));
            }
            Form::Json => self.event("step", line)?,
            Form::Lines { .. } | Form::Quiet => {}
        }
        Ok(())
    }

    /// After an epoch, with its validation PSNR in dB, if there are validation images.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn epoch(&mut self, line: &EpochLine, psnr: Option<f64>) -> Result<()> {
        let best = if line.best { ", the best so far" } else { "" };
        let psnr = psnr.map(|psnr| format!(", validation PSNR {psnr:.2} dB{best}")).unwrap_or_default();
        let text = format!("{}: epoch {}, G {}{psnr}", self.label, line.epoch, fixed(line.g_loss, 4));
        match &self.form {
            Form::Bar(bar) => bar.println(text),
            Form::Lines { .. } => note(&text),
            Form::Json => self.event("epoch", line)?,
            Form::Quiet => {}
        }
        Ok(())
    }

    fn event<T: Serialize>(&self, name: &str, content: &T) -> Result<()> {
        print(&event(name, &self.label, content)?)
    }

    fn status(&self, line: &StepLine) -> String {
        let (start, before) = self.begun;
        let pace = start.elapsed().as_secs_f64() / (line.step - before).max(1) as f64;
        let left = Duration::from_secs_f64(pace * self.steps.saturating_sub(line.step) as f64);
        let g = line.g_loss.last().map_or(f64::NAN, |g| g.total);
        let d = line.d_loss.last().map(|d| format!(", D {}", fixed(*d, 4))).unwrap_or_default();
        format!("{pace:.2} s/step, {} left, G {}{d}", indicatif::HumanDuration(left), fixed(g, 4))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}
