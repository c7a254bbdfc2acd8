//! Holds the house together: layering, sizes, clocks, `unsafe`.
//!
//! Reads the sources as text. A rule that fails names the file, the line and what to do.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the ground up. A room may import from rooms with a smaller number, and from itself.
const LAYERS: &[(&str, u32)] = &[
    ("base", 0),
    ("collections", 1),
    ("wire", 2),
    ("crypto", 3),
    ("congestion", 4),
    ("recovery", 5),
    ("paths", 6),
    ("streams", 6),
    ("qlog", 6),
    ("connection", 7),
    ("endpoint", 8),
    ("qpack", 8),
    ("http3", 9),
    ("runtime", 10),
    ("sim", 10),
    ("ffi", 11),
];

/// Where `unsafe` may stand: foreign memory, system calls, the C boundary.
const UNSAFE_ROOMS: &[&str] = &["src/collections/chunk", "src/runtime/", "src/ffi/"];
/// Where the clock may be read.
const CLOCK_ROOM: &str = "src/runtime/";
const MAX_FILE_LINES: usize = 800;
const MAX_FUNCTION_LINES: usize = 120;
/// Tables that are data, not code.
const DATA_TABLES: &[&str] = &["src/qpack/huffman_table.rs", "src/qpack/static_table.rs"];

struct Source {
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, out: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(dir).expect("folder").map(|e| e.expect("entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).expect("utf-8 source");
            let path = path.strip_prefix(root()).expect("inside the tree").to_path_buf();
            out.push(Source { path, text });
        }
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let mut out = Vec::new();
    rust_files(&root().join(folder), &mut out);
    assert!(!out.is_empty(), "no Rust source under {folder}");
    out
}

/// Code with comments, strings and character literals blanked, so that words in them do not count.
fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let bytes: Vec<char> = text.chars().collect();
    let mut i = 0;
    while i < bytes.len() {
        let rest = &bytes[i..];
        if rest.starts_with(&['/', '/']) {
            while i < bytes.len() && bytes[i] != '\n' {
                i += 1;
            }
        } else if rest.starts_with(&['/', '*']) {
            let mut depth = 0;
            while i < bytes.len() {
                if bytes[i..].starts_with(&['/', '*']) {
                    depth += 1;
                    i += 2;
                } else if bytes[i..].starts_with(&['*', '/']) {
                    depth -= 1;
                    i += 2;
                    if depth == 0 {
                        break;
                    }
                } else {
                    if bytes[i] == '\n' {
                        out.push('\n');
                    }
                    i += 1;
                }
            }
        } else if raw_string_start(rest).is_some() && !prev_is_word(&bytes, i) {
            let (open, hashes) = raw_string_start(rest).expect("checked");
            i += open;
            let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            while i < bytes.len() && !bytes[i..].starts_with(&close) {
                if bytes[i] == '\n' {
                    out.push('\n');
                }
                i += 1;
            }
            i += close.len();
        } else if bytes[i] == '"' {
            i += 1;
            while i < bytes.len() && bytes[i] != '"' {
                if bytes[i] == '\\' {
                    i += 1;
                }
                if bytes.get(i) == Some(&'\n') {
                    out.push('\n');
                }
                i += 1;
            }
            i += 1;
            out.push_str("\"\"");
        } else if bytes[i] == '\'' && (rest.get(1) == Some(&'\\') || rest.get(2) == Some(&'\'')) {
            i += if rest.get(1) == Some(&'\\') { 3 } else { 2 };
            while i < bytes.len() && bytes[i] != '\'' {
                i += 1;
            }
            i += 1;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    out
}

fn prev_is_word(bytes: &[char], i: usize) -> bool {
    i > 0 && (bytes[i - 1].is_alphanumeric() || bytes[i - 1] == '_')
}

fn raw_string_start(rest: &[char]) -> Option<(usize, usize)> {
    let after = if rest.starts_with(&['b', 'r']) {
        2
    } else if rest.first() == Some(&'r') {
        1
    } else {
        return None;
    };
    let hashes = rest[after..].iter().take_while(|c| **c == '#').count();
    (rest.get(after + hashes) == Some(&'"')).then_some((after + hashes + 1, hashes))
}

/// True for test-only files, which may look upwards (a room's tests may use what stands above it).
fn is_test_file(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests")
        || path.file_stem().is_some_and(|s| s == "tests" || s.to_string_lossy().ends_with("_tests"))
}

fn room_of(path: &Path) -> Option<String> {
    let mut parts = path.components().skip(1);
    let first = parts.next()?.as_os_str().to_string_lossy().into_owned();
    Some(first.trim_end_matches(".rs").to_owned())
}

/// Every room that a file names through `crate::`.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => {
                        found.push((line, std::mem::take(&mut word)));
                        break;
                    }
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push((line, std::mem::take(&mut word))),
                    _ if depth == 0 => word.push(c),
                    _ => {}
                }
            }
        } else {
            found.push((line, rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()));
        }
    }
    for (_, word) in &mut found {
        *word = word.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    }
    found.retain(|(_, w)| !w.is_empty());
    found
}

