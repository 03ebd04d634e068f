//! Figures as a table and as JSON.
//!
//! ```text
//! holes, nano: data src (12 files, 40123 bytes), layout frozen, …
//!
//! language  kind  holes  exact %
//! python    line     20      5.0
//! ```
use super::resume::Settings;
use serde_json::{Map, Value, json};

/// A line of figures: names and values, in the order of the columns. Every row of a report has the same names.
pub type Row = Vec<(&'static str, Value)>;

/// What a benchmark has found.
#[derive(Debug)]
pub struct Report {
    pub settings: Settings,
    pub rows: Vec<Row>,
    /// What the figures stand on, a sentence each.
    pub notes: Vec<String>,
}

impl Report {
    pub fn json(&self) -> Value {
        let object = |row: &Row| row.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>();
        json!({ "settings": self.settings.json(), "rows": self.rows.iter().map(object).collect::<Vec<_>>(), "notes": self.notes })
    }

    pub fn text(&self) -> String {
        let notes = self.notes.iter().map(|note| format!("{note}\n")).collect::<String>();
        format!("{}\n\n{}\n{notes}", self.settings, table(&self.rows))
    }
}

/// Texts to the left, numbers to the right.
fn table(rows: &[Row]) -> String {
    let header: Vec<String> = rows.iter().take(1).flatten().map(|(name, _)| (*name).to_owned()).collect();
    let left: Vec<bool> = rows.iter().take(1).flatten().map(|(_, value)| value.is_string()).collect();
    let lines: Vec<Vec<String>> = [header].into_iter().chain(rows.iter().map(|row| row.iter().map(|(_, v)| plain(v)).collect())).collect();
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let cell = |column: usize, cell: &str| {
        let width = width(column);
        if left[column] { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    };
    let line = |cells: &Vec<String>| cells.iter().enumerate().map(|(n, c)| cell(n, c)).collect::<Vec<_>>().join("  ");
    lines.iter().map(|cells| line(cells).trim_end().to_owned() + "\n").collect()
}

/// A value as it stands in a cell.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.1}", number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_json_has_the_same_values() {
        let row = |name: &str, n: usize, share: Value| vec![("language", name.into()), ("holes", n.into()), ("exact %", share)];
        let rows = vec![row("py", 5, 12.0.into()), row("größer", 1000, Value::Null)];
        assert_eq!(table(&rows), "language  holes  exact %\npy            5     12.0\ngrößer     1000        -\n");
        let report = Report { settings: Settings::default(), rows, notes: vec!["so".into()] };
        let json = report.json();
        assert_eq!((&json["rows"][0]["exact %"], &json["rows"][1]["holes"], &json["notes"][0]), (&json!(12.0), &json!(1000), &json!("so")));
        assert!(report.text().ends_with("\nso\n"));
        assert_eq!(table(&[]), "\n");
    }
}
