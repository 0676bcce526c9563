//! What a manifest has left to train, and how long that takes here.

use crate::commands::run::{Prepared, Run};
use crate::study::folder::RunFolder;
use crate::system::terminal::{Verbosity, event, note, print};
use crate::system::words::count;
use crate::training::session::Session;
use anyhow::Result;
use indicatif::HumanDuration;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

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
    /// Of all steps that are left.
    seconds_left: f64,
    /// The error that it ended with.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

/// Lists the runs of a manifest with what is left of each, by a step that is measured for each variant which has some
/// left. Writes nothing.
///
/// # Errors
/// A wrong manifest or command, data and weights that cannot be read, a run that cannot be gone on with.
pub fn plan(args: &Run) -> Result<()> {
    let prepared = Prepared::open(args)?;
    let sessions = prepared.sessions(args);
    let (mut measured, mut planned) = (BTreeMap::new(), Vec::new());
    for session in &sessions {
        let run = of(session, &mut measured)?;
        if args.verbosity == Verbosity::Json {
            print(&event("planned", &session.folder.label(), &run)?)?;
        }
        planned.push(run);
    }
    match args.verbosity {
        Verbosity::Json => Ok(()),
        Verbosity::Normal | Verbosity::Quiet => print(&table(&planned)),
    }
}

/// Seeds of a variant take the same time: it is measured once.
fn of(session: &Session, measured: &mut BTreeMap<String, f64>) -> Result<Planned> {
    let (folder, steps) = (session.folder, session.steps());
    let done = match session.begun()? {
        true => session.done()?,
        // The checkpoint of a run that has ended may be gone.
        false if folder.finished(session.manifest)? => steps,
        false => 0,
    };
    let seconds_per_step = match measured.get(&folder.variant) {
        _ if done >= steps => None,
        Some(seconds) => Some(*seconds),
        None => {
            if session.verbosity == Verbosity::Normal {
                note(&format!("timing a step of {}", folder.variant));
            }
            let seconds = session.seconds_per_step()?;
            measured.insert(folder.variant.clone(), seconds);
            Some(seconds)
        }
    };
    let id = format!("{}/seed-{}", folder.variant, folder.seed);
    let seconds_left = seconds_per_step.unwrap_or(0.0) * steps.saturating_sub(done) as f64;
    Ok(Planned { id, steps, done, seconds_per_step, seconds_left, failed: RunFolder::failure(&folder.path)? })
}

fn table(planned: &[Planned]) -> String {
    let mut text = "| run | steps | done | s a step | left |\n|---|--:|--:|--:|--:|\n".to_string();
    for Planned { id, steps, done, seconds_per_step, seconds_left, .. } in planned {
        let seconds = seconds_per_step.map(|seconds| format!("{seconds:.2}")).unwrap_or_default();
        let left = seconds_per_step.map(|_| duration(*seconds_left)).unwrap_or_default();
        text += &format!("| {id} | {steps} | {done} | {seconds} | {left} |\n");
    }
    for (run, why) in planned.iter().filter_map(|run| Some((&run.id, run.failed.as_ref()?))) {
        text += &format!("\n{run} failed: {why}\n");
    }
    let left = planned.iter().filter(|run| run.seconds_per_step.is_some()).count();
    let time = duration(planned.iter().map(|run| run.seconds_left).sum());
    let runs = count(planned.len(), "run");
    text + &format!("\n{left} of {runs} left: {time} here, one after the other, without scoring\n")
}

fn duration(seconds: f64) -> String {
    HumanDuration(Duration::from_secs_f64(seconds)).to_string()
}
