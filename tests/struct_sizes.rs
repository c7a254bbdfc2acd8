//! A program that was built against an older release's shorter structs, or a newer one's longer structs, works with this
//! library: `tests/c/sizes.c` against headers whose structs have lost, or gained, their last fields.
use std::fmt::Write as _;

mod c_programs;

use c_programs::{compile_with, folder, root, run};

/// The detail's text, the batch's token and what was accepted are needed by any program, so they were there from the start.
const COMPLETE_FROM_THE_START: &[&str] = &["wb_error_info", "wb_batch", "wb_stream_first"];

/// The header with every sized struct changed by `change`, which gets the lines of its fields.
fn header(change: impl Fn(&str, &mut Vec<String>)) -> (String, usize) {
    let text = std::fs::read_to_string(root().join("include/whimbrel.h")).expect("the header is readable");
    let (mut out, mut body, mut inside, mut changed) = (String::new(), Vec::new(), false, 0);
    for line in text.lines() {
        if line.starts_with("typedef struct wb_") {
            inside = true;
        } else if inside && line.starts_with('}') {
            let name = line.trim_start_matches("} ").trim_end_matches(';');
            if body.first().is_some_and(|l: &String| l.contains("struct_size"))
                && !COMPLETE_FROM_THE_START.contains(&name)
            {
                change(name, &mut body);
                changed += 1;
            }
            out.extend(body.drain(..).map(|l| l + "\n"));
            inside = false;
        } else if inside {
            // Comments go: a field that is taken away would leave its own behind.
            if !line.trim_start().starts_with("//") {
                body.push(line.to_owned());
            }
            continue;
        }
        let _ = writeln!(out, "{line}");
    }
    (out, changed)
}

fn build_and_run(name: &str, older: bool, header: &str) {
    let place = folder().join(name);
    std::fs::create_dir_all(&place).expect("a temporary folder");
    std::fs::write(place.join("whimbrel.h"), header).expect("a temporary file");
    let description = std::fs::read_to_string(root().join("bindings/whimbrel.abi.json")).expect("it is readable");
    let description: serde_json::Value = serde_json::from_str(&description).expect("it is JSON");
    let mut flags =
        vec!["-std=c11".to_owned(), format!("-I{}", place.display()), format!("-DOLDER={}", i32::from(older))];
    for kind in description["structs"].as_array().expect("a list") {
        flags.push(format!("-DLIBRARY_{}={}", kind["name"].as_str().expect("a name"), kind["size"]));
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    run(&compile_with("cc", &flags, &root().join("tests/c/sizes.c"), &format!("sizes-{name}")));
}

#[test]
fn a_program_with_shorter_structs_works() {
    let (text, changed) = header(|_, fields| {
        fields.pop();
    });
    assert!(changed >= 6, "{changed} structs");
    build_and_run("older", true, &text);
}

#[test]
fn a_program_with_longer_structs_works() {
    let (text, changed) = header(|_, fields| fields.push("    uint64_t from_the_future[3];".to_owned()));
    assert!(changed >= 6, "{changed} structs");
    build_and_run("newer", false, &text);
}
