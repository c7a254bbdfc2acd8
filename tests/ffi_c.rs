//! The C ABI as C sees it: programs in `tests/c` are compiled with the system's compiler against the committed header
//! and the shared library, and run. (The one that misuses every function is written by `tests/misuse`.)
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
fn a_pointer_is_in_the_events_behind_the_one_at_which_it_was_attached() {
    run_source("users");
}

#[test]
fn a_stream_begins_with_its_pointer_and_its_first_bytes() {
    run_source("begin");
}

#[test]
fn http3_with_retry_resumption_and_logs() {
    run_source("http");
}

#[test]
fn whole_messages_go_with_one_call_and_come_with_one_event() {
    run_source("messages");
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
fn logs_reach_a_function_up_to_their_end() {
    run_source("qlog");
}

#[test]
fn operators_hear_what_went_wrong_and_where() {
    run_source("lines");
}

#[test]
fn a_router_sees_what_passes_it() {
    run_source("peek");
}

#[test]
fn a_move_says_why() {
    run_source("moves");
}

#[test]
fn a_busy_server_refuses_and_recovers() {
    run_source("busy");
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
fn settings_of_a_living_connection_change() {
    run_source("live");
}

#[test]
fn counters_of_endpoints_and_runtimes() {
    run_source("counters");
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
    let ended = serving.wait().expect("the server ends");
    assert!(ended.success(), "the server: {ended}; {}", String::from_utf8_lossy(&got.stderr));
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    assert_eq!(String::from_utf8_lossy(&got.stdout), "hello from a small server\n");
}
