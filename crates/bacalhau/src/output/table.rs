//! Tables without borders: one space before and after each cell, headers in capitals, long cells wrapped.

/// How a cell is broken when its column has a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wrap {
    /// At exactly the limit.
    #[default]
    Hard,
    /// At spaces where possible.
    Soft,
}

/// One column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    /// Title as declared; tables show it in capitals.
    pub(crate) title: String,
    /// Widest cell in characters; 0 for no limit.
    pub(crate) limit: usize,
    /// Narrowest width in characters.
    pub(crate) least: usize,
    /// How long cells are broken.
    pub(crate) wrap: Wrap,
}

impl Column {
    /// A column without limits.
    pub(crate) fn new(title: impl Into<String>) -> Column {
        Column { title: title.into(), ..Column::default() }
    }

    /// Limits the width.
    pub(crate) fn at_most(mut self, limit: usize, wrap: Wrap) -> Column {
        self.limit = limit;
        self.wrap = wrap;
        self
    }

    /// Widens the column.
    pub(crate) fn at_least(mut self, least: usize) -> Column {
        self.least = least;
        self
    }
}

/// How a table looks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Style {
    /// Leave the titles out.
    pub(crate) hide_header: bool,
    /// Use colours.
    pub(crate) colour: bool,
    /// Ignore the columns' limits.
    pub(crate) wide: bool,
}

/// Green on black, as people know it.
const HEADER_COLOUR: &str = "\u{1b}[32;40m";
const RESET: &str = "\u{1b}[0m";

/// The table as text, every line with its end. Rows may be shorter than the columns.
pub(crate) fn render(columns: &[Column], rows: &[Vec<String>], style: Style) -> String {
    let wrapped: Vec<Vec<Vec<String>>> = rows.iter().map(|row| wrap_row(columns, row, style.wide)).collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = wrapped.iter().filter_map(|row| row.get(at)).flatten().map(|line| width(line));
            let title = if style.hide_header { 0 } else { width(&column.title) };
            cells.chain([title, column.least]).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    if !style.hide_header {
        let titles: Vec<String> = columns.iter().map(|c| c.title.to_uppercase()).collect();
        let line = join(&widths, |at| titles.get(at).map_or("", String::as_str));
        if style.colour {
            text.push_str(&format!("{HEADER_COLOUR}{line}{RESET}\n"));
        } else {
            text.push_str(&format!("{}\n", line.trim_end()));
        }
    }
    for row in &wrapped {
        let height = row.iter().map(Vec::len).max().unwrap_or(0).max(1);
        for line in 0..height {
            let line =
                join(&widths, |at| row.get(at).and_then(|cell| cell.get(line)).map_or("", String::as_str));
            text.push_str(&format!("{}\n", line.trim_end()));
        }
    }
    text
}

fn join<'a>(widths: &[usize], cell: impl Fn(usize) -> &'a str) -> String {
    let mut line = String::new();
    for (at, column) in widths.iter().enumerate() {
        let text = cell(at);
        line.push(' ');
        line.push_str(text);
        line.extend(std::iter::repeat_n(' ', column.saturating_sub(width(text)) + 1));
    }
    line
}

fn wrap_row(columns: &[Column], row: &[String], wide: bool) -> Vec<Vec<String>> {
    columns
        .iter()
        .zip(row)
        .map(|(column, cell)| {
            let limit = if wide { 0 } else { column.limit };
            cell.split('\n').flat_map(|line| wrap(line, limit, column.wrap)).collect()
        })
        .collect()
}

/// Breaks a line into pieces of at most `limit` characters; 0 for no limit.
pub(crate) fn wrap(line: &str, limit: usize, how: Wrap) -> Vec<String> {
    if limit == 0 || width(line) <= limit {
        return vec![line.to_owned()];
    }
    match how {
        Wrap::Hard => chunks(line, limit),
        Wrap::Soft => {
            let mut lines: Vec<String> = Vec::new();
            let mut open = String::new();
            for word in line.split(' ') {
                let joined = width(&open) + 1 + width(word);
                if !open.is_empty() && joined <= limit {
                    open.push(' ');
                    open.push_str(word);
                    continue;
                }
                if !open.is_empty() {
                    lines.push(std::mem::take(&mut open));
                }
                let mut pieces = chunks(word, limit);
                open = pieces.pop().unwrap_or_default();
                lines.extend(pieces);
            }
            if !open.is_empty() || lines.is_empty() {
                lines.push(open);
            }
            lines
        }
    }
}

fn chunks(text: &str, limit: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(limit).map(|piece| piece.iter().collect()).collect()
}

/// Characters, colour codes not counted.
fn width(text: &str) -> usize {
    let mut count = 0;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(cells: &[&[&str]]) -> Vec<Vec<String>> {
        cells.iter().map(|row| row.iter().map(|c| (*c).to_owned()).collect()).collect()
    }

    #[test]
    fn pads_to_the_widest_cell() {
        let columns = [Column::new("Created"), Column::new("ID"), Column::new("State")];
        let text = render(
            &columns,
            &rows(&[&["15:32:50", "j-150c42eb", "Completed"], &["1", "", ""]]),
            Style::default(),
        );
        assert_eq!(text, " CREATED   ID          STATE\n 15:32:50  j-150c42eb  Completed\n 1\n");
        let bare =
            render(&columns, &rows(&[&["1", "2", "3"]]), Style { hide_header: true, ..Style::default() });
        assert_eq!(bare, " 1  2  3\n");
    }

    #[test]
    fn wraps_and_keeps_the_columns() {
        let columns = [Column::new("a").at_most(4, Wrap::Hard), Column::new("b").at_most(7, Wrap::Soft)];
        let cells = rows(&[&["123456", "one two three"]]);
        let text = render(&columns, &cells, Style::default());
        assert_eq!(text, " A     B\n 1234  one two\n 56    three\n");
        let wide = render(&columns, &cells, Style { wide: true, ..Style::default() });
        assert_eq!(wide, " A       B\n 123456  one two three\n");
        assert_eq!(wrap("a verylongword", 5, Wrap::Soft), ["a", "veryl", "ongwo", "rd"]);
    }

    #[test]
    fn colours_do_not_count() {
        let text =
            render(&[Column::new("x"), Column::new("y")], &[], Style { colour: true, ..Style::default() });
        assert_eq!(text, "\u{1b}[32;40m X  Y \u{1b}[0m\n");
        assert_eq!(width("\u{1b}[31mab\u{1b}[0m"), 2);
    }
}
