//! `docs/requirements.md`: a line per binding sentence. No line numbers, so that it goes stale only with its subject.
use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::Trace;
use crate::citations::Kind;
use crate::spec::DOCUMENTS;

const HEAD: &str = "\
# Requirements

Each MUST and MUST NOT of the QUIC specifications: where the code meets it, and the tests that show it; or why it is an
exception. Made from citations in the sources by `tests/requirements` (`requirements/README.md` says how to write them);
renewed with `WB_BLESS=1 cargo test --test requirements`.

";

/// A sentence short enough for a table, with its key word.
fn shortened(text: &str) -> String {
    const ROOM: usize = 110;
    let text = text.replace('|', "\\|");
    if text.len() <= ROOM {
        return text;
    }
    let key = ["MUST", "SHALL", "REQUIRED"].iter().filter_map(|w| text.find(w)).min().unwrap_or(0);
    let from = if key + 40 < ROOM { 0 } else { key.saturating_sub(40) };
    let mut out = String::new();
    for word in text.get(from..).unwrap_or(&text).split(' ').skip(usize::from(from > 0)) {
        if out.len() + word.len() > ROOM {
            break;
        }
        let _ = write!(out, "{}{word}", if out.is_empty() { "" } else { " " });
    }
    format!("{}{out} ...", if from > 0 { "... " } else { "" })
}

fn places(trace: &Trace, sentence: usize, kind: Kind) -> String {
    let places: BTreeSet<String> = trace.cited(sentence, kind).map(|c| format!("{} `{}`", c.file, c.item)).collect();
    places.into_iter().collect::<Vec<_>>().join("<br>")
}

pub fn write(trace: &Trace) -> String {
    let mut totals = String::from("| document | sentences | met | exceptions | missing |\n|---|---|---|---|---|\n");
    let mut body = String::new();
    let mut sum = [0usize; 4];
    for (document, title) in DOCUMENTS {
        let mut count = [0usize; 4];
        let mut section = String::new();
        let _ = write!(body, "\n## {title}\n");
        for (n, sentence) in trace.spec.sentences.iter().enumerate() {
            if !sentence.binding || !sentence.id.starts_with(&format!("{document}#")) {
                continue;
            }
            if sentence.section != section {
                section.clone_from(&sentence.section);
                let _ =
                    write!(body, "\n### Section {section}\n\n| id | sentence | code | tests |\n|---|---|---|---|\n");
            }
            let exception = trace.cited(n, Kind::Exception).next();
            let (code, tests) = match (exception, trace.lacks(n)) {
                (Some(exception), _) => (format!("exception: {}", exception.reason), String::new()),
                (None, None) => (places(trace, n, Kind::Code), places(trace, n, Kind::Test)),
                (None, Some(lacks)) => (format!("**missing: {lacks}**"), String::new()),
            };
            let which = match (exception, trace.lacks(n)) {
                (Some(_), _) => 2,
                (None, None) => 1,
                (None, Some(_)) => 3,
            };
            count[0] += 1;
            count[which] += 1;
            let number = sentence.id.split('#').next_back().unwrap_or_default();
            let _ = writeln!(body, "| {number} | {} | {code} | {tests} |", shortened(&sentence.text));
        }
        let _ = writeln!(totals, "| {title} | {} | {} | {} | {} |", count[0], count[1], count[2], count[3]);
        (0..4).for_each(|i| sum[i] += count[i]);
    }
    let _ = writeln!(totals, "| all | {} | {} | {} | {} |", sum[0], sum[1], sum[2], sum[3]);
    format!("{HEAD}{totals}{body}")
}
