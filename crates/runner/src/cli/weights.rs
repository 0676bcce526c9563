//! The commands under `colormamba weights`.

use crate::commands::export::{self, Export, Numbers};
use crate::commands::weights;
use anyhow::Result;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum WeightsCommand {
    /// Fetch them and check them; without a network, say what belongs where
    Fetch {
        #[arg(required = true, value_name = "NAME", help = format!("One or more of {}", weights::listed()))]
        names: Vec<String>,
        /// Where they go
        #[arg(long, value_name = "DIR", default_value = "weights")]
        weights: PathBuf,
    },
    /// Print the names that `fetch` knows, and which of them are there
    List {
        /// Where they are looked for
        #[arg(long, value_name = "DIR", default_value = "weights")]
        weights: PathBuf,
    },
    /// Say what a file of weights is: network, header, tensors, and whether its checksum holds
    #[command(visible_alias = "verify")]
    Inspect {
        /// A file of weights, the folder of a run, or hf://OWNER/REPOSITORY/FILE
        #[arg(value_name = "WEIGHTS")]
        weights: PathBuf,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write a network's weights alone as safetensors: those of a run, or a PyTorch file of others
    #[command(visible_alias = "import")]
    Export {
        /// A file of weights, the folder of a run, or hf://OWNER/REPOSITORY/FILE
        #[arg(value_name = "WEIGHTS")]
        weights: PathBuf,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Round to f16: half the space
        #[arg(long, conflicts_with = "int8")]
        f16: bool,
        /// Round the kernels to 8 bits, a quarter of their space
        #[arg(long)]
        int8: bool,
        /// Replace a file that is there
        #[arg(long)]
        force: bool,
    },
}

impl WeightsCommand {
    pub(super) fn execute(self) -> Result<()> {
        match self {
            Self::Fetch { names, weights: folder } => weights::fetch(&names, &folder),
            Self::List { weights: folder } => weights::list(&folder),
            Self::Inspect { weights, json } => export::inspect(&weights, json),
            Self::Export { weights, out, f16, int8, force } => {
                let numbers = match (f16, int8) {
                    (true, _) => Numbers::F16,
                    (_, true) => Numbers::Eight,
                    _ => Numbers::Stored,
                };
                export::export(&Export { weights, out, numbers, force })
            }
        }
    }
}
