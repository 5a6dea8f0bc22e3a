//! Lists in four formats: table, CSV, JSON, YAML. A command declares its columns once.

use super::table::{self, Column, Style};
use super::{Out, csv, structured};
use crate::failure::Outcome;
use bacalhau_model::Error;
use serde::Serialize;

/// Format of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListFormat {
    /// For people.
    #[default]
    Table,
    /// RFC 4180.
    Csv,
    /// An array.
    Json,
    /// An array.
    Yaml,
}

impl std::str::FromStr for ListFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<ListFormat, String> {
        match text.to_ascii_lowercase().as_str() {
            "table" => Ok(ListFormat::Table),
            "csv" => Ok(ListFormat::Csv),
            "json" => Ok(ListFormat::Json),
            "yaml" => Ok(ListFormat::Yaml),
            _ => Err("should be one of [\"table\" \"csv\" \"json\" \"yaml\"]".to_owned()),
        }
    }
}

/// Flags of commands that show a list.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ListArgs {
    /// Output format: table, csv, json or yaml
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = str::parse::<ListFormat>)]
    pub(crate) output: ListFormat,
    /// Indent JSON by two spaces
    #[arg(long)]
    pub(crate) pretty: bool,
    /// Leave the header row out
    #[arg(long)]
    pub(crate) hide_header: bool,
    /// No colours
    #[arg(long)]
    pub(crate) no_style: bool,
    /// Full IDs and times, no limits on column widths
    #[arg(long)]
    pub(crate) wide: bool,
}

/// Flags of lists that come in pages.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct PageArgs {
    /// Where to go on, from the answer to an earlier call
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    pub(crate) next_token: String,
    /// Field to sort by
    #[arg(long, value_name = "FIELD", default_value = "", hide_default_value = true)]
    pub(crate) order_by: String,
    /// Sort in descending order
    #[arg(long)]
    pub(crate) order_reversed: bool,
}

/// Fills a cell; the flag says whether the full value is wanted.
type Cell<T> = Box<dyn Fn(&T, bool) -> String>;

/// A column and how to fill it. The flag says whether full values are wanted (CSV, `--wide`).
pub(crate) struct Field<T> {
    column: Column,
    cell: Cell<T>,
}

impl<T> Field<T> {
    /// A column whose cells are the same in every format.
    pub(crate) fn new(column: Column, cell: impl Fn(&T) -> String + 'static) -> Field<T> {
        Field { column, cell: Box::new(move |item, _| cell(item)) }
    }

    /// A column with short and full values.
    pub(crate) fn with_full(column: Column, cell: impl Fn(&T, bool) -> String + 'static) -> Field<T> {
        Field { column, cell: Box::new(cell) }
    }
}

/// The list as text.
pub(crate) fn render<T: Serialize>(
    args: &ListArgs,
    items: &[T],
    fields: &[Field<T>],
    colour: bool,
) -> Result<String, Error> {
    let rows = |full: bool| -> Vec<Vec<String>> {
        items.iter().map(|item| fields.iter().map(|f| (f.cell)(item, full)).collect()).collect()
    };
    match args.output {
        ListFormat::Json => structured::json(items, args.pretty),
        ListFormat::Yaml => structured::yaml(items),
        ListFormat::Csv => {
            let mut text = String::new();
            if !args.hide_header {
                text.push_str(&csv::record(fields.iter().map(|f| f.column.title.as_str())));
            }
            rows(true).iter().for_each(|row| text.push_str(&csv::record(row.iter().map(String::as_str))));
            Ok(text)
        }
        ListFormat::Table => {
            let columns: Vec<Column> = fields.iter().map(|f| f.column.clone()).collect();
            let style =
                Style { hide_header: args.hide_header, colour: colour && !args.no_style, wide: args.wide };
            let mut rows = rows(args.wide);
            rows.iter_mut().flatten().for_each(|cell| *cell = harmless(cell));
            Ok(table::render(&columns, &rows, style))
        }
    }
}

/// Names are other people's: what would move the cursor or colour a terminal is shown as a mark.
fn harmless(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Prints the list.
pub(crate) fn print<T: Serialize>(out: &Out, args: &ListArgs, items: &[T], fields: &[Field<T>]) -> Outcome {
    out.raw(render(args, items, fields, out.colour)?.as_bytes())
}

/// A list that is printed while it grows: the header once, and JSON as one object per line.
pub(crate) struct Growing(ListArgs);

impl Growing {
    /// Nothing is printed yet.
    pub(crate) fn new(args: &ListArgs) -> Growing {
        Growing(args.clone())
    }

    /// Prints what is new.
    pub(crate) fn print<T: Serialize>(&mut self, out: &Out, items: &[T], fields: &[Field<T>]) -> Outcome {
        if self.0.output == ListFormat::Json {
            let lines: Result<String, Error> =
                items.iter().map(|item| structured::json(item, self.0.pretty)).collect();
            return out.raw(lines?.as_bytes());
        }
        print(out, &self.0, items, fields)?;
        self.0.hide_header = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_formats() {
        let fields = [
            Field::with_full(
                Column::new("id"),
                |n: &u32, full| if full { format!("n-{n}") } else { n.to_string() },
            ),
            Field::new(Column::new("note"), |n: &u32| format!("a,{n}")),
        ];
        let show = |output, wide| {
            let args = ListArgs { output, wide, ..ListArgs::default() };
            render(&args, &[1, 2], &fields, false).unwrap()
        };
        assert_eq!(show(ListFormat::Table, false), " ID  NOTE\n 1   a,1\n 2   a,2\n");
        assert_eq!(show(ListFormat::Table, true), " ID   NOTE\n n-1  a,1\n n-2  a,2\n");
        assert_eq!(show(ListFormat::Csv, false), "id,note\nn-1,\"a,1\"\nn-2,\"a,2\"\n");
        assert_eq!(show(ListFormat::Json, false), "[1,2]\n");
        assert_eq!(harmless("a\u{1b}[31m\nb"), "a\u{fffd}[31m\nb");
        assert_eq!(show(ListFormat::Yaml, false), "- 1\n- 2\n");
    }
}
