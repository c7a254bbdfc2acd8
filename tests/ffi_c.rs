//! The C ABI as C sees it: programs in `tests/c` are compiled with the system's compiler against the committed header
//! and the shared library, and run. One of them is written here, from the header: every function with every kind of
//! bad handle.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

mod c_programs;

use c_programs::{compile, folder, root, run};

fn run_source(name: &str) {
    run(&compile(&root().join("tests/c").join(name).with_extension("c"), name));
}

#[test]
fn echo_by_callbacks_and_by_queue() {
    run_source("echo");
}

#[test]
fn http3_with_retry_resumption_and_logs() {
    run_source("http");
}

#[test]
fn lent_memory_comes_back_once_and_revoked_memory_is_left_alone() {
    run_source("buffers");
}

#[test]
fn a_late_read_of_hardened_memory_faults() {
    run_source("hardened");
}

#[test]
fn a_core_driven_by_its_caller_is_deterministic() {
    run_source("core");
}

#[test]
fn numbers_that_mean_nothing_are_statuses() {
    run_source("numbers");
}

#[test]
fn nobody_waits_for_an_application_that_stopped_in_a_callback() {
    run_source("stalled");
}

#[test]
fn queue_wake_mute_fork_and_ends() {
    run_source("endings");
}

/// A client in under 60 lines and a server in under 100, errors told, are what the API must allow.
#[test]
fn small_programs_stay_small() {
    use std::io::{BufRead, BufReader};
    for (name, most) in [("small_client", 60), ("small_server", 100)] {
        let text =
            std::fs::read_to_string(root().join("tests/c").join(name).with_extension("c")).expect("it is readable");
        let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with("/*")).count();
        assert!(lines < most, "{name} has {lines} lines");
    }
    let server = compile(&root().join("tests/c/small_server.c"), "small_server");
    let client = compile(&root().join("tests/c/small_client.c"), "small_client");
    let mut serving = Command::new(server)
        .args([folder().join("cert.pem"), folder().join("key.pem")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server runs");
    let mut port = String::new();
    BufReader::new(serving.stdout.take().expect("it is piped")).read_line(&mut port).expect("it prints its port");
    let got = Command::new(client)
        .args(["localhost", port.trim()])
        .arg(folder().join("cert.pem"))
        .output()
        .expect("the client runs");
    drop(serving.stdin.take());
    assert!(serving.wait().expect("the server ends").success());
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    assert_eq!(String::from_utf8_lossy(&got.stdout), "hello from a small server\n");
}

// --------------------------------------------------------------------------------------------- misuse

struct Function {
    name: String,
    /// Types, without names.
    parameters: Vec<String>,
}

const HANDLES: &[&str] = &[
    "wb_handle",
    "wb_runtime",
    "wb_config",
    "wb_tls",
    "wb_endpoint",
    "wb_conn",
    "wb_path",
    "wb_stream",
    "wb_buf",
    "wb_queue",
    "wb_decision",
];

/// The functions of the header that take a handle.
fn functions() -> Vec<Function> {
    let text = std::fs::read_to_string(root().join("include/whimbrel.h")).expect("the header is readable");
    let code: String =
        text.lines().filter(|l| !l.starts_with("//") && !l.starts_with('#')).collect::<Vec<_>>().join(" ");
    let mut out = Vec::new();
    for statement in code.split(';') {
        let Some((head, tail)) = statement.split_once('(') else { continue };
        let mut words = head.split_whitespace().rev();
        let (Some(name), Some("wb_status")) = (words.next(), words.next()) else { continue };
        if !name.starts_with("wb_") {
            continue;
        }
        let list = tail.trim_end().trim_end_matches(')');
        let parameters: Vec<String> = list
            .split(',')
            .map(|p| {
                let p = p.trim();
                let cut = p.rfind([' ', '*']).map_or(0, |i| i + 1);
                p[..cut].trim().to_owned()
            })
            .collect();
        if parameters.iter().any(|p| HANDLES.contains(&p.as_str())) {
            out.push(Function { name: name.to_owned(), parameters });
        }
    }
    out
}

/// An argument that is fine in itself.
fn good(kind: &str) -> String {
    match kind {
        "uint32_t" | "uint16_t" | "uint8_t" | "size_t" | "uint64_t" | "int64_t" | "ptrdiff_t" => "1".to_owned(),
        k if k.ends_with("_fn") => "NULL".to_owned(),
        k if k.ends_with('*') => "(void *)room".to_owned(),
        other => panic!("the header has a parameter type that this test does not know: {other}"),
    }
}

fn call(function: &Function, handle: impl Fn(usize, &str) -> String) -> String {
    let arguments: Vec<String> = function
        .parameters
        .iter()
        .enumerate()
        .map(|(i, p)| if HANDLES.contains(&p.as_str()) { handle(i, p) } else { good(p) })
        .collect();
    format!("{}({})", function.name, arguments.join(", "))
}

/// Writes a program that calls everything with every kind of bad handle as its first handle, then as all of them.
fn misuse_program() -> (String, usize) {
    let mut body = String::new();
    let mut children = String::new();
    let mut calls = 0;
    for f in functions() {
        let first = f.parameters.iter().position(|p| HANDLES.contains(&p.as_str())).expect("it has a handle");
        let kind = f.parameters[first].clone();
        // 0 is "defaults" for a configuration, "none" for a queue to attach and a TLS object to listen with.
        let zero_means_none = kind == "wb_config" && !f.name.starts_with("wb_config_")
            || f.name == "wb_queue_attach"
            || f.name == "wb_endpoint_listen" && first > 0;
        let any_kind = kind == "wb_handle";
        let cases: BTreeMap<&str, (&str, &str)> = BTreeMap::from([
            ("zero", ("0", "WB_E_HANDLE")),
            ("stale", ("STALE", "WB_E_STALE")),
            ("wrong kind", ("WRONG", "WB_E_KIND")),
            ("made up", ("FORGED", "WB_E_HANDLE")),
            ("random", ("0xdeadbeefcafef00du", "WB_E_HANDLE")),
            ("all ones", ("UINT64_MAX", "WB_E_HANDLE")),
        ]);
        for (what, (value, wanted)) in cases {
            if what == "zero" && zero_means_none || what == "wrong kind" && any_kind {
                continue;
            }
            let value = match value {
                "STALE" => format!("stale[{}]", if any_kind { "WB_KIND_BUF".to_owned() } else { kind_constant(&kind) }),
                "WRONG" => format!("live[{}]", if kind == "wb_buf" { "WB_KIND_CONFIG" } else { "WB_KIND_BUF" }),
                "FORGED" => format!(
                    "(live[{}] ^ 0x5a5a)",
                    if any_kind || eventful(&kind) { "WB_KIND_BUF".to_owned() } else { kind_constant(&kind) }
                ),
                v => v.to_owned(),
            };
            let wanted = if value.contains("WB_KIND_BUF] ^") && !any_kind && kind != "wb_buf" { "ANY" } else { wanted };
            let text = call(&f, |i, k| if i == first { value.clone() } else { format!("live[{}]", kind_constant(k)) });
            let _ = writeln!(body, "    EXPECT({text}, {wanted}, \"{}: {what}\");", f.name);
            let text = call(&f, |_, _| value.clone());
            let _ = writeln!(body, "    EXPECT({text}, ANY, \"{}: all {what}\");", f.name);
            calls += 2;
        }
        let text = call(&f, |_, k| {
            format!("live[{}]", if k == "wb_handle" { "WB_KIND_BUF".to_owned() } else { kind_constant(k) })
        });
        if !eventful(&kind) {
            let _ = writeln!(children, "    EXPECT({text}, WB_E_FORKED, \"{}: forked\");", f.name);
            calls += 1;
        }
        // Null pointers for everything with live handles: a status, never a crash.
        let nulls = text.replace("(void *)room", "NULL");
        if !matches!(f.name.as_str(), "wb_handle_release" | "wb_handle_release_many") {
            let _ = writeln!(body, "    SURVIVE({nulls});");
            calls += 1;
        }
    }
    let template = std::fs::read_to_string(root().join("tests/c/misuse.c.in")).expect("the template is readable");
    (template.replace("/*CALLS*/", &body).replace("/*FORKED*/", &children), calls)
}

/// Handles that come of events: the program has none that lives.
fn eventful(kind: &str) -> bool {
    matches!(kind, "wb_path" | "wb_stream" | "wb_decision")
}

fn kind_constant(kind: &str) -> String {
    match kind {
        "wb_handle" => "WB_KIND_BUF".to_owned(),
        k => format!("WB_KIND_{}", k.trim_start_matches("wb_").to_uppercase()),
    }
}

#[test]
fn every_function_survives_every_bad_handle() {
    let (text, calls) = misuse_program();
    assert!(calls > 500, "{calls} calls");
    let source = folder().join("misuse.c");
    std::fs::write(&source, text).expect("a temporary file");
    run(&compile(&source, "misuse"));
}
