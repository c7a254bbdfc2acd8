//! Citations in comments and in `docs/requirements/*.toml`: what they quote, from where, and next to which item.
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Code,
    Test,
    Exception,
}

#[derive(Debug)]
pub struct Citation {
    pub kind: Kind,
    pub target: String,
    pub quote: String,
    /// Of an exception.
    pub reason: String,
    pub file: String,
    pub line: usize,
    /// The nearest item: the one that the comment stands on, or the one around it.
    pub item: String,
}

impl Citation {
    pub fn at(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// A file of tests: its citations say that they are tests.
fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

pub fn read_all(root: &Path, wrong: &mut Vec<String>) -> Vec<Citation> {
    let mut out = Vec::new();
    for folder in ["src", "tests", "bindings", "docs/requirements"] {
        let mut files = Vec::new();
        walk(&root.join(folder), &mut files);
        for file in files {
            let name = file.strip_prefix(root).expect("inside the tree").to_string_lossy().replace('\\', "/");
            let marks = match name.rsplit('.').next() {
                Some("rs" | "c" | "h" | "in" | "cpp") => ("//=", "//#"),
                Some("py") => ("##=", "##%"),
                Some("toml") if name.starts_with("docs/") => {
                    exceptions(&name, &fs::read_to_string(&file).expect("text"), &mut out, wrong);
                    continue;
                }
                _ => continue,
            };
            let Ok(text) = fs::read_to_string(&file) else { continue };
            comments(&name, &text, marks, &mut out, wrong);
        }
    }
    out
}

fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut entries: Vec<_> = entries.map(|e| e.expect("entry").path()).collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true if path.ends_with("target") => {}
            true => walk(&path, out),
            false => out.push(path),
        }
    }
}

/// Citations in comments: lines of `meta` (target, `type=`, `reason=`), then lines of quoted text.
pub fn comments(file: &str, text: &str, marks: (&str, &str), out: &mut Vec<Citation>, wrong: &mut Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    let mut n = 0;
    while n < lines.len() {
        let line = lines[n].trim_start();
        if line.starts_with(marks.1) {
            wrong.push(format!("{file}:{}: a quotation without a target before it", n + 1));
        }
        if !line.starts_with(marks.0) {
            n += 1;
            continue;
        }
        let start = n;
        let (mut target, mut kind, mut reason, mut quote) = (None, None, String::new(), Vec::new());
        while let Some(meta) = lines.get(n).and_then(|l| l.trim_start().strip_prefix(marks.0)) {
            let meta = meta.trim();
            match meta.split_once('=') {
                Some(("type", "test")) => kind = Some(Kind::Test),
                Some(("type", "implementation")) => kind = Some(Kind::Code),
                Some(("type", "exception")) => kind = Some(Kind::Exception),
                Some(("type", other)) => wrong.push(format!("{file}:{}: unknown type {other}", n + 1)),
                Some(("reason", text)) => reason = text.to_owned(),
                _ if target.is_none() => target = Some(meta.to_owned()),
                _ => wrong.push(format!("{file}:{}: not understood: {meta}", n + 1)),
            }
            n += 1;
        }
        while let Some(text) = lines.get(n).and_then(|l| l.trim_start().strip_prefix(marks.1)) {
            quote.push(text.trim());
            n += 1;
        }
        let kind = kind.unwrap_or(Kind::Code);
        let at = format!("{file}:{}", start + 1);
        if kind == Kind::Code && is_test_file(file) {
            wrong.push(format!("{at}: a citation in a test says type=test"));
        }
        if (kind == Kind::Exception) == reason.is_empty() {
            wrong.push(format!("{at}: an exception has a reason, anything else has none"));
        }
        out.push(Citation {
            kind,
            target: target.unwrap_or_default(),
            quote: quote.join(" "),
            reason,
            file: file.to_owned(),
            line: start + 1,
            item: item_near(file, &lines, start, n),
        });
    }
}

