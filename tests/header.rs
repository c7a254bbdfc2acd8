//! The committed header is what the sources say, stands alone under strict warnings, documents every function,
//! and names exactly the symbols that the shared library exports.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

mod abi_description;

/// Sources of the header in the order in which a reader wants them.
const SOURCES: &[&str] = &[
    "abi",
    "counter_keys",
    "status",
    "error",
    "library",
    "handle_calls",
    "config",
    "tls",
    "tls_calls",
    "runtime_calls",
    "endpoint_calls",
    "conn_calls",
    "decision",
    "stream_calls",
    "h3_calls",
    "h3_messages",
    "buf",
    "queue",
    "core",
    "counters",
    "packet",
    "qlog",
    "diagnostics",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn header() -> PathBuf {
    root().join("include/whimbrel.h")
}

fn generate() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml is readable");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in SOURCES {
        builder = builder.with_src(root().join("src/ffi").join(name).with_extension("rs"));
    }
    let mut out = Vec::new();
    builder.generate().expect("the header can be generated").write(&mut out);
    String::from_utf8(out).expect("the header is text")
}

/// Functions that the header declares.
fn declared(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines().filter(|l| {
        !l.starts_with("//") && !l.starts_with(' ') && !l.starts_with("static") && !l.starts_with("template")
    }) {
        if let Some((head, _)) = line.split_once('(')
            && !head.starts_with("typedef")
            && !head.starts_with('#')
            && let Some(name) = head.split([' ', '*']).next_back()
            && name.starts_with("wb_")
        {
            names.insert(name.to_owned());
        }
    }
    names
}

#[test]
fn the_committed_header_is_fresh() {
    let fresh = generate();
    if std::env::var_os("WB_BLESS").is_some() {
        std::fs::create_dir_all(root().join("include")).expect("include can be made");
        std::fs::write(header(), &fresh).expect("the header can be written");
    }
    let committed = std::fs::read_to_string(header()).unwrap_or_default();
    assert!(committed == fresh, "include/whimbrel.h is stale: WB_BLESS=1 cargo test --test header");
}

/// The ABI as data, for the makers of bindings.
#[test]
fn the_committed_description_is_fresh() {
    let description = abi_description::describe(&generate());
    let functions = description["functions"].as_array().expect("a list");
    assert_eq!(functions.len(), declared(&generate()).len(), "every function is described");
    let fresh = serde_json::to_string_pretty(&description).expect("it can be written") + "\n";
    let file = root().join("bindings/whimbrel.abi.json");
    if std::env::var_os("WB_BLESS").is_some() {
        std::fs::write(&file, &fresh).expect("the description can be written");
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(committed == fresh, "bindings/whimbrel.abi.json is stale: WB_BLESS=1 cargo test --test header");
}

/// A copy of a struct never shows the application bytes that nobody wrote.
#[test]
fn structs_have_no_holes() {
    let description = abi_description::describe(&generate());
    let mut structs = 0;
    for kind in description["structs"].as_array().expect("a list") {
        let fields = kind["fields"].as_array().expect("a list");
        let sum: u64 = fields.iter().filter_map(|f| f["size"].as_u64()).sum();
        assert_eq!(Some(sum), kind["size"].as_u64(), "{} has a hole", kind["name"]);
        structs += 1;
    }
    assert!(structs >= 10, "{structs} structs");
}

#[test]
fn every_function_says_ownership_threads_blocking_errors_and_since() {
    let text = generate();
    let mut comment = String::new();
    let mut seen = 0;
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("//") {
            comment.push_str(words);
            comment.push('\n');
            continue;
        }
        if declared(line).iter().next().is_some() {
            for word in ["Ownership: ", "Threads: ", "Blocks: ", "Errors: ", "Since: 0."] {
                assert!(comment.contains(word), "no '{word}' in the comment of: {line}");
            }
            seen += 1;
        }
        if !line.is_empty() {
            comment.clear();
        }
    }
    assert_eq!(seen, declared(&text).len());
    assert!(seen >= 60, "{seen} functions");
}

fn tool(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success())
}

#[test]
fn it_compiles_alone_under_strict_warnings() {
    let folder = std::env::temp_dir().join(format!("wb-header-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    // The fresh one: whether the committed one equals it is another test's question.
    std::fs::write(folder.join("whimbrel.h"), generate()).expect("a temporary file");
    let uses = "#include \"whimbrel.h\"\nint main(void) { wb_batch b = WB_INIT(wb_batch); wb_field f[] = {WB_FIELD(\"a\", \"b\")};\n\
                (void)f; return (int)b.count + (wb_check_abi() ? 0 : 1); }\n";
    for (extension, compilers, standards) in
        [("c", ["gcc", "clang"], ["c11", "c17", "c2x"]), ("cpp", ["g++", "clang++"], ["c++17", "c++20", "c++2b"])]
    {
        for (what, text) in [("alone", "#include \"whimbrel.h\"\n"), ("used", uses)] {
            let source = folder.join(what).with_extension(extension);
            std::fs::write(&source, text).expect("a temporary file");
            for compiler in compilers {
                if !tool(compiler) {
                    assert!(std::env::var_os("CI").is_none(), "{compiler} is missing: `make setup` installs it");
                    println!("{compiler} is not installed: not tried");
                    continue;
                }
                for standard in standards {
                    compile(compiler, standard, &source);
                }
            }
        }
    }
    let _ = std::fs::remove_dir_all(folder);
}

fn compile(compiler: &str, standard: &str, source: &Path) {
    let out = Command::new(compiler)
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"])
        .arg(format!("-std={standard}"))
        .arg(source)
        .output()
        .expect("the compiler runs");
    assert!(out.status.success(), "{compiler} -std={standard}: {}", String::from_utf8_lossy(&out.stderr));
}

/// The shared library that belongs to this build, next to the test programs.
fn shared_library() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let name = format!("{}whimbrel{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    program.ancestors().take(4).map(|folder| folder.join(&name)).find(|p| p.exists())
}

#[test]
fn the_shared_library_exports_exactly_the_header() {
    let library = shared_library().expect("cargo builds the cdylib before the tests");
    let out = Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output();
    let out = out.expect("nm (package binutils) is needed");
    let exported: BTreeSet<String> = String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter_map(|l| l.split_whitespace().next_back().map(str::to_owned))
        .collect();
    assert_eq!(exported, declared(&generate()));
}
