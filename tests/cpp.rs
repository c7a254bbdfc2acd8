//! `include/whimbrel.hpp` with real compilers: it stands alone under strict warnings in every dialect that it names, with
//! and without exceptions, uses every function of the C header, and its owners work.
use std::process::Command;

mod c_programs;

use c_programs::{compile_with, folder, root, run};

const DIALECTS: &[&[&str]] = &[
    &["-std=c++17"],
    &["-std=c++17", "-fno-exceptions", "-fno-rtti"],
    &["-std=c++20"],
    &["-std=c++20", "-DWHIMBREL_NO_EXCEPTIONS"],
];

fn compilers() -> impl Iterator<Item = &'static str> {
    // g++ is required; clang++ joins where it is installed (`make setup` installs it).
    let have = |name: &str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    assert!(have("g++"), "g++ is needed");
    assert!(have("clang++") || std::env::var_os("CI").is_none(), "clang++ is missing: `make setup` installs it");
    ["g++", "clang++"].into_iter().filter(move |name| have(name))
}

#[test]
fn it_compiles_alone_in_every_dialect() {
    let source = folder().join("alone.cpp");
    std::fs::write(&source, "#include \"whimbrel.hpp\"\n#include \"whimbrel.hpp\"\nint main() { return 0; }\n")
        .expect("a temporary file");
    for compiler in compilers() {
        for flags in DIALECTS {
            let flags = [*flags, &["-Wshadow", "-Wconversion"]].concat();
            compile_with(compiler, &flags, &source, &format!("alone-{compiler}"));
        }
    }
}

#[test]
fn owners_callbacks_and_results_work() {
    let source = root().join("tests/c/wrapper.cpp");
    for (i, flags) in DIALECTS.iter().take(3).enumerate() {
        run(&compile_with("g++", flags, &source, &format!("wrapper-{i}")));
    }
}

#[test]
fn early_data_are_judged_and_told() {
    let source = root().join("tests/c/early.cpp");
    for (i, flags) in [DIALECTS.first(), DIALECTS.last()].into_iter().flatten().enumerate() {
        run(&compile_with("g++", flags, &source, &format!("early-{i}")));
    }
}

/// The inline and static helpers of the C header need no wrapper.
const UNWRAPPED: &[&str] = &["wb_abi_version", "wb_handle_release_many"];

#[test]
fn every_function_of_the_header_is_wrapped() {
    let header = std::fs::read_to_string(root().join("include/whimbrel.h")).expect("the header is readable");
    let wrapper = std::fs::read_to_string(root().join("include/whimbrel.hpp")).expect("the wrapper is readable");
    let mut seen = 0;
    for line in header.lines().filter(|l| l.starts_with("wb_status wb_") || l.starts_with("const char *wb_")) {
        let name = line.split_once('(').and_then(|(head, _)| head.rsplit([' ', '*']).next()).expect("it has a name");
        seen += 1;
        assert!(
            UNWRAPPED.contains(&name) || wrapper.contains(&format!("{name}(")),
            "{name} has no method in include/whimbrel.hpp"
        );
    }
    assert!(seen >= 70, "{seen} functions");
}