/// The name that a line declares, when it declares an item.
fn declared(file: &str, line: &str) -> Option<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let code = line.trim_start();
    if file.ends_with(".py") {
        let rest = ["def ", "async def ", "class "].iter().find_map(|w| code.strip_prefix(w))?;
        return Some(name(rest));
    }
    if !file.ends_with(".rs") {
        let head = code.split('(').next().filter(|_| !line.starts_with(' ') && line.contains('('))?;
        return head.rsplit([' ', '*']).next().map(name).filter(|n| !n.is_empty());
    }
    let mut words = code.split_whitespace().peekable();
    while let Some(word) = words.next() {
        match word {
            "pub" | "async" | "unsafe" | "extern" | "\"C\"" => {}
            _ if word.starts_with("pub(") => {}
            "const" if words.peek() == Some(&"fn") => {}
            "fn" | "struct" | "enum" | "trait" | "const" | "static" | "type" | "mod" | "macro_rules!" | "union" => {
                return words.next().map(name).filter(|n| !n.is_empty());
            }
            _ if word == "impl" || word.starts_with("impl<") => {
                let head = code.split(" {").next().unwrap_or(code);
                let subject = head.rsplit(" for ").next().unwrap_or(head);
                return Some(name(subject.trim_start_matches("impl").trim_start()));
            }
            _ => return None,
        }
    }
    None
}

/// The item on which the comment of lines `start..end` stands, or else the one around it.
fn item_near(file: &str, lines: &[&str], start: usize, end: usize) -> String {
    let indent = |l: &str| l.len() - l.trim_start().len();
    let is_plain = |l: &str| {
        let l = l.trim_start();
        !l.is_empty() && !["//", "#", "@", "/*", "*"].iter().any(|mark| l.starts_with(mark))
    };
    let mut around = indent(lines[start]);
    if let Some(next) = lines[end..].iter().find(|l| is_plain(l))
        && let Some(name) = declared(file, next)
        && indent(next) == around
        && !next.trim_start().starts_with("const ")
    {
        return name;
    }
    for line in lines[..start].iter().rev().filter(|l| is_plain(l)) {
        if indent(line) < around {
            around = indent(line);
            if let Some(name) = declared(file, line) {
                return name;
            }
        }
    }
    // At the top of a file: a constant, or the file itself.
    let next = lines[end..].iter().find(|l| is_plain(l)).and_then(|next| declared(file, next));
    next.unwrap_or_else(|| "the file".to_owned())
}

/// Tables `[[exception]]` with `target`, `quote` and `reason`, strings of one kind or the other; a target before the
/// first table serves those without one. A part of TOML.
pub fn exceptions(file: &str, text: &str, out: &mut Vec<Citation>, wrong: &mut Vec<String>) {
    let mut target = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((n, line)) = lines.next() {
        let at = n + 1;
        let Some((key, value)) = line.split_once(" = ") else {
            match line.trim() {
                "[[exception]]" => out.push(Citation {
                    kind: Kind::Exception,
                    target: target.clone(),
                    quote: String::new(),
                    reason: String::new(),
                    file: file.to_owned(),
                    line: at,
                    item: String::new(),
                }),
                "" => {}
                line if line.starts_with('#') => {}
                other => wrong.push(format!("{file}:{at}: not understood: {other}")),
            }
            continue;
        };
        let mut value = value.trim().to_owned();
        if value.starts_with("'''") {
            while value.len() < 6 || !value.ends_with("'''") {
                let Some((_, more)) = lines.next() else { break };
                value = format!("{value} {}", more.trim());
            }
        }
        let value = value.trim_matches(['\'', '"']).trim().to_owned();
        let last = out.last_mut().filter(|c| c.file == file);
        match (key, last) {
            ("target", Some(last)) if last.quote.is_empty() => last.target = value,
            ("target", _) => target = value,
            ("quote", Some(last)) => last.quote = value,
            ("reason", Some(last)) => last.reason = value,
            _ => wrong.push(format!("{file}:{at}: not understood: {key}")),
        }
    }
    for citation in out.iter().filter(|c| c.file == file && c.reason.is_empty()) {
        wrong.push(format!("{}: an exception has a reason", citation.at()));
    }
}
