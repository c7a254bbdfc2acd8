//! The misuse matrix: every exported function, taken from the description of the ABI, times what an application can do
//! wrong: bad handles (zero, stale, of another kind, forged), null pointers, closed or released parents, calls from inside
//! callbacks, calls after the end of the runtime, calls in the child of a fork.
//!
//! A C program that is written here makes the calls (`tests/c/matrix.c.in`, `world.h`) and says what each gave. What a
//! cell may give follows from the kind of misuse, or stands in `statuses.tsv`, written by `WB_BLESS=1` (which adds) or
//! `WB_BLESS=new` (which starts again) and read by people. Whatever stands there, each status must be one that the
//! function documents, and a function without a line fails.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::{Command, Stdio};

mod arguments;
#[path = "../c_programs/mod.rs"]
mod c_programs;
mod judge;

use arguments::{ALONE, GIVEN, ZERO_IS_NONE};
use c_programs::{compile, folder, root};
use serde_json::Value;

pub struct Parameter {
    pub name: String,
    pub kind: String,
}

pub struct Function {
    pub name: String,
    pub result: String,
    pub parameters: Vec<Parameter>,
    pub doc: String,
}

/// Everything that the library exports.
pub struct Abi {
    pub functions: Vec<Function>,
    /// Structs that begin with their size.
    sized: BTreeSet<String>,
    /// Aliases of `wb_handle`.
    handles: BTreeSet<String>,
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}")).to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

impl Abi {
    fn read() -> Self {
        let file = std::fs::read_to_string(root().join("bindings/whimbrel.abi.json")).expect("it is readable");
        let abi: Value = serde_json::from_str(&file).expect("it is JSON");
        let functions = list(&abi["functions"]).iter().map(|f| Function {
            name: text(f, "name"),
            result: text(f, "result"),
            doc: text(f, "doc"),
            parameters: list(&f["parameters"])
                .iter()
                .map(|p| Parameter { name: text(p, "name"), kind: text(p, "type") })
                .collect(),
        });
        let sized = list(&abi["structs"]).iter().filter(|s| s["fields"][0]["name"] == "struct_size");
        let handles = list(&abi["aliases"]).iter().filter(|a| a["type"] == "wb_handle").map(|a| text(a, "name"));
        Self {
            functions: functions.collect(),
            sized: sized.map(|s| text(s, "name")).collect(),
            handles: handles.chain(["wb_handle".to_owned()]).collect(),
        }
    }

    /// A handle, or an array of them.
    fn is_handle(&self, kind: &str) -> bool {
        let one = kind.strip_prefix("const ").and_then(|k| k.strip_suffix(" *")).unwrap_or(kind);
        self.handles.contains(one)
    }

    /// The argument that a type gets.
    fn default(&self, function: &str, kind: &str) -> String {
        let http3 = function.starts_with("wb_h3_");
        match kind {
            "wb_runtime" if function.starts_with("wb_core_") => "w->core".to_owned(),
            "wb_conn" if http3 => "w->h3".to_owned(),
            "wb_stream" if http3 => "w->request".to_owned(),
            k if self.handles.contains(k) => format!("w->{}", k.trim_start_matches("wb_")),
            "uint8_t" | "uint16_t" | "uint32_t" | "uint64_t" | "int64_t" | "size_t" | "ptrdiff_t" | "wb_status" => {
                "1".to_owned()
            }
            // Lengths of addresses come after them.
            "const struct sockaddr *" => "&loopback".to_owned(),
            "void *" | "wb_destroy_fn" | "wb_release_fn" => "NULL".to_owned(),
            "const void *" | "const char *" => "text".to_owned(),
            "void **" | "const void **" | "const char **" => "(void *)&w->pointer".to_owned(),
            "size_t *" => "&w->n".to_owned(),
            "uint8_t *" => "&w->fin".to_owned(),
            "uint32_t *" => "&w->u".to_owned(),
            "int64_t *" => "&w->i".to_owned(),
            "ptrdiff_t *" => "w->fds".to_owned(),
            "wb_addr *" => "(wb_addr *)(void *)w->room".to_owned(),
            k => {
                let pointee = k.trim_end_matches(" *");
                if self.handles.contains(pointee) {
                    "w->made".to_owned()
                } else if self.sized.contains(pointee) {
                    format!("sized(w, sizeof({pointee}))")
                } else {
                    panic!("{function} has a parameter type that the matrix does not know: {k}")
                }
            }
        }
    }
}

/// One row: a function with arguments, and where it takes any kind of handle the kind that it is given.
pub struct Row<'a> {
    pub function: &'a Function,
    pub name: String,
    arguments: Vec<String>,
    /// Parameters that are handles.
    pub handles: Vec<usize>,
}

