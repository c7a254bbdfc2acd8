//! Traceability: what the specifications demand, where the code does it, which test shows it.
//!
//! Comments in the syntax of the tool duvet quote the specifications (`docs/requirements/README.md`). This program fails
//! on a quotation that is not in the section it names, and on a MUST or MUST NOT without code, test or exception.
//! `WB_REQ=rfc9000#9,rfc9002 cargo test --test requirements -- --nocapture` lists what is missing there.
use std::path::{Path, PathBuf};

mod citations;
mod report;
mod spec;

use citations::{Citation, Kind};
use spec::Spec;

fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| ".".into()))
}

/// Per sentence, what cites it.
pub struct Trace {
    pub spec: Spec,
    pub citations: Vec<Citation>,
    pub by_sentence: Vec<Vec<usize>>,
    wrong: Vec<String>,
}

impl Trace {
    fn read(root: &Path) -> Trace {
        let mut wrong = Vec::new();
        let spec = Spec::read(&root.join("tests/data/requirements"));
        let citations = citations::read_all(root, &mut wrong);
        let mut by_sentence = vec![Vec::new(); spec.sentences.len()];
        for (n, citation) in citations.iter().enumerate() {
            match spec.find(&citation.target, &citation.quote) {
                Ok(found) => found.into_iter().for_each(|s: usize| by_sentence[s].push(n)),
                Err(why) => wrong.push(format!("{}: {why}", citation.at())),
            }
        }
        Trace { spec, citations, by_sentence, wrong }
    }

    pub fn cited(&self, sentence: usize, kind: Kind) -> impl Iterator<Item = &Citation> {
        self.by_sentence[sentence].iter().map(|c| &self.citations[*c]).filter(move |c| c.kind == kind)
    }

    /// What a binding sentence lacks, if anything.
    pub fn lacks(&self, sentence: usize) -> Option<&'static str> {
        let has = |kind| self.cited(sentence, kind).next().is_some();
        match (has(Kind::Exception), has(Kind::Code), has(Kind::Test)) {
            (true, ..) | (_, true, true) => None,
            (_, true, false) => Some("test"),
            (_, false, true) => Some("code"),
            _ => Some("code and test"),
        }
    }
}

/// Whether an identifier is in `rfc9000#9` (that section and those below it) or `rfc9000`.
fn selected(id: &str, section: &str, filter: &str) -> bool {
    filter.split(',').any(|part| match part.split_once('#') {
        Some((document, number)) => {
            id.split('#').next() == Some(document)
                && (section == number || section.strip_prefix(number).is_some_and(|r| r.starts_with('.')))
        }
        None => id.split('#').next() == Some(part),
    })
}

#[test]
fn every_citation_is_in_the_specification() {
    let trace = Trace::read(&root());
    assert!(trace.wrong.is_empty(), "{} wrong citations:\n{}", trace.wrong.len(), trace.wrong.join("\n"));
}

#[test]
fn an_exception_is_not_also_met() {
    let trace = Trace::read(&root());
    let mut wrong = Vec::new();
    for (n, sentence) in trace.spec.sentences.iter().enumerate() {
        let has = |kind| trace.cited(n, kind).next().is_some();
        if has(Kind::Exception) && has(Kind::Code) && has(Kind::Test) {
            wrong.push(format!("{} has code and test: its exception goes", sentence.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_binding_sentence_is_met() {
    let trace = Trace::read(&root());
    let filter = std::env::var("WB_REQ").ok();
    let mut unmet = 0;
    for (n, sentence) in trace.spec.sentences.iter().enumerate().filter(|(_, s)| s.binding) {
        let Some(lacks) = trace.lacks(n) else { continue };
        unmet += 1;
        if filter.as_ref().is_some_and(|f| selected(&sentence.id, &sentence.section, f)) {
            println!("{} lacks {lacks}: {}", sentence.id, sentence.text);
            for c in [Kind::Code, Kind::Test].into_iter().flat_map(|k| trace.cited(n, k)) {
                println!("    {:?} {} {}", c.kind, c.at(), c.item);
            }
        }
    }
    println!("{unmet} binding sentences are not met");
    assert_eq!(unmet, 0, "binding sentences that are not met: WB_REQ lists them");
}

#[test]
fn the_committed_report_is_fresh() {
    let trace = Trace::read(&root());
    let report = report::write(&trace);
    let path = root().join("docs/requirements.md");
    if std::env::var_os("WB_BLESS").is_some() {
        std::fs::write(&path, &report).expect("the report can be written");
    }
    let rows =
        report.lines().filter(|l| l.strip_prefix("| ").is_some_and(|l| l.starts_with(|c: char| c.is_ascii_digit())));
    assert_eq!(rows.count(), trace.spec.sentences.iter().filter(|s| s.binding).count());
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == report, "docs/requirements.md is stale: WB_BLESS=1 cargo test --test requirements");
}

#[test]
fn the_reader_sees_wrong_citations() {
    let spec = Spec::read(&root().join("tests/data/requirements"));
    let url = "https://www.rfc-editor.org/rfc/rfc9000#section-2.1";
    let id = |n: &usize| spec.sentences[*n].id.clone();
    let found = |quote| spec.find(url, quote).map(|f| f.iter().map(id).collect::<Vec<_>>());
    assert_eq!(found("endpoint MUST NOT reuse a  stream ID"), Ok(vec!["rfc9000#2.1-1".to_owned()]));
    assert!(found("reuse a stream ID within a connection").is_err(), "without the key word");
    assert!(found("A QUIC endpoint MUST NOT lose a stream ID").is_err(), "another text");
    assert!(spec.find("https://www.rfc-editor.org/rfc/rfc9000#section-2.3", "MUST NOT reuse").is_err());
    assert!(spec.find("https://www.rfc-editor.org/rfc/rfc1#section-1", "MUST NOT reuse").is_err());

    let lines = [
        "fn outer() {",
        "    //= https://x#section-1",
        "    //= type=test",
        "    //# one",
        "    //# two",
        "    work();",
        "}",
        "",
        "//= https://x#section-2",
        "//# three",
        "#[test]",
        "pub(crate) const fn inner() {}",
        "//= https://x#section-2",
        "//= type=wish",
        "//# four",
    ];
    let (mut out, mut wrong) = (Vec::new(), Vec::new());
    citations::comments("src/a.rs", &lines.join("\n"), ("//=", "//#"), &mut out, &mut wrong);
    let seen: Vec<_> = out.iter().map(|c| (c.kind, c.quote.as_str(), c.item.as_str())).collect();
    assert_eq!(seen[0], (Kind::Test, "one two", "outer"));
    assert_eq!(seen[1], (Kind::Code, "three", "inner"));
    assert_eq!(wrong, ["src/a.rs:14: unknown type wish"]);

    let toml = ["target = \"https://x#section-3\"", "[[exception]]", "quote = '''", "five", "'''", "reason = '''no'''"];
    let (mut out, mut wrong) = (Vec::new(), Vec::new());
    citations::exceptions("docs/a.toml", &toml.join("\n"), &mut out, &mut wrong);
    assert_eq!((out[0].quote.as_str(), out[0].reason.as_str(), wrong.len()), ("five", "no", 0));
    assert_eq!(out[0].target, "https://x#section-3");
    let toml = ["[[exception]]", "target = \"https://x#section-4\"", "quote = \"six\"", "reason = \"never\""];
    citations::exceptions("docs/b.toml", &toml.join("\n"), &mut out, &mut wrong);
    assert_eq!((out[1].target.as_str(), out[1].quote.as_str(), wrong.len()), ("https://x#section-4", "six", 0));
}
