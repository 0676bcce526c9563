//! Every key of a manifest in words: the page `docs/manifest.md`, and the comments of a starter manifest.

use colormamba_training::Architecture;
/// A key of a table.
pub use colormamba_training::OptionAbout as Key;
use std::fmt::Write;

/// A table of a manifest.
pub struct Section {
    /// Where it stands, as `data.synthetic`; empty for the top of the file.
    pub path: &'static str,
    /// What it is, and what must be known before its keys.
    pub about: &'static str,
    /// In the order of the page.
    pub keys: &'static [Key],
}

const fn required(name: &'static str, kind: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, default: None, meaning }
}

const fn optional(name: &'static str, kind: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, default: Some(default), meaning }
}

/// What a default is called that stands for nothing at all.
pub const NONE: &str = "none";

const WARMUP: Key = optional("warmup_steps", "integer, 0 or more", "0", "steps of a linear warm-up from 0 to the rate");
const LR: Key = required("lr", "number above 0", "learning rate before its schedule");
const BETAS: Key = optional("betas", "two numbers, 0 to below 1", "[0.5, 0.999]", "decay of the two moments");

/// All tables; the options of each kind of network are its own, [`Architecture::KINDS`].
pub const SECTIONS: &[Section] = &[
    Section {
        path: "",
        about: "The study.",
        keys: &[
            required("name", "a folder's name", "names the folder of the results, `runs/NAME`"),
            optional("seeds", "list of distinct integers, 0 or more", "[1]", "every variant is trained once from each"),
            optional(
                "features",
                "\"pretrained\" or \"random\"",
                NONE,
                "weights of the feature networks that a loss looks through; needed if one does",
            ),
            optional("feature_seed", "integer, 0 or more", "0", "seed of `features = \"random\"`"),
            optional(
                "measures",
                "list of measures' specs or short names",
                "[\"psnr\", \"ssim\", \"ae\"]",
                "the columns of its tables; any measure that `compare` knows",
            ),
            optional("weights", "path", "\"weights\"", "folder of pretrained weights"),
            required("data", "table", "the images"),
            required("model", "table", "the network"),
            required("train", "table", "the optimisation"),
            optional("augmentation", "table", "no changes", "random changes of the training pairs"),
            optional("distill", "table", NONE, "what is learned of other networks beside the truth"),
            required("variant", "list of tables", "the loss configurations, `[[variant]]` each"),
        ],
    },
    Section {
        path: "data",
        about: "What to train and score on.",
        keys: &[
            required(
                "dataset",
                "name or path",
                "a known data set, a `.toml` file like those in `datasets/`, or \"synthetic\"",
            ),
            optional(
                "description_blake3",
                "hex digits",
                NONE,
                "digest of that file; written into the manifests of runs",
            ),
            optional("subset", "name", "\"published\"", "which of the description's splits"),
            optional("root", "path", NONE, "folder of the images; `--data` takes precedence"),
            required(
                "protocol",
                "\"raw\" or \"minmax\"",
                "what a prediction is scored against: truth / 255, or stretched per image",
            ),
            optional(
                "nir_hsv",
                "\"gray\" or \"published\"",
                "\"gray\"",
                "value channel that the HSV network is given: the NIR image, or its stretched form as published",
            ),
            optional(
                "size",
                "integer, 1 to 16384",
                "256",
                "width and height that images are resized to; a multiple of the model's grid",
            ),
            optional("synthetic", "table", NONE, "how many scenes to draw; for `dataset = \"synthetic\"` alone"),
        ],
    },
    Section {
        path: "data.synthetic",
        about: "Scenes that the program draws.",
        keys: &[
            required("seed", "integer, 0 or more", "seed of the scenes, independent of the training seeds"),
            required("train", "integer, 1 to 1000000", "pairs of the training split"),
            required("validation", "integer, 1 to 1000000", "pairs of the validation split"),
            required("test", "integer, 1 to 1000000", "pairs of the test split"),
        ],
    },
    Section {
        path: "model",
        about: "The network. `kind` chooses it; its options stand here too.",
        keys: &[
            optional("kind", "one of the kinds below", "\"colormamba\"", "the architecture"),
            optional(
                "init",
                "path or table",
                NONE,
                "weights to start from: a file, a run's folder, `hf://OWNER/REPOSITORY/FILE`, \"built-in\" for those \
                 of the program, or `{ from = PATH, only = [PREFIX, ..] }`",
            ),
        ],
    },
    Section {
        path: "train",
        about: "The optimisation.",
        keys: &[
            required("epochs", "integer, 1 or more", "passes over the training split"),
            required("batch", "integer, 1 to 4096", "pairs a step"),
            optional("steps_per_epoch", "integer, 1 or more", NONE, "ends an epoch after so many steps"),
            optional("critic_steps", "integer, 1 to 1000", "1", "updates of each discriminator a step"),
            optional(
                "generator_steps",
                "integer, 1 to 1000",
                "2",
                "updates of the network a step, each but the first on a fresh forward pass",
            ),
            optional("critic_width", "integer, 1 to 1024", "64", "base channels of the discriminators"),
            optional(
                "precision",
                "\"f32\", \"tf32\" or \"bf16\"",
                "\"f32\"",
                "how a GPU computes in training; validation is in f32",
            ),
            optional("diagnostics", "\"gradients\"", NONE, "logs norm and cosines of each term's gradient"),
            optional("diagnostics_every", "integer, 1 or more", "10", "steps between two such logs"),
            required("optimizer", "table", "how gradients become updates"),
            optional("schedule", "table", "constant", "how the learning rate falls"),
            optional(
                "lr_factors",
                "table of numbers by prefix",
                "{}",
                "factor of the learning rate of the parameters whose names begin so; the longest prefix counts",
            ),
            optional("freeze", "list of prefixes", "[]", "parameters that stay as they are"),
            optional(
                "clip_norm",
                "number above 0",
                NONE,
                "largest norm of the network's whole gradient; a larger one is scaled down to it",
            ),
            optional("accumulate", "integer, 1 to 1000", "1", "batches whose gradients are averaged for each update"),
            optional(
                "ema_decay",
                "number, 0 to below 1",
                NONE,
                "decay of a moving average of the weights, which is validated and kept in their place",
            ),
        ],
    },
    Section { path: "train.optimizer, kind = \"adam\"", about: "Kingma & Ba, arXiv 1412.6980.", keys: &[LR, BETAS] },
    Section {
        path: "train.optimizer, kind = \"adamw\"",
        about: "Loshchilov & Hutter, arXiv 1711.05101. Biases, norms and the scan's own parameters do not decay.",
        keys: &[
            LR,
            BETAS,
            required(
                "weight_decay",
                "number, 0 or more",
                "share of a weight that a step takes off it, for a learning rate of 1",
            ),
        ],
    },
    Section { path: "train.schedule, kind = \"constant\"", about: "The same rate throughout.", keys: &[WARMUP] },
    Section {
        path: "train.schedule, kind = \"step\"",
        about: "As PyTorch's `StepLR`.",
        keys: &[
            required("every", "integer, 1 or more", "epochs between two changes"),
            required("factor", "number above 0", "what the rate is multiplied by"),
            WARMUP,
        ],
    },
    Section {
        path: "train.schedule, kind = \"cosine\"",
        about: "Half a cosine over the run's steps (arXiv 1608.03983, without restarts).",
        keys: &[optional("min_factor", "number, 0 to 1", "0.0", "share of the rate that is left at the end"), WARMUP],
    },
    Section {
        path: "augmentation",
        about: "Random changes of the training pairs.",
        keys: &[
            optional("mirror", "probability, 0 to 1", "0.0", "of mirroring a pair"),
            optional("contrast", "probability, 0 to 1", "0.0", "of changing a pair's contrast"),
            optional("crop", "integer, 1 to 16384", NONE, "cut a square of so many pixels before resizing"),
            optional(
                "crop_share",
                "[low, high], 0 to 1",
                NONE,
                "cut a square whose side is a random share of the shorter side, in place of `crop`",
            ),
            optional(
                "tone",
                "number, 0 to 3",
                "0.0",
                "the NIR image alone is raised to a power whose natural logarithm is uniform within ± this",
            ),
            optional(
                "size",
                "integer, 1 to 16384",
                "that of the data",
                "width and height that training images are resized to, as `size` of the data is for the others",
            ),
        ],
    },
    Section {
        path: "distill",
        about: "What a network learns of other networks, beside the truth: of their pictures, and of their feature \
                maps. The weights of these terms are never learned, whatever a loss's `combination`.",
        keys: &[
            required(
                "teachers",
                "list of paths",
                "files of weights of any kind of network, on a hub too, or run folders, whose best weights are taken; \
                 their pictures are averaged",
            ),
            optional(
                "features",
                "number above 0",
                NONE,
                "weight of the loss between the network's feature map and each teacher's, through a convolution 1x1 \
                 that learns as well (FitNets, arXiv 1412.6550): squared error over the squares of the teacher's. All \
                 networks must give such a map, as `lite` its bottleneck",
            ),
            optional(
                "loss",
                "table",
                NONE,
                "terms between the picture and that average, as in `variant.loss.rgb`, but for those that look through \
                 a network",
            ),
        ],
    },
    Section {
        path: "variant",
        about: "A loss configuration, and a network if it has its own; `[[variant]]` for each.",
        keys: &[
            required("name", "a folder's name", "names its folder and its row"),
            required("loss", "table", "what is minimised"),
            optional("model", "table", "that of the manifest", "its own network, as in `model`"),
        ],
    },
    Section {
        path: "variant.loss",
        about: "At least one term; what a variant names itself replaces what its preset gives. Terms go by the names \
                of the network's heads: those of ColorMamba are `rgb` and `hsv`.",
        keys: &[
            optional("preset", "name", NONE, "a loss by name; `colormamba losses` lists them"),
            optional("combination", "\"fixed\" or \"dynamic\"", "\"fixed\"", "whether the terms' weights are learned"),
            optional("rgb", "table of terms", "{}", "terms on the head `rgb`, ColorMamba's RGB image"),
            optional("hsv", "table of terms", "{}", "terms on the head `hsv`, ColorMamba's HSV image"),
            optional(
                "adversarial",
                "table",
                NONE,
                "trains a discriminator of each head that is an image of 3 channels",
            ),
        ],
    },
    Section {
        path: "variant.loss.rgb.TERM",
        about: "`TERM = WEIGHT`, or a table; `colormamba losses TERM` explains the term's own options, which stand here too.",
        keys: &[
            required("weight", "number, 0 or more", "how much the term counts"),
            optional(
                "schedule",
                "table",
                NONE,
                "`{ kind = \"ramp\", from, start, end }` or `{ kind = \"switch\", from, at }`, in epochs from 0",
            ),
        ],
    },
    Section {
        path: "variant.loss.adversarial",
        about: "`colormamba losses KIND` explains each kind.",
        keys: &[
            required(
                "kind",
                "\"lsgan\", \"vanilla\", \"hinge\" or \"wgan_gp\"",
                "how a discriminator's scores become losses",
            ),
            required("weight", "number above 0", "weight in the network's loss"),
            optional("scales", "integer, 1 to 3", "1", "scales of each discriminator"),
            optional("penalty", "number above 0", "10", "weight of the gradient penalty, for \"wgan_gp\" alone"),
        ],
    },
];

