//! The sentences of the specifications, from `tests/data/requirements`, and the search of a quotation in them.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Documents that bind this library, in the order of the report.
pub const DOCUMENTS: &[(&str, &str)] = &[
    ("rfc8999", "RFC 8999, version-independent properties"),
    ("rfc9000", "RFC 9000, transport"),
    ("rfc9001", "RFC 9001, TLS"),
    ("rfc9002", "RFC 9002, loss detection and congestion control"),
    ("rfc9221", "RFC 9221, datagrams"),
    ("rfc9287", "RFC 9287, greasing the QUIC bit"),
    ("rfc9368", "RFC 9368, compatible version negotiation"),
    ("rfc9369", "RFC 9369, version 2"),
];
const TARGET: &str = "https://www.rfc-editor.org/rfc/";

pub struct Sentence {
    /// `rfc9000#2.1-1`: document, section, number in the section.
    pub id: String,
    pub section: String,
    /// MUST or MUST NOT (the key words SHALL and REQUIRED count as MUST).
    pub binding: bool,
    pub text: String,
    squashed: String,
}

pub struct Spec {
    pub sentences: Vec<Sentence>,
    /// Document and section to the numbers of its sentences.
    by_section: BTreeMap<(String, String), Vec<usize>>,
}

/// Text without white space: line breaks and hyphens at their ends do not matter.
pub fn squash(text: &str) -> String {
    text.split_whitespace().collect()
}

impl Spec {
    pub fn read(folder: &Path) -> Spec {
        let mut spec = Spec { sentences: Vec::new(), by_section: BTreeMap::new() };
        for (document, _) in DOCUMENTS {
            let path = folder.join(document).with_extension("tsv");
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            spec.add(document, &text);
        }
        spec
    }

    fn add(&mut self, document: &str, table: &str) {
        for line in table.lines().filter(|l| !l.starts_with('#')) {
            let columns: Vec<&str> = line.split('\t').collect();
            let [id, section, levels, text] = columns[..] else { panic!("four columns: {line}") };
            assert!(id.starts_with(&format!("{document}#{section}-")), "id of another section: {line}");
            let key = (document.to_owned(), section.to_owned());
            self.by_section.entry(key).or_default().push(self.sentences.len());
            self.sentences.push(Sentence {
                id: id.to_owned(),
                section: section.to_owned(),
                binding: levels.contains("MUST"),
                text: text.to_owned(),
                squashed: squash(text),
            });
        }
    }

    /// The sentences that a quotation cites: a part of one that holds its key word, or whole adjacent ones.
    pub fn find(&self, target: &str, quote: &str) -> Result<Vec<usize>, String> {
        let unknown = || format!("unknown target {target}: {TARGET}rfcNNNN#section-N.N of a listed document");
        let (document, section) = target
            .strip_prefix(TARGET)
            .and_then(|rest| rest.split_once("#section-").or_else(|| rest.split_once("#appendix-")))
            .ok_or_else(unknown)?;
        if !DOCUMENTS.iter().any(|(name, _)| *name == document) {
            return Err(unknown());
        }
        let none = Vec::new();
        let section = self.by_section.get(&(document.to_owned(), section.to_owned())).unwrap_or(&none);
        let mut rest = squash(quote);
        let mut found = Vec::new();
        while !rest.is_empty() {
            let text = |i: &usize| self.sentences[*i].squashed.as_str();
            let whole: Vec<usize> = section.iter().copied().filter(|i| text(i) == rest).collect();
            let within: Vec<usize> = section.iter().copied().filter(|i| text(i).contains(&rest)).collect();
            if !whole.is_empty() {
                found.extend(whole);
                break;
            } else if let [only] = within[..] {
                let words: &[&str] = match self.sentences[only].binding {
                    true => &["MUST", "SHALL", "REQUIRED"],
                    false => &["SHOULD", "RECOMMENDED", "MAY", "OPTIONAL"],
                };
                if !words.iter().any(|w| rest.contains(w)) {
                    return Err(format!("the quotation leaves out the key word: {quote}"));
                }
                found.push(only);
                break;
            } else if !within.is_empty() {
                return Err(format!("several sentences of the section hold this, quote more: {quote}"));
            }
            let Some(first) = section.iter().copied().find(|i| rest.starts_with(text(i))) else {
                return Err(format!("not in a sentence with a key word of {target}: {quote}"));
            };
            rest = rest[self.sentences[first].squashed.len()..].to_owned();
            found.push(first);
        }
        match found.is_empty() {
            true => Err(format!("nothing quoted from {target}")),
            false => Ok(found),
        }
    }
}
