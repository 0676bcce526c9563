//! A table as text.

use super::{Cell, Row, Table};
use crate::system::files;
use crate::system::words::{count, fixed};
use anyhow::Result;
use colormamba_features::Metric;
use colormamba_metrics::Best;

/// The languages a table can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Format {
    /// Markdown.
    Md,
    /// LaTeX with `booktabs`.
    Tex,
    /// Comma-separated values in full precision.
    Csv,
}

impl Format {
    /// The usual file extension.
    pub fn extension(self) -> &'static str {
        self.into()
    }

    /// The table as text.
    ///
    /// # Errors
    /// None that a table can cause.
    pub fn render(self, table: &Table) -> Result<String> {
        match self {
            Self::Md => Ok(markdown(table)),
            Self::Tex => Ok(latex(table)),
            Self::Csv => csv(table),
        }
    }
}

fn caption(table: &Table) -> String {
    let specs: Vec<String> = table.metrics.iter().map(|m| table.setting.spec(*m)).collect();
    one_line(&format!("{}, {}; {}", table.setting, count(table.images, "image"), specs.join(", ")))
}

fn decimals(metric: Metric) -> usize {
    if metric.unit().is_empty() { 3 } else { 2 }
}

/// Where a mean stands in its column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Best,
    Second,
    Other,
}

/// `mean` or `mean ± sd`, and its place in the column as far as its digits tell.
fn number(table: &Table, column: usize, cell: &Cell, plus_minus: &str) -> (String, Place) {
    let digits = decimals(table.metrics[column]);
    let mean = fixed(cell.mean, digits);
    let mut ranking: Vec<String> = table.ranking(column).iter().map(|mean| fixed(*mean, digits)).collect();
    ranking.dedup();
    let place = match ranking.iter().position(|ranked| *ranked == mean) {
        Some(0) => Place::Best,
        Some(1) => Place::Second,
        _ => Place::Other,
    };
    let text = match cell.sd {
        Some(sd) => format!("{mean}{plus_minus}{sd:.digits$}"),
        None => mean,
    };
    (text, place)
}

fn seeds(row: &Row) -> String {
    if row.baseline { String::new() } else { row.seeds.to_string() }
}

/// Label, unit and direction of a column.
fn head(metric: Metric, [up, down, to]: [&str; 3]) -> String {
    let unit = if metric.unit().is_empty() { String::new() } else { format!(" [{}]", metric.unit()) };
    let direction = match metric.best() {
        Best::Highest => format!(" {up}"),
        Best::Lowest => format!(" {down}"),
        Best::At(best) => format!(" {to} {best}"),
        Best::Undefined => String::new(),
    };
    format!("{}{unit}{direction}", metric.label())
}

fn markdown(table: &Table) -> String {
    let heads: Vec<String> = table.metrics.iter().map(|m| head(*m, ["↑", "↓", "→"])).collect();
    let versions = table.versions.as_ref().map(|versions| format!("{versions}\n\n")).unwrap_or_default();
    let mut text = format!("{}\n\n{versions}| method | seeds | {} |\n|---|--:|", caption(table), heads.join(" | "));
    text += &"--:|".repeat(heads.len());
    text.push('\n');
    for row in &table.rows {
        let cells = row.cells.iter().enumerate().map(|(column, cell)| match number(table, column, cell, " ± ") {
            (text, Place::Best) => format!("**{text}**"),
            (text, Place::Second) => format!("<ins>{text}</ins>"),
            (text, Place::Other) => text,
        });
        let cells: Vec<String> = cells.collect();
        text += &format!("| {} | {} | {} |\n", row.label.replace('|', "\\|"), seeds(row), cells.join(" | "));
    }
    text + &table.notes.iter().map(|note| format!("\n{note}\n")).collect::<String>()
}

fn latex(table: &Table) -> String {
    let arrows = ["$\\uparrow$", "$\\downarrow$", "$\\to$"];
    let heads = table.metrics.iter().map(|m| head(*m, arrows).replace('°', "$^\\circ$").replace('Δ', "$\\Delta$"));
    let heads: Vec<String> = heads.collect();
    let mut text = comment(&caption(table)) + &table.versions.as_deref().map(comment).unwrap_or_default();
    text += &format!("\\begin{{tabular}}{{lr{}}}\n\\toprule\n", "r".repeat(heads.len()));
    text += &format!("Method & Seeds & {} \\\\\n\\midrule\n", heads.join(" & "));
    for (i, row) in table.rows.iter().enumerate() {
        if i > 0 && table.rows[i - 1].baseline && !row.baseline {
            text += "\\midrule\n";
        }
        let cells = row.cells.iter().enumerate().map(|(column, cell)| match number(table, column, cell, " $\\pm$ ") {
            (text, Place::Best) => format!("\\textbf{{{text}}}"),
            (text, Place::Second) => format!("\\underline{{{text}}}"),
            (text, Place::Other) => text,
        });
        let cells: Vec<String> = cells.collect();
        text += &format!("{} & {} & {} \\\\\n", escape_latex(&row.label), seeds(row), cells.join(" & "));
    }
    text + "\\bottomrule\n\\end{tabular}\n" + &table.notes.iter().map(|note| comment(note)).collect::<String>()
}

/// A line that LaTeX does not read: a line break in a name would end it.
fn comment(text: &str) -> String {
    format!("% {}\n", one_line(text))
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn escape_latex(text: &str) -> String {
    let escape = |c: char| match c {
        '_' | '%' | '&' | '#' | '$' | '{' | '}' => format!("\\{c}"),
        '\\' => "\\textbackslash{}".to_string(),
        '~' => "\\textasciitilde{}".to_string(),
        '^' => "\\textasciicircum{}".to_string(),
        '→' => "$\\to$".to_string(),
        c => c.to_string(),
    };
    one_line(text).chars().map(escape).collect()
}

fn csv(table: &Table) -> Result<String> {
    let setting = &table.setting;
    let mut heads = ["method", "seeds", "images"].map(String::from).to_vec();
    for spec in table.metrics.iter().map(|metric| setting.spec(*metric)) {
        heads.extend([format!("sd {spec}"), spec].into_iter().rev());
    }
    heads.extend(["dataset", "fingerprint", "split", "protocol", "size"].map(String::from));
    let record = |row: &Row| {
        let mut fields = vec![row.label.clone(), seeds(row), table.images.to_string()];
        for cell in &row.cells {
            fields.extend([cell.mean.to_string(), cell.sd.map(|sd| sd.to_string()).unwrap_or_default()]);
        }
        fields.extend([&setting.dataset, &setting.fingerprint, &setting.split, &setting.protocol].map(String::clone));
        fields.push(format!("{0}x{0}", setting.size));
        fields
    };
    files::csv(std::iter::once(heads).chain(table.rows.iter().map(record)))
}