/// The page `docs/manifest.md`.
pub fn page() -> String {
    let mut text = "# Manifests\n\nEvery key of a manifest, written from `crates/runner/src/manifest/reference.rs` by\n\
                    `crates/runner/tests/manifest_page.rs`, which holds it to the keys and defaults that the program\nknows. \
                    `colormamba init` writes a manifest to start from, and `--set KEY=VALUE` changes any key for\none \
                    command.\n"
        .to_string();
    for Section { path, about, keys } in SECTIONS {
        let heading = if path.is_empty() { "The top of the file".to_string() } else { format!("`{path}`") };
        add(&mut text, &heading, about, keys);
        if *path == MODEL {
            for network in Architecture::KINDS {
                add(&mut text, &format!("`{MODEL}, kind = \"{}\"`", network.kind), network.about, network.options);
            }
        }
    }
    text
}

/// The table of the network.
const MODEL: &str = "model";

fn add(text: &mut String, heading: &str, about: &str, keys: &[Key]) {
    // Writing to a string does not fail.
    let _ =
        write!(text, "\n## {heading}\n\n{about}\n\n| key | type and range | default | meaning |\n|---|---|---|---|\n");
    for Key { name, kind, default, meaning } in keys {
        let default = default.map_or("must be there".to_string(), |default| match default {
            NONE => NONE.to_string(),
            value => format!("`{value}`"),
        });
        let _ = writeln!(text, "| `{name}` | {kind} | {default} | {meaning} |");
    }
}

/// What a key of a table means, for comments. An option of the network is that of a kind that has it.
pub fn meaning(path: &str, name: &str) -> Option<&'static str> {
    let of_networks = Architecture::KINDS.iter().filter(|_| path == MODEL).flat_map(|network| network.options);
    let sections = SECTIONS.iter().filter(|section| section.path == path).flat_map(|section| section.keys);
    sections.chain(of_networks).find(|key| key.name == name).map(|key| key.meaning)
}