/// Where one type covers objects that differ: the row's suffix and the object.
fn variants(function: &Function) -> Vec<(&'static str, &'static str)> {
    const ANY: [(&str, &str); 10] = [
        ("runtime", "w->runtime"),
        ("config", "w->config"),
        ("tls", "w->tls"),
        ("endpoint", "w->endpoint"),
        ("conn", "w->conn"),
        ("path", "w->path"),
        ("stream", "w->stream"),
        ("buf", "w->buf"),
        ("queue", "w->queue"),
        ("decision", "w->identity"),
    ];
    const DECISIONS: [(&str, &str); 4] =
        [("admit", "w->admit"), ("identity", "w->identity"), ("sign", "w->sign"), ("verify", "w->verify")];
    let kinds: Vec<&str> = function.parameters.iter().map(|p| p.kind.as_str()).collect();
    let several: &[&str] = match function.name.as_str() {
        "wb_qlog" => &["endpoint", "conn"],
        "wb_counters" => &["runtime", "endpoint"],
        "wb_queue_attach" => &["runtime", "endpoint", "conn"],
        _ => &[],
    };
    if !several.is_empty() {
        ANY.into_iter().filter(|(kind, _)| several.contains(kind)).collect()
    } else if kinds.contains(&"wb_handle") {
        ANY.to_vec()
    } else if kinds.contains(&"wb_decision") {
        DECISIONS.to_vec()
    } else {
        vec![("", "")]
    }
}

impl<'a> Row<'a> {
    fn all(abi: &'a Abi) -> Vec<Self> {
        let mut rows = Vec::new();
        for function in &abi.functions {
            let given = GIVEN.iter().find(|(name, _)| *name == function.name).map_or("", |(_, given)| given);
            let given: BTreeMap<&str, &str> = given.split("; ").filter_map(|pair| pair.split_once('=')).collect();
            for name in given.keys() {
                assert!(function.parameters.iter().any(|p| p.name == *name), "{} has no {name}", function.name);
            }
            for (suffix, object) in variants(function) {
                let argument = |(i, p): (usize, &Parameter)| match (given.get(p.name.as_str()), p.kind.as_str()) {
                    (Some(given), "const struct sockaddr *") => format!("(const struct sockaddr *){given}"),
                    (Some(given), _) => (*given).to_owned(),
                    (None, "wb_handle" | "wb_decision") => object.to_owned(),
                    (None, "const struct sockaddr *") => "(const struct sockaddr *)&loopback".to_owned(),
                    (None, "uint32_t") if i > 0 && function.parameters[i - 1].kind == "const struct sockaddr *" => {
                        "sizeof loopback".to_owned()
                    }
                    (None, kind) => abi.default(&function.name, kind),
                };
                let arguments: Vec<String> = function.parameters.iter().enumerate().map(argument).collect();
                let handles = (0..arguments.len()).filter(|i| abi.is_handle(&function.parameters[*i].kind)).collect();
                let dot = if suffix.is_empty() { "" } else { "." };
                rows.push(Row { function, name: format!("{}{dot}{suffix}", function.name), arguments, handles });
            }
        }
        rows
    }

    fn is_alone(&self) -> bool {
        ALONE.contains(&self.function.name.as_str())
    }

    /// A call with this handle in place of one of them.
    fn call(&self, replaced: Option<(usize, &str)>, null: bool) -> String {
        let mut arguments = Vec::new();
        for (i, (argument, parameter)) in self.arguments.iter().zip(&self.function.parameters).enumerate() {
            let handle = self.handles.contains(&i);
            let value = match replaced {
                Some((at, bad)) if at == i => bad,
                _ => argument,
            };
            arguments.push(if null && (parameter.kind.ends_with('*') || parameter.kind.ends_with("_fn")) {
                "NULL".to_owned()
            } else if handle && parameter.kind.ends_with('*') {
                format!("one(w, {value})")
            } else {
                value.to_owned()
            });
        }
        let call = format!("{}({})", self.function.name, arguments.join(", "));
        match self.function.result.as_str() {
            "wb_status" => format!("return {call}"),
            "const char *" if !null => format!("CHECK({call} != NULL); return WB_OK"),
            _ => format!("(void){call}; return WB_OK"),
        }
    }

    fn needs(&self) -> String {
        const PARTS: [(&str, &str); 10] = [
            ("w->conn", "CONN"),
            ("w->path", "CONN"),
            ("w->stream", "STREAM"),
            ("w->h3", "H3"),
            ("w->request", "REQUEST"),
            ("w->admit", "ADMIT"),
            ("w->identity", "IDENTITY"),
            ("w->sign", "SIGN"),
            ("w->verify", "VERIFY"),
            ("w->core", "CORE"),
        ];
        let needed = PARTS.iter().filter(|(part, _)| self.arguments.iter().any(|a| a == part)).map(|(_, need)| *need);
        std::iter::once("0").chain(needed).collect::<Vec<_>>().join(" | ")
    }

