//! Tables of a Markdown document. Reads no more of the language than that.

#[cfg(test)]
mod tests;

/// A row below a table's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Line, counted from 1.
    pub(crate) line: usize,
    /// Name of the table's last column.
    pub(crate) last_column: String,
    /// The cells, trimmed.
    pub(crate) cells: Vec<String>,
}

/// The rows of all tables outside of code fences. A table is a head line, a ruler such as `|---|---|`, then rows.
pub(crate) fn rows(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut fenced = false;
    // The line before, which becomes the head when a ruler follows.
    let mut before: Vec<String> = Vec::new();
    let mut last_column: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("```") {
            fenced = !fenced;
        }
        if fenced || !line.starts_with('|') {
            last_column = None;
            before.clear();
            continue;
        }
        let cells = cells(line);
        if cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| c == '-' || c == ':')) {
            last_column = before.last().cloned();
        } else if let Some(last_column) = &last_column {
            rows.push(Row { line: index + 1, last_column: last_column.clone(), cells: cells.clone() });
        }
        before = cells;
    }
    rows
}

/// Splits at every `|` that is not escaped and not in backticks.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut escaped = false;
    for c in line.trim_start_matches('|').chars() {
        match c {
            '|' if !quoted && !escaped => cells.push(String::new()),
            _ => cells.last_mut().expect("there is always a cell").push(c),
        }
        quoted ^= c == '`';
        escaped = c == '\\';
    }
    // The closing `|` opens a cell that does not exist.
    if line.ends_with('|') {
        cells.pop();
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}
