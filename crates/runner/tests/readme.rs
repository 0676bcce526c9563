//! Every command of the README runs, on small drawn data and for a few steps.

mod common;

use common::succeed;
use std::path::Path;
use std::process::Command;

/// Makes any training of the README short; the last `--set` of a key counts.
const SHORT: [&str; 16] = [
    "--seed",
    "1",
    "--set",
    "train.epochs=1",
    "--set",
    "train.steps_per_epoch=1",
    "--set",
    "train.batch=1",
    "--set",
    "model.width=8",
    "--set",
    "features=\"random\"",
    "--set",
    "augmentation={}",
    "--set",
    "train.critic_width=8",
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The lines of all `sh` blocks.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(|block| block.lines().map(str::to_string).collect::<Vec<_>>()).collect()
}

fn prepare(folder: &Path) {
    succeed(folder, &["data", "synth", "--out", "data/vcip2020", "--count", "2", "--size", "256"]);
    std::fs::create_dir_all(folder.join("photos")).unwrap();
    for name in ["a", "b"] {
        let nir = folder.join("data/vcip2020/Validation/validation_0000_nir.png");
        std::fs::copy(nir, folder.join(format!("photos/{name}.png"))).unwrap();
    }
    std::fs::create_dir_all(folder.join("experiments")).unwrap();
    for entry in std::fs::read_dir(root().join("experiments")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.join("experiments").join(entry.file_name())).unwrap();
    }
}

fn run(folder: &Path, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        // What runs this test; what needs the network; what needs a card. The toolkit's script is run by `.ci/run`.
        ["cargo", "test" | "install" | "build", ..] | ["source" | "scripts/cuda-toolkit.sh", _] => {}
        [program, ..] if program.starts_with("target/cuda/") => {}
        ["cargo", "run", "--release", "--", ref args @ ..] | ["colormamba", ref args @ ..] => {
            let short = if args[0] == "run" { &SHORT[..] } else { &[] };
            succeed(folder, &[args, short].concat());
        }
        ["sbatch", script] => {
            // The script calls `colormamba` by name, as a cluster has it installed.
            let program = Path::new(env!("CARGO_BIN_EXE_colormamba")).parent().unwrap();
            let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
            let mut command = Command::new("sh");
            command.arg(script).args(SHORT).env("PATH", path).env("SLURM_ARRAY_TASK_ID", "1");
            let output = command.env("SLURM_CPUS_PER_TASK", "2").current_dir(folder).output().unwrap();
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        }
        _ => panic!("the README has a command that this test cannot run: {line}"),
    }
}

#[test]
fn every_link_leads_somewhere() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let targets = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    for target in targets.filter(|t| !t.starts_with("http")) {
        assert!(root().join(target).exists(), "{target}");
    }
}

#[test]
fn every_command_runs() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let commands = commands();
    assert!(commands.len() >= 9, "{commands:?}");
    for line in &commands {
        println!("{line}");
        run(folder.path(), line);
    }
}
