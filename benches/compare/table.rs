//! What was measured, as Markdown for people and as JSON for programs.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::machine::About;
use crate::spread::{Spread, number};

/// A table of a part, with what it is about and what was hoped for.
#[derive(Debug)]
pub(crate) struct Table {
    /// In JSON.
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
    pub(crate) goals: Vec<Goal>,
    /// File names of plots.
    pub(crate) plots: Vec<String>,
}

/// A column of figures; the first one, with names, is not said.
#[derive(Debug)]
pub(crate) struct Column {
    /// In JSON.
    pub(crate) key: &'static str,
    pub(crate) title: String,
    /// Digits after the point.
    pub(crate) digits: usize,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) cells: Vec<Cell>,
}

#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Spread(Spread),
    Number(f64),
    Text(String),
    Empty,
}

/// What the figures of a table should be; nothing fails if it is missed, as machines are noisy.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) text: &'static str,
    /// What was seen instead, or as well.
    pub(crate) seen: String,
    pub(crate) met: bool,
}

impl Column {
    pub(crate) fn new(key: &'static str, title: impl Into<String>, digits: usize) -> Self {
        Self {
            key,
            title: title.into(),
            digits,
        }
    }
}

impl From<Option<Spread>> for Cell {
    fn from(spread: Option<Spread>) -> Self {
        spread.map_or(Self::Empty, Self::Spread)
    }
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Self {
        number.map_or(Self::Empty, Self::Number)
    }
}

impl Cell {
    fn text(&self, digits: usize) -> String {
        match self {
            Self::Spread(spread) => spread.text(digits),
            Self::Number(value) => number(*value, digits),
            Self::Text(text) => text.clone(),
            Self::Empty => "–".to_owned(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Spread(spread) => spread.json(),
            Self::Number(value) => json!(value),
            Self::Text(text) => json!(text),
            Self::Empty => Value::Null,
        }
    }
}

impl Row {
    /// A row that says only why it has no figures.
    pub(crate) fn without(name: impl Into<String>, why: &str, columns: usize) -> Self {
        let mut cells = vec![Cell::Empty; columns];
        cells[0] = Cell::Text(why.to_owned());
        Self {
            name: name.into(),
            cells,
        }
    }
}

impl Table {
    fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n{}\n\n", self.title, self.text);
        let titles: Vec<&str> = self.columns.iter().map(|it| it.title.as_str()).collect();
        writeln!(text, "| | {} |", titles.join(" | ")).unwrap();
        writeln!(text, "| --- |{}", " ---: |".repeat(titles.len())).unwrap();
        for row in &self.rows {
            let cells = self.columns.iter().zip(&row.cells);
            let cells: Vec<String> = cells.map(|(it, cell)| cell.text(it.digits)).collect();
            writeln!(text, "| {} | {} |", row.name, cells.join(" | ")).unwrap();
        }
        if !self.goals.is_empty() {
            text.push('\n');
        }
        for goal in &self.goals {
            let met = if goal.met { "yes" } else { "no" };
            writeln!(text, "- {}: **{met}** ({})", goal.text, goal.seen).unwrap();
        }
        for plot in &self.plots {
            let name = plot.trim_end_matches(".svg");
            write!(text, "\n![{name}]({plot})\n").unwrap();
        }
        text
    }

    fn json(&self) -> Value {
        let row = |row: &Row| {
            let mut object = Map::new();
            object.insert("name".to_owned(), json!(row.name.replace(['*', '`'], "")));
            for (column, cell) in self.columns.iter().zip(&row.cells) {
                object.insert(column.key.to_owned(), cell.json());
            }
            Value::Object(object)
        };
        let goal = |goal: &Goal| json!({ "goal": goal.text, "seen": goal.seen, "met": goal.met });
        let titles = self
            .columns
            .iter()
            .map(|it| (it.key.to_owned(), json!(it.title)));
        json!({
            "name": self.name,
            "title": self.title,
            "columns": titles.collect::<Map<_, _>>(),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "goals": self.goals.iter().map(goal).collect::<Vec<_>>(),
        })
    }
}

/// The whole run, for people.
pub(crate) fn markdown(about: &About, tables: &[Table]) -> String {
    let tables: Vec<String> = tables.iter().map(Table::markdown).collect();
    format!("{about}\n\n{}", tables.join("\n"))
}

/// The whole run, in files of this folder.
pub(crate) fn write(dir: &Path, about: &About, tables: &[Table]) {
    std::fs::write(dir.join("compare.md"), markdown(about, tables)).unwrap();
    let tables: Vec<Value> = tables.iter().map(Table::json).collect();
    let whole = json!({ "about": about.json(), "tables": tables });
    let text = serde_json::to_string_pretty(&whole).unwrap();
    std::fs::write(dir.join("compare.json"), text).unwrap();
}
