//! Compares what the README's first command made with what the README shows of it: the table, and the picture in `docs/`.
//!
//! Usage: `readme [--update]`, in the repository's root after that command. `--update` writes both into the repository instead.
//!
//! The same processor and number of threads make the same bits, so there both must be equal. `docs/quickstart.toml` says where
//! they were made; elsewhere sums are rounded otherwise, which training magnifies, and they must be as near as below.

use image::RgbImage;
use std::error::Error;
use std::fs;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const STUDY: &str = "runs/quickstart";
const README: &str = "README.md";
const PICTURE: &str = "docs/quickstart.png";
const ORIGIN: &str = "docs/quickstart.toml";

/// How far trained rows may be from the README's on another processor: dB, SSIM, degrees. A learning rate changed by 1e-4
/// of itself was seen to move a row by .54 dB.
const TOLERANCE: [f64; 3] = [1.5, 0.05, 1.0];
/// How far the pictures may be from each other there, as a mean over pixels and channels, in grey levels.
const PICTURE_TOLERANCE: f64 = 8.0;

fn main() -> ExitCode {
    let done = if std::env::args().any(|arg| arg == "--update") { update() } else { compare() };
    match done {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Processor and threads that decide on the bits.
fn origin() -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let of_name =
            |line: &str| line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, v)| v.trim().to_string());
        info.lines().find_map(of_name).unwrap_or_else(|| "unknown".into())
    };
    let processor = format!("{} family {} model {}", field("vendor_id"), field("cpu family"), field("model"));
    let provenance = fs::read_to_string(format!("{STUDY}/lite/seed-1/provenance.toml"))?;
    let threads =
        provenance.lines().find_map(|line| line.strip_prefix("threads = ")).ok_or("no threads in provenance.toml")?;
    Ok(format!(
        "# Where the README's table and quickstart.png were made: `readme --update` of tests/examples.\n\
                processor = \"{processor}\"\nthreads = {threads}\n"
    ))
}

/// The lines of the first table in a text of Markdown.
fn table(text: &str) -> Vec<&str> {
    text.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).collect()
}

fn made() -> Result<(String, RgbImage)> {
    let text = fs::read_to_string(format!("{STUDY}/table.md"))?;
    Ok((table(&text).join("\n"), image::open(format!("{STUDY}/contact-sheet.png"))?.into_rgb8()))
}

fn update() -> Result<String> {
    let (made, _) = made()?;
    let readme = fs::read_to_string(README)?;
    let shown = table(&readme).join("\n");
    fs::write(README, readme.replacen(&shown, &made, 1))?;
    fs::copy(format!("{STUDY}/contact-sheet.png"), PICTURE)?;
    fs::write(ORIGIN, origin()?)?;
    Ok(format!("{README}, {PICTURE} and {ORIGIN} are up to date"))
}

fn compare() -> Result<String> {
    let (made, picture) = made()?;
    let readme = fs::read_to_string(README)?;
    let shown = table(&readme).join("\n");
    let shown_picture = image::open(PICTURE)?.into_rgb8();
    let differ = |what: &str| format!("{what}\nthe README shows:\n{shown}\nthe command made:\n{made}");
    if fs::read_to_string(ORIGIN)? == origin()? {
        if made != shown {
            return Err(differ("the tables differ").into());
        }
        if picture != shown_picture {
            return Err(format!("{PICTURE} is not the picture that the command made").into());
        }
        return Ok("the README's table and picture are what its first command makes, exactly".into());
    }
    near(&shown, &made).map_err(|what| differ(&what))?;
    if picture.dimensions() != shown_picture.dimensions() {
        return Err(format!("{PICTURE} has another size than the picture that the command made").into());
    }
    let difference = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b));
    let mean = picture.iter().zip(shown_picture.iter()).map(difference).sum::<f64>() / picture.len() as f64;
    if mean > PICTURE_TOLERANCE {
        return Err(format!("{PICTURE} is {mean:.1} grey levels from the picture that the command made").into());
    }
    Ok(format!(
        "on another processor than the README's, the table is as near as {TOLERANCE:?}, the picture {mean:.2} grey levels"
    ))
}

/// A cell without its marks of the best and the second best.
fn plain(cell: &str) -> String {
    ["**", "<ins>", "</ins>"].iter().fold(cell.trim().to_string(), |text, mark| text.replace(mark, ""))
}

/// Whether rows and columns are the same, baselines equal, and trained rows near.
fn near(shown: &str, made: &str) -> std::result::Result<(), String> {
    let cells =
        |text: &str| -> Vec<Vec<String>> { text.lines().map(|line| line.split('|').map(plain).collect()).collect() };
    let (shown, made) = (cells(shown), cells(made));
    let heads = |rows: &[Vec<String>]| -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().take(3).cloned().collect()).collect()
    };
    if heads(&shown) != heads(&made) || shown.first() != made.first() {
        return Err("the tables have other rows or columns".into());
    }
    for (shown, made) in shown.iter().zip(&made).skip(2) {
        let trained = !shown[2].is_empty();
        if !trained && shown != made {
            return Err(format!("the baseline `{}` differs", shown[1]));
        }
        for ((shown, made), tolerance) in shown[3..].iter().zip(&made[3..]).zip(TOLERANCE) {
            let number = |text: &str| text.split(' ').next().and_then(|mean| mean.parse::<f64>().ok());
            match (number(shown), number(made)) {
                (Some(a), Some(b)) if (a - b).abs() <= tolerance => {}
                _ => return Err(format!("{made} is more than {tolerance} from {shown}")),
            }
        }
    }
    Ok(())
}
