//! A table as text.

use super::{Cell, Row, Table};
use colormamba_metrics::Measure;

/// The languages a table can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
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
        match self {
            Self::Md => "md",
            Self::Tex => "tex",
            Self::Csv => "csv",
        }
    }

    /// The table as text.
    pub fn render(self, table: &Table) -> String {
        match self {
            Self::Md => markdown(table),
            Self::Tex => latex(table),
            Self::Csv => csv(table),
        }
    }
}

fn caption(table: &Table) -> String {
    let specs: Vec<String> = Measure::TABLE.iter().map(|m| m.spec()).collect();
    format!("{}, {} images; {}", table.setting, table.images, specs.join(", "))
}

fn decimals(measure: Measure) -> usize {
    if measure.unit().is_empty() { 3 } else { 2 }
}

/// `mean` or `mean ± sd`, and whether it is the best of its column as far as its digits tell.
fn number(table: &Table, column: usize, cell: &Cell, plus_minus: &str) -> (String, bool) {
    let digits = decimals(Measure::TABLE[column]);
    let mean = format!("{:.digits$}", cell.mean);
    let best = table.best(column).is_some_and(|best| format!("{best:.digits$}") == mean);
    let text = match cell.sd {
        Some(sd) => format!("{mean}{plus_minus}{sd:.digits$}"),
        None => mean,
    };
    (text, best)
}

fn seeds(row: &Row) -> String {
    if row.baseline { String::new() } else { row.seeds.to_string() }
}

fn head(measure: Measure, up: &str, down: &str) -> String {
    let unit = if measure.unit().is_empty() { String::new() } else { format!(" [{}]", measure.unit()) };
    format!("{}{unit} {}", measure.label(), if measure.higher_is_better() { up } else { down })
}

fn markdown(table: &Table) -> String {
    let heads: Vec<String> = Measure::TABLE.iter().map(|m| head(*m, "↑", "↓")).collect();
    let mut text = format!("{}\n\n| method | seeds | {} |\n|---|--:|", caption(table), heads.join(" | "));
    text += &"--:|".repeat(heads.len());
    text.push('\n');
    for row in &table.rows {
        let cells = row.cells.iter().enumerate().map(|(column, cell)| match number(table, column, cell, " ± ") {
            (text, true) => format!("**{text}**"),
            (text, false) => text,
        });
        let cells: Vec<String> = cells.collect();
        text += &format!("| {} | {} | {} |\n", row.label.replace('|', "\\|"), seeds(row), cells.join(" | "));
    }
    text + &table.notes.iter().map(|note| format!("\n{note}\n")).collect::<String>()
}

fn latex(table: &Table) -> String {
    let heads = Measure::TABLE.map(|m| head(m, "$\\uparrow$", "$\\downarrow$").replace('°', "$^\\circ$"));
    let mut text = format!("% {}\n\\begin{{tabular}}{{lr{}}}\n\\toprule\n", caption(table), "r".repeat(heads.len()));
    text += &format!("Method & Seeds & {} \\\\\n\\midrule\n", heads.join(" & "));
    for (i, row) in table.rows.iter().enumerate() {
        if i > 0 && table.rows[i - 1].baseline && !row.baseline {
            text += "\\midrule\n";
        }
        let cells = row.cells.iter().enumerate().map(|(column, cell)| match number(table, column, cell, " $\\pm$ ") {
            (text, true) => format!("\\textbf{{{text}}}"),
            (text, false) => text,
        });
        let cells: Vec<String> = cells.collect();
        text += &format!("{} & {} & {} \\\\\n", escape_latex(&row.label), seeds(row), cells.join(" & "));
    }
    text + "\\bottomrule\n\\end{tabular}\n" + &table.notes.iter().map(|note| format!("% {note}\n")).collect::<String>()
}

fn escape_latex(text: &str) -> String {
    let escape = |c: char| match c {
        '_' | '%' | '&' | '#' | '$' | '{' | '}' => format!("\\{c}"),
        '→' => "$\\to$".to_string(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

fn csv(table: &Table) -> String {
    let mut heads = vec!["method".to_string(), "seeds".into(), "images".into()];
    for measure in Measure::TABLE {
        heads.extend([quote(&measure.spec()), quote(&format!("sd {}", measure.spec()))]);
    }
    heads.extend(["dataset", "fingerprint", "split", "protocol", "size"].map(String::from));
    let setting = &table.setting;
    let mut text = heads.join(",") + "\n";
    for row in &table.rows {
        let mut fields = vec![quote(&row.label), seeds(row), table.images.to_string()];
        for cell in &row.cells {
            fields.extend([cell.mean.to_string(), cell.sd.map(|sd| sd.to_string()).unwrap_or_default()]);
        }
        let size = format!("{0}x{0}", setting.size);
        fields.extend([&setting.dataset, &setting.fingerprint, &setting.split, &setting.protocol].map(|s| quote(s)));
        fields.push(size);
        text += &(fields.join(",") + "\n");
    }
    text
}

pub(crate) fn quote(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() }
}
