//! Outputs of foreign encoders (github.com/qpackers/qifs) decode to the lists they were made from.
//!
//! A small part of that collection is in `tests/data/qifs` and always runs; the larger one is used where the
//! tree of specifications stands beside the sources.
use super::{FieldList, QpackError, SectionLimits};
use crate::qpack::{Decoded, Decoder, Encoder, Field};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const LIMITS: SectionLimits = SectionLimits { size: 1 << 20, lines: 1000 };

type Line = (Vec<u8>, Vec<u8>);

fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/qifs")
}

fn shared() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found =
        ["../shared/specs/qifs", "../../shared/specs/qifs"].map(|p| root.join(p)).into_iter().find(|p| p.is_dir());
    if found.is_none() {
        println!("SKIPPED: the whole qifs collection is not beside the sources, only tests/data/qifs ran");
    }
    found
}

fn qif(path: &Path) -> Vec<Vec<Line>> {
    let text = fs::read(path).unwrap();
    let mut lists = vec![Vec::new()];
    for line in text.split(|b| *b == b'\n') {
        if line.first() == Some(&b'#') {
            continue;
        }
        if line.is_empty() {
            lists.push(Vec::new());
            continue;
        }
        let tab = line.iter().position(|b| *b == b'\t').unwrap_or(line.len());
        let value = line.get(tab + 1..).unwrap_or(&[]);
        lists.last_mut().unwrap().push((line[..tab].to_vec(), value.to_vec()));
    }
    lists.retain(|l| !l.is_empty());
    lists
}

fn records(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut all) = (0, Vec::new());
    while at < bytes.len() {
        let id = u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        let len = u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        all.push((id, bytes[at + 12..at + 12 + len].to_vec()));
        at += 12 + len;
    }
    all
}

/// Decodes a file as a connection would: sections in order, blocked ones when their insertions come.
fn decode(path: &Path, capacity: usize, blocked: usize) -> Result<Vec<Vec<Line>>, QpackError> {
    let mut decoder = Decoder::new(capacity, blocked);
    // The outputs assume a table that is open from the start (the interop format of its time).
    let mut open = Vec::new();
    crate::qpack::prefix_int::encode(&mut open, 0x20, 5, capacity as u64);
    decoder.on_encoder_stream(&open)?;
    let mut lists = BTreeMap::new();
    let mut waiting = BTreeMap::new();
    let mut list = FieldList::new();
    for (id, bytes) in records(path) {
        if id != 0 {
            match decoder.decode(id, &bytes, LIMITS, &mut list)? {
                Decoded::Complete => drop(lists.insert(id, copy(&list))),
                Decoded::Blocked => drop(waiting.insert(id, bytes)),
            }
            continue;
        }
        decoder.on_encoder_stream(&bytes)?;
        while let Some(id) = decoder.next_unblocked() {
            let bytes = waiting.remove(&id).unwrap();
            assert_eq!(decoder.decode(id, &bytes, LIMITS, &mut list)?, Decoded::Complete);
            lists.insert(id, copy(&list));
        }
    }
    assert!(waiting.is_empty(), "sections still blocked at the end");
    Ok(lists.into_values().collect())
}

fn copy(list: &FieldList) -> Vec<Line> {
    list.iter().map(|f| (f.name.to_vec(), f.value.to_vec())).collect()
}

fn decode_all(root: &Path) -> usize {
    let mut files = 0;
    for encoder in fs::read_dir(root.join("encoded")).unwrap() {
        for file in fs::read_dir(encoder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            let parts: Vec<&str> = name.split('.').collect();
            let [source, "out", capacity, blocked, _] = parts.as_slice() else { panic!("{name}") };
            let expected = qif(&root.join("qifs").join(format!("{source}.qif")));
            let lists = decode(&path, capacity.parse().unwrap(), blocked.parse().unwrap());
            assert!(lists.unwrap() == expected, "{}", path.display());
            files += 1;
        }
    }
    files
}

#[test]
fn foreign_outputs_decode_to_their_lists() {
    assert!(decode_all(&own()) >= 20);
    if let Some(all) = shared() {
        assert!(decode_all(&all) >= 70);
    }
}

#[test]
fn own_output_decodes_to_the_lists() {
    let sources = [Some(own()), shared()];
    for path in sources.iter().flatten().flat_map(|root| fs::read_dir(root.join("qifs")).unwrap()) {
        let lists = qif(&path.unwrap().path());
        for huffman in [false, true] {
            let (mut encoder, mut decoder) = (Encoder::new(huffman), Decoder::new(0, 0));
            let (mut out, mut list) = (Vec::new(), FieldList::new());
            for lines in &lists {
                let fields: Vec<Field<'_>> = lines.iter().map(|(n, v)| Field::new(n, v)).collect();
                out.clear();
                encoder.encode(&fields, &mut out);
                assert_eq!(decoder.decode(0, &out, LIMITS, &mut list), Ok(Decoded::Complete));
                assert_eq!(&copy(&list), lines);
            }
        }
    }
}

/// The collection's inputs that must fail; two of them are valid since the static table was settled.
#[test]
fn error_files() {
    for n in 1..=12 {
        for capacity in [0, 4096] {
            let outcome = decode(&own().join(format!("errors/err{n}")), capacity, 100);
            match n {
                1..=8 => assert!(matches!(outcome, Err(QpackError::Decompression(_))), "err{n}"),
                11 | 12 => assert!(matches!(outcome, Err(QpackError::EncoderStream(_))), "err{n}"),
                _ => assert_eq!(outcome.unwrap().len(), 1, "err{n}"),
            }
        }
    }
}

/// RFC 9204 appendix B as one file.
#[test]
fn rfc_example_file() {
    let lists = decode(&own().join("examples/rfc9204-appendix-b.out.220.100.1"), 220, 100).unwrap();
    assert_eq!(lists.len(), 3);
    assert_eq!(lists[0], [(b":path".to_vec(), b"/index.html".to_vec())]);
}