    /// Its functions and its line of the table.
    fn write(&self, number: usize, code: &mut String, table: &mut String) {
        let mask = |keep: &dyn Fn(&Parameter) -> bool| {
            let set = self.handles.iter().enumerate().filter(|(_, i)| keep(&self.function.parameters[**i]));
            set.fold(0u32, |mask, (at, _)| mask | 1 << at)
        };
        let name = self.function.name.as_str();
        let optional = mask(&|p: &Parameter| ZERO_IS_NONE.contains(&(name, p.name.as_str())));
        // Handles of any kind: none is wrong.
        let any = mask(&|p: &Parameter| p.kind.contains("wb_handle") && name.starts_with("wb_handle_"));
        let pointers = self.function.parameters.iter().any(|p| p.kind.ends_with('*') || p.kind.ends_with("_fn"));
        let _ = writeln!(
            code,
            "static wb_status call_{number}(struct world *w) {{ (void)w; {}; }}",
            self.call(None, false)
        );
        if pointers {
            let _ = writeln!(
                code,
                "static wb_status null_{number}(struct world *w) {{ (void)w; {}; }}",
                self.call(None, true)
            );
        }
        if !self.handles.is_empty() {
            let (mut bad, mut live) = (String::new(), String::new());
            for (p, at) in self.handles.iter().enumerate() {
                let _ = write!(bad, "case {p}: {}; ", self.call(Some((*at, "bad")), false));
                let _ = write!(live, "case {p}: return {}; ", self.arguments[*at]);
            }
            let _ = writeln!(
                code,
                "static wb_status bad_{number}(struct world *w, int p, wb_handle bad) {{ (void)w; switch (p) {{ {bad}}} \
                 return WB_OK; }}\nstatic wb_handle handle_{number}(struct world *w, int p) {{ switch (p) {{ {live}}} \
                 return 0; }}"
            );
        }
        let or_null = |made: bool, what: &str| if made { format!("{what}_{number}") } else { "NULL".to_owned() };
        let handles = !self.handles.is_empty();
        let _ = writeln!(
            table,
            "    {{\"{}\", call_{number}, {}, {}, {}, {}, {optional}, {any}, {}, {}}},",
            self.name,
            or_null(pointers, "null"),
            or_null(handles, "bad"),
            or_null(handles, "handle"),
            self.handles.len(),
            self.needs(),
            u8::from(self.is_alone()),
        );
    }
}

/// Processes that share the cells: most of the time goes by waiting for connections to drain.
const PARTS: usize = 6;

const ROW: &str = "struct row {
    const char *name;
    wb_status (*call)(struct world *);
    wb_status (*null)(struct world *);
    wb_status (*bad)(struct world *, int, wb_handle);
    wb_handle (*handle)(struct world *, int);
    int handles;
    unsigned optional, any, needs;
    int alone;
};
";

fn program(rows: &[Row<'_>]) -> String {
    let (mut code, mut table) = (ROW.to_owned(), String::new());
    for (number, row) in rows.iter().enumerate() {
        row.write(number, &mut code, &mut table);
    }
    let template = std::fs::read_to_string(root().join("tests/c/matrix.c.in")).expect("the template is readable");
    template.replace("/*ROWS*/", &format!("{code}\nstatic const struct row rows[] = {{\n{table}}};"))
}

#[test]
fn every_function_answers_every_misuse_with_a_status() {
    let abi = Abi::read();
    for (name, _) in GIVEN.iter().map(|(n, g)| (n, g)).chain(ZERO_IS_NONE.iter().map(|(n, p)| (n, p))) {
        assert!(abi.functions.iter().any(|f| f.name == *name), "{name} is not exported");
    }
    for name in ALONE {
        assert!(abi.functions.iter().any(|f| f.name == *name), "{name} is not exported");
    }
    let rows = Row::all(&abi);
    let source = folder().join("matrix.c");
    std::fs::write(&source, program(&rows)).expect("a temporary file");
    let program = compile(&source, "matrix");
    let processes: Vec<_> = (0..PARTS)
        .map(|part| {
            let arguments = [part.to_string(), PARTS.to_string()];
            let mut command = Command::new(&program);
            command.arg(folder()).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = command.spawn().expect("the program runs");
            std::thread::spawn(move || child.wait_with_output().expect("its output is readable"))
        })
        .collect();
    let mut said = String::new();
    for process in processes {
        let out = process.join().expect("it was waited for");
        let text = String::from_utf8_lossy(&out.stdout);
        let last = text.lines().last().unwrap_or("");
        assert!(
            out.status.success() && last == "misuse: ok",
            "the program ended with {} in the cell \"{last}\"\n{}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
        said.push_str(&text);
    }
    judge::judge(&abi, &rows, &said);
}
