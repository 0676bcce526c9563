//! What a manifest has left to train, and how long that takes here.

use crate::commands::run::{Prepared, Run};
use crate::system::terminal::{Verbosity, event, print};
use crate::system::words::count;
use crate::training::session::Session;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;

/// A run, and what is left of it.
#[derive(Serialize)]
struct Planned {
    /// Its folder below that of the study.
    id: String,
    steps: usize,
    done: usize,
    /// Of a step on this machine, scoring left out; none if no step is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_per_step: Option<f64>,
}

impl Planned {
    fn left(&self) -> usize {
        self.steps.saturating_sub(self.done)
    }

    fn hours(&self) -> f64 {
        self.seconds_per_step.unwrap_or(0.0) * self.left() as f64 / 3600.0
    }
}

/// Lists the runs of a manifest with what is left of each, by a step that is measured for each variant which has some
/// left. Writes nothing.
///
/// # Errors
/// A wrong manifest or command, data and weights that cannot be read, a run that cannot be gone on with.
pub fn plan(args: &Run) -> Result<()> {
    let prepared = Prepared::open(args)?;
    let sessions = prepared.sessions(args);
    let mut measured = BTreeMap::new();
    let planned = sessions.iter().map(|session| planned(session, &mut measured)).collect::<Result<Vec<_>>>()?;
    match args.verbosity {
        Verbosity::Json => {
            for (session, run) in sessions.iter().zip(&planned) {
                print(&event("planned", &session.folder.label(), run)?)?;
            }
            Ok(())
        }
        Verbosity::Normal | Verbosity::Quiet => print(&table(&planned)),
    }
}

/// Seeds of a variant take the same time: it is measured once.
fn planned(session: &Session, measured: &mut BTreeMap<String, f64>) -> Result<Planned> {
    let (folder, steps) = (session.folder, session.steps());
    // The checkpoint of a run that has ended may be gone.
    let ended = !session.begun()? && folder.finished(session.manifest)?;
    let done = if ended { steps } else { session.done()? };
    let seconds_per_step = match measured.get(&folder.variant) {
        _ if done >= steps => None,
        Some(seconds) => Some(*seconds),
        None => {
            let seconds = session.seconds_per_step()?;
            measured.insert(folder.variant.clone(), seconds);
            Some(seconds)
        }
    };
    let id = format!("{}/seed-{}", folder.variant, folder.seed);
    Ok(Planned { id, steps, done, seconds_per_step })
}

fn table(planned: &[Planned]) -> String {
    let mut text = "| run | steps | done | s a step | hours left |\n|---|--:|--:|--:|--:|\n".to_string();
    for run in planned {
        let seconds = run.seconds_per_step.map(|seconds| format!("{seconds:.2}")).unwrap_or_default();
        text += &format!("| {} | {} | {} | {seconds} | {:.2} |\n", run.id, run.steps, run.done, run.hours());
    }
    let left = planned.iter().filter(|run| run.left() > 0).count();
    let hours: f64 = planned.iter().map(Planned::hours).sum();
    text + &format!(
        "\n{} of {} left: {hours:.2} hours here, one after the other, without scoring\n",
        left,
        count(planned.len(), "run")
    )
}