#[test]
fn no_import_points_upwards() {
    let layers: BTreeMap<&str, u32> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for src in sources("src") {
        if is_test_file(&src.path) || src.path == Path::new("src/lib.rs") {
            continue;
        }
        let room = room_of(&src.path).expect("a room");
        let Some(&mine) = layers.get(room.as_str()) else {
            wrong.push(format!("{}: room `{room}` has no layer; add it to LAYERS", src.path.display()));
            continue;
        };
        for (line, target) in imports(&code_only(&src.text)) {
            match layers.get(target.as_str()) {
                Some(&theirs) if target != room && theirs >= mine => wrong.push(format!(
                    "{}:{line}: `{room}` (layer {mine}) imports `{target}` (layer {theirs})",
                    src.path.display()
                )),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "upward or sideways imports:\n{}", wrong.join("\n"));
}

#[test]
fn files_and_functions_stay_small() {
    let mut wrong = Vec::new();
    let mut all = sources("src");
    all.extend(sources("tests").into_iter().filter(|s| !s.path.components().any(|c| c.as_os_str() == "target")));
    for src in all {
        let lines = src.text.lines().count();
        if lines > MAX_FILE_LINES && !DATA_TABLES.iter().any(|t| Path::new(t) == src.path) {
            wrong.push(format!("{}: {lines} lines, the limit is {MAX_FILE_LINES}", src.path.display()));
        }
        for (name, at, length) in functions(&code_only(&src.text)) {
            if length > MAX_FUNCTION_LINES {
                wrong.push(format!(
                    "{}:{at}: `{name}` has {length} lines, the limit is {MAX_FUNCTION_LINES}",
                    src.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "too long:\n{}", wrong.join("\n"));
}

/// Name, first line and number of lines of every function with a body.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut out = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if at > 0 && code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() {
            continue;
        }
        let Some(open) = code[at..].find(['{', ';']) else { continue };
        if code[at + open..].starts_with(';') && !code[at..at + open].contains('[') {
            continue;
        }
        let Some(open) = code[at..].find('{') else { continue };
        let mut depth = 0usize;
        for (i, c) in code[at + open..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => {
                    depth -= 1;
                    if depth == 0 {
                        let first = code[..at].matches('\n').count() + 1;
                        let length = code[at..=at + open + i].matches('\n').count() + 1;
                        out.push((name, first, length));
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    out
}

#[test]
fn only_the_runtime_reads_a_clock() {
    let mut wrong = Vec::new();
    for src in sources("src") {
        let path = src.path.to_string_lossy().into_owned();
        if path.starts_with(CLOCK_ROOM) || is_test_file(&src.path) {
            continue;
        }
        for (n, line) in code_only(&src.text).lines().enumerate() {
            if line.contains("Instant::now") || line.contains("SystemTime::now") {
                wrong.push(format!("{path}:{}: reads a clock; take a Timestamp as an argument", n + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "clocks outside the runtime:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_lives_in_few_places_with_reasons() {
    let mut wrong = Vec::new();
    for src in sources("src") {
        let path = src.path.to_string_lossy().into_owned();
        let allowed = UNSAFE_ROOMS.iter().any(|r| path.starts_with(r));
        let original: Vec<&str> = src.text.lines().collect();
        for (n, line) in code_only(&src.text).lines().enumerate() {
            let block = line.contains("unsafe {") || line.contains("unsafe impl");
            let any = block || line.contains("unsafe fn") || line.contains("unsafe extern");
            if any && !allowed {
                wrong.push(format!("{path}:{}: `unsafe` outside the listed places", n + 1));
            }
            if block && allowed && !is_test_file(&src.path) {
                let near = &original[n.saturating_sub(8)..=n.min(original.len() - 1)];
                if !near.iter().any(|l| l.contains("SAFETY") || l.contains("# Safety")) {
                    wrong.push(format!("{path}:{}: `unsafe` block without its reason (SAFETY: ...)", n + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_unwritten() {
    let mut wrong = Vec::new();
    for src in sources("src") {
        for (n, line) in code_only(&src.text).lines().enumerate() {
            if ["todo!(", "unimplemented!(", "dbg!("].iter().any(|w| line.contains(w)) {
                wrong.push(format!("{}:{}: {}", src.path.display(), n + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "unfinished code:\n{}", wrong.join("\n"));
}

/// `docs/transport.md` promises a room and tests for each mechanism.
#[test]
fn the_list_of_mechanisms_names_what_exists() {
    let page = fs::read_to_string(root().join("docs/transport.md")).expect("docs/transport.md");
    let mut all = sources("src");
    all.extend(sources("tests"));
    let mut known: Vec<String> = Vec::new();
    for src in &all {
        let names = src.text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
        known.extend(names.map(str::to_owned));
    }
    known.sort();
    let (mut wrong, mut rows) = (Vec::new(), 0);
    for line in page.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| ---")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let Some((last, others)) = cells.split_last() else { continue };
        let tests = quoted(last);
        rows += usize::from(!tests.is_empty());
        wrong.extend(tests.into_iter().filter(|t| known.binary_search(t).is_err()));
        let rooms = others.iter().flat_map(|c| quoted(c)).filter(|r| r.starts_with("src/"));
        wrong.extend(rooms.filter(|r| !root().join(r).exists()));
    }
    assert!(rows > 50, "{rows} rows with tests");
    assert!(wrong.is_empty(), "docs/transport.md names what is not there: {wrong:?}");
}

#[test]
fn the_reader_of_this_test_sees_what_it_should() {
    let code =
        code_only("let a = \"unsafe { \"; // unsafe {\nlet c = '\"'; use crate::{wire::Frame, ffi}; r#\"fn x\"#;");
    assert!(!code.contains("unsafe"));
    assert_eq!(imports(&code), vec![(2, "wire".to_owned()), (2, "ffi".to_owned())]);
    let found = functions("fn a() {\n  x\n}\nfn b();\nimpl T { fn c(&self) -> [u8; 2] { [0; 2] } }");
    assert_eq!(found, vec![("a".to_owned(), 1, 3), ("c".to_owned(), 5, 1)]);
}
