//! The C ABI as data: what the header declares, with the layout that Rust gives each struct.
//!
//! `bindings/whimbrel.abi.json` is written from it, and the Python declarations are written from that file. Reading the
//! generated header keeps one truth: a declaration that this parser does not understand is an error, never left out.
use serde_json::{Value, json};

pub mod layout;

struct Parser<'a> {
    lines: Vec<&'a str>,
    at: usize,
}

/// A comment above a declaration, as one text with its line breaks.
fn doc(comment: &[&str]) -> String {
    comment.iter().map(|l| l.trim_start_matches('/').trim()).collect::<Vec<_>>().join("\n")
}

/// Splits "const struct wb_event *events[4]" into its type, name and array length.
fn declarator(text: &str) -> Value {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ").replace("struct wb_", "wb_");
    let (words, count) = match words.split_once('[') {
        Some((head, tail)) => (head.to_owned(), tail.trim_end_matches(']').parse::<u64>().ok()),
        None => (words, None),
    };
    let cut = words.rfind([' ', '*']).map(|i| i + 1).unwrap_or_else(|| panic!("not a declaration: {text}"));
    let (kind, name) = words.split_at(cut);
    let mut out = json!({ "name": name, "type": kind.trim() });
    if let Some(n) = count {
        out["count"] = json!(n);
    }
    out
}

/// "(void)" or a list of parameters.
fn parameters(list: &str) -> Value {
    let list = list.trim();
    if list == "void" {
        return json!([]);
    }
    Value::Array(list.split(',').map(declarator).collect())
}

impl Parser<'_> {
    /// Lines from here to the one that ends with `end`, joined.
    fn until(&mut self, end: &str) -> String {
        let mut text = String::new();
        while let Some(line) = self.lines.get(self.at) {
            self.at += 1;
            text.push_str(line.split_once("//").map_or(*line, |(code, _)| code));
            text.push(' ');
            if line.trim_end().ends_with(end) {
                return text;
            }
        }
        panic!("the header ends in the middle of: {text}")
    }

    fn fields(&mut self) -> (String, Vec<Value>) {
        let (mut fields, mut comment) = (Vec::new(), Vec::new());
        loop {
            let line = self.lines.get(self.at).expect("a struct has an end").trim();
            self.at += 1;
            if let Some(name) = line.strip_prefix("} ") {
                return (name.trim_end_matches(';').to_owned(), fields);
            }
            if line.starts_with("//") {
                comment.push(line);
                continue;
            }
            let mut field = declarator(line.trim_end_matches(';'));
            field["doc"] = json!(doc(&comment));
            comment.clear();
            fields.push(field);
        }
    }
}

/// Everything that the header declares.
pub fn describe(header: &str) -> Value {
    let code = header.split_once("#ifndef WHIMBREL_H_INLINE").expect("the header has its inline part").0;
    let mut p = Parser { lines: code.lines().collect(), at: 0 };
    let mut comment: Vec<&str> = Vec::new();
    let (mut constants, mut aliases, mut callbacks) = (Vec::new(), Vec::new(), Vec::new());
    let (mut structs, mut functions) = (Vec::new(), Vec::new());
    while let Some(line) = p.lines.get(p.at).copied() {
        if line.starts_with("//") {
            comment.push(line);
            p.at += 1;
            continue;
        }
        let text = doc(&comment);
        comment.clear();
        if let Some(rest) = line.strip_prefix("#define WB_") {
            p.at += 1;
            let (name, value) = rest.split_once(' ').expect("a constant has a value");
            constants.push(json!({ "name": format!("WB_{name}"), "value": value.trim(), "doc": text }));
        } else if line.starts_with("typedef struct") {
            p.at += 1;
            let (name, fields) = p.fields();
            structs.push(layout::with_layout(&name, fields, &text));
        } else if line.starts_with("typedef") {
            let whole = p.until(";");
            let body = whole.trim().trim_start_matches("typedef").trim_end_matches(';');
            if let Some((result, rest)) = body.split_once("(*") {
                let (name, list) = rest.split_once(")(").expect("a callback has parameters");
                let list = parameters(list.trim_end_matches(')'));
                callbacks.push(json!({ "name": name, "result": result.trim(), "parameters": list, "doc": text }));
            } else {
                let mut alias = declarator(body);
                alias["doc"] = json!(text);
                aliases.push(alias);
            }
        } else if line.contains(" wb_") || line.contains("*wb_") {
            let whole = p.until(");");
            let (head, list) = whole.split_once('(').expect("a function has parameters");
            let mut function = declarator(head);
            function["result"] = function["type"].take();
            function["parameters"] = parameters(list.trim().trim_end_matches(");"));
            function["doc"] = json!(text);
            function.as_object_mut().expect("it is an object").remove("type");
            functions.push(function);
        } else {
            p.at += 1;
        }
    }
    json!({
        "library": "whimbrel",
        "header": "whimbrel.h",
        "data_model": { "pointer": size_of::<usize>(), "size_t": size_of::<usize>() },
        "constants": constants,
        "aliases": aliases,
        "callbacks": callbacks,
        "structs": structs,
        "functions": functions,
    })
}
