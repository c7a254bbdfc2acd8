//! Which statuses a cell of the matrix may give.
use super::{Abi, Function, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Statuses of cells whose outcome follows from the function: a line per row, a column per state.
const TABLE: &str = "tests/misuse/statuses.tsv";

/// "A set of statuses", as in the table: without their common prefixes.
type Set = BTreeSet<String>;
type Cells = BTreeMap<(String, String), Set>;

fn short(status: &str) -> String {
    let status = status.strip_prefix("WB_").unwrap_or(status);
    status.strip_prefix("E_").unwrap_or(status).to_owned()
}

/// What the kind of misuse alone decides.
fn decided(column: &str) -> Option<&'static str> {
    let (what, _) = column.split_once(':')?;
    Some(match what {
        "stale" => "STALE",
        "kind" => "KIND",
        "zero" | "random" | "all ones" | "kind zero" | "forged generation" | "forged slot" | "forged epoch"
        | "forged kind" => "HANDLE",
        _ => panic!("the program has a column that nobody judges: {column}"),
    })
}

/// A column in which an end has only begun: a call there gives what it gives before or after that end, or says that it met
/// the end on its way.
fn around(column: &str) -> Option<[&'static str; 3]> {
    match column {
        "runtime released" => Some(["live", "runtime closed", "shut down"]),
        "endpoint released" => Some(["live", "endpoint closed", "in endpoint event"]),
        "connection released" => Some(["live", "connection closed", "in last connection event"]),
        _ => None,
    }
}

/// Statuses that a function's comment names, with those of the functions that it refers to.
fn documented(abi: &Abi, function: &Function, depth: u32) -> Set {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map(str::to_owned).collect()
    };
    let mut out: Set = words(&function.doc).iter().filter(|w| w.starts_with("WB_")).map(|w| short(w)).collect();
    out.insert("OK".to_owned());
    let errors = function.doc.split_once("Errors:").map_or("", |(_, errors)| errors);
    if function.doc.contains("andle errors") {
        out.extend(["HANDLE", "STALE", "KIND", "FORKED"].map(str::to_owned));
    }
    for word in words(errors).iter().filter(|w| w.starts_with("wb_") && depth > 0) {
        if let Some(other) = abi.functions.iter().find(|f| f.name == *word) {
            out.extend(documented(abi, other, depth - 1));
        }
    }
    out
}

/// Rules that hold whatever the table says.
fn broken_rule(abi: &Abi, row: &Row<'_>, column: &str, status: &str) -> Option<&'static str> {
    let name = row.function.name.as_str();
    if matches!(status, "PANIC" | "INTERNAL" | "NO_MEMORY" | "?") {
        return Some("the library failed");
    }
    if !documented(abi, row.function, 2).contains(status) {
        return Some("the function's comment does not name this status");
    }
    if column.starts_with("in ")
        && matches!(name, "wb_runtime_wait" | "wb_runtime_mute" | "wb_queue_take")
        && !matches!(status, "WOULD_DEADLOCK" | "STALE")
    {
        return Some("waiting inside a callback");
    }
    let makes = ["wb_endpoint *", "wb_conn *", "wb_stream *"];
    if matches!(column, "runtime closed" | "shut down" | "in runtime event")
        && row.function.parameters.iter().any(|p| makes.contains(&p.kind.as_str()))
        && status == "OK"
    {
        return Some("something began after the runtime's end");
    }
    None
}

fn read_table(path: &std::path::Path) -> Cells {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines().filter(|l| !l.starts_with('#'));
    let columns: Vec<&str> = lines.next().unwrap_or("").split('\t').skip(1).collect();
    let mut out = Cells::new();
    for line in lines {
        let mut cells = line.split('\t');
        let row = cells.next().unwrap_or("").to_owned();
        for (column, set) in columns.iter().zip(cells) {
            if set != "-" {
                out.insert((row.clone(), (*column).to_owned()), set.split('|').map(str::to_owned).collect());
            }
        }
    }
    out
}

fn write_table(path: &std::path::Path, rows: &[Row<'_>], columns: &[String], cells: &Cells) {
    let mut text =
        "# Statuses of the misuse matrix, see main.rs. Several where threads decide which comes first.\n".to_owned();
    let _ = writeln!(text, "function\t{}", columns.join("\t"));
    for row in rows {
        let _ = write!(text, "{}", row.name);
        for column in columns {
            let set = cells.get(&(row.name.clone(), column.clone()));
            let set = set.map_or("-".to_owned(), |s| s.iter().cloned().collect::<Vec<_>>().join("|"));
            let _ = write!(text, "\t{set}");
        }
        text.push('\n');
    }
    std::fs::write(path, text).expect("the table can be written");
}

/// Judges every cell, and that none is missing.
pub fn judge(abi: &Abi, rows: &[Row<'_>], said: &str) {
    let mut seen = Cells::new();
    let mut columns: Vec<String> = Vec::new();
    let mut bad_cells = 0usize;
    let mut wrong = String::new();
    for line in said.lines() {
        let mut parts = line.split('\t');
        let (Some(name), Some(column), Some(status), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (column, status) = (column.to_owned(), short(status));
        let row = rows.iter().find(|r| r.name == name).unwrap_or_else(|| panic!("no row {name}"));
        if let Some(rule) = broken_rule(abi, row, &column, &status) {
            let _ = writeln!(wrong, "{name}, {column}: {status}: {rule}");
        }
        if let Some(wanted) = decided(&column) {
            bad_cells += 1;
            if status != wanted {
                let _ = writeln!(wrong, "{name}, {column}: {status}, wanted {wanted}");
            }
            continue;
        }
        if column == "forked" && !row.handles.is_empty() {
            bad_cells += 1;
            if status != "FORKED" {
                let _ = writeln!(wrong, "{name}, {column}: {status}, wanted FORKED");
            }
            continue;
        }
        if !columns.contains(&column) {
            columns.push(column.clone());
        }
        seen.entry((name.to_owned(), column)).or_default().insert(status);
    }
    let path = super::root().join(TABLE);
    let known = read_table(&path);
    let all: usize = seen.len() + bad_cells;
    println!("misuse: {} functions, {} rows, {all} cells", abi.functions.len(), rows.len());
    match std::env::var("WB_BLESS").as_deref() {
        Ok("new") => write_table(&path, rows, &columns, &seen),
        Ok(_) => {
            let mut union = known.clone();
            for (cell, set) in &seen {
                union.entry(cell.clone()).or_default().extend(set.iter().cloned());
            }
            write_table(&path, rows, &columns, &union);
        }
        Err(_) => {
            for ((row, column), set) in &seen {
                let mut allowed = known.get(&(row.clone(), column.clone())).cloned().unwrap_or_default();
                for neighbour in around(column).into_iter().flatten() {
                    allowed.extend(["STALE", "STATE", "CLOSED_LOCAL"].map(str::to_owned));
                    allowed.extend(known.get(&(row.clone(), neighbour.to_owned())).into_iter().flatten().cloned());
                }
                for status in set.difference(&allowed) {
                    let _ = writeln!(wrong, "{row}, {column}: {status}, the table has {allowed:?}");
                }
            }
            for (row, column) in known.keys().filter(|cell| !seen.contains_key(*cell)) {
                let _ = writeln!(wrong, "{row}, {column}: in the table, but nobody called it");
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells are wrong\n{wrong}", wrong.lines().count());
}
