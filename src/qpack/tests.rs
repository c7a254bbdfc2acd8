//! QPACK against the RFCs' tables and examples, foreign encoders' outputs, and arbitrary bytes.
use super::dynamic_table::DynamicTable;
use super::huffman::{self, HuffmanError};
use super::instructions::{DecoderInstruction, EncoderInstruction};
use super::prefix_int::{self, Bad};
use super::static_table::{self, Match};
use super::*;
use proptest::prelude::*;

mod corpus;

const WIDE: SectionLimits = SectionLimits { size: 1 << 20, lines: 10_000 };

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|p| u8::from_str_radix(core::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
}

fn lines(list: &FieldList) -> Vec<(String, String)> {
    let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
    list.iter().map(|f| (text(f.name), text(f.value))).collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(n, v)| ((*n).to_string(), (*v).to_string())).collect()
}

#[test]
fn integers_of_rfc_7541_appendix_c_1() {
    let mut out = Vec::new();
    prefix_int::encode(&mut out, 0, 5, 10);
    prefix_int::encode(&mut out, 0, 5, 1337);
    prefix_int::encode(&mut out, 0, 8, 42);
    assert_eq!(out, [0x0a, 0x1f, 0x9a, 0x0a, 0x2a]);
    assert_eq!(prefix_int::decode(&[0xea], 5), Ok((10, 1)));
    assert_eq!(prefix_int::decode(&[0xff, 0x9a, 0x0a, 0x55], 5), Ok((1337, 3)));
}

#[test]
fn integers_end_at_62_bits() {
    for prefix in 1..=8 {
        let mut out = Vec::new();
        prefix_int::encode(&mut out, 0, prefix, prefix_int::MAX);
        assert_eq!(prefix_int::decode(&out, prefix), Ok((prefix_int::MAX, out.len())));
        for cut in 0..out.len() {
            assert_eq!(prefix_int::decode(&out[..cut], prefix), Err(Bad::Incomplete));
        }
    }
    // 2^62 with an 8-bit prefix, 2^64 and endless padding.
    let mut over = vec![0xff];
    let mut rest = (1u64 << 62) - 255;
    while rest >= 0x80 {
        over.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    over.push(rest as u8);
    assert_eq!(prefix_int::decode(&over, 8), Err(Bad::TooLarge));
    assert_eq!(prefix_int::decode(&[0xff; 12], 8), Err(Bad::TooLarge));
    assert_eq!(prefix_int::decode(&hex("ff 80808080808080808080 00"), 8), Err(Bad::TooLarge));
}

#[test]
fn huffman_code_is_the_one_the_rfc_prints() {
    let printed = [
        (0, 0x1ff8, 13),
        (10, 0x3fff_fffc, 30),
        (33, 0x3f8, 10),
        (48, 0x0, 5),
        (97, 0x3, 5),
        (122, 0x7b, 7),
        (126, 0x1ffd, 13),
        (127, 0x0fff_fffc, 28),
        (200, 0x3ff_ffe2, 26),
        (255, 0x3ff_ffee, 26),
        (256, 0x3fff_ffff, 30),
    ];
    for (symbol, code, len) in printed {
        assert_eq!(huffman::code(symbol), (code, len), "symbol {symbol}");
    }
}

#[test]
fn huffman_strings_of_rfc_7541_appendix_c() {
    let known = [
        ("www.example.com", "f1e3 c2e5 f23a 6ba0 ab90 f4ff"),
        ("no-cache", "a8eb 1064 9cbf"),
        ("custom-key", "25a8 49e9 5ba9 7d7f"),
        ("custom-value", "25a8 49e9 5bb8 e8b4 bf"),
        ("Mon, 21 Oct 2013 20:13:21 GMT", "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff"),
        ("https://www.example.com", "9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3"),
    ];
    for (text, coded) in known {
        let (mut out, mut back) = (Vec::new(), Vec::new());
        huffman::encode(text.as_bytes(), &mut out);
        assert_eq!(out, hex(coded));
        assert_eq!(out.len(), huffman::encoded_len(text.as_bytes()));
        huffman::decode(&out, &mut back, text.len()).unwrap();
        assert_eq!(back, text.as_bytes());
    }
}

#[test]
fn huffman_refuses_eos_and_bad_padding() {
    let decode = |bytes: &[u8]| huffman::decode(bytes, &mut Vec::new(), 1000);
    // EOS in full, with symbols around it.
    assert_eq!(decode(&hex("ffffffff")), Err(HuffmanError::Invalid));
    assert_eq!(decode(&hex("1fffffffff")), Err(HuffmanError::Invalid));
    // '0' is 00000: padding of three bits, all ones or not.
    assert_eq!(decode(&[0b0000_0111]), Ok(()));
    assert_eq!(decode(&[0b0000_0110]), Err(HuffmanError::Invalid));
    assert_eq!(decode(&[0b0000_0000]), Err(HuffmanError::Invalid));
    // Eight and more bits of padding.
    assert_eq!(decode(&[0xff]), Err(HuffmanError::Invalid));
    assert_eq!(decode(&[0b0000_0111, 0xff]), Err(HuffmanError::Invalid));
    // A long code cut off.
    assert_eq!(decode(&[0xff, 0xc0]), Err(HuffmanError::Invalid));
    assert_eq!(decode(&[]), Ok(()));
    // The room is kept to the byte.
    let mut coded = Vec::new();
    huffman::encode(b"aaaaaaaa", &mut coded);
    assert_eq!(huffman::decode(&coded, &mut Vec::new(), 7), Err(HuffmanError::TooLarge));
    assert_eq!(huffman::decode(&coded, &mut Vec::new(), 8), Ok(()));
}

#[test]
fn every_byte_survives_huffman() {
    let all: Vec<u8> = (0..=255).collect();
    let (mut coded, mut back) = (Vec::new(), Vec::new());
    huffman::encode(&all, &mut coded);
    huffman::decode(&coded, &mut back, 256).unwrap();
    assert_eq!(back, all);
}

#[test]
fn static_table_finds_each_of_its_entries() {
    assert_eq!(static_table::get(98), Some((b"x-frame-options".as_slice(), b"sameorigin".as_slice())));
    assert_eq!(static_table::get(99), None);
    for (i, (name, value)) in static_table::ENTRIES.iter().enumerate() {
        assert_eq!(static_table::find(name, value), Some(Match::Full(i as u8)));
        let Some(Match::Name(first)) = static_table::find(name, b"no such value") else { panic!("{i}") };
        assert_eq!(static_table::ENTRIES[usize::from(first)].0, *name);
    }
    for other in [b"".as_slice(), b"x", b"x-unknown", b":statu", b"content-typf"] {
        assert_eq!(static_table::find(other, b""), None);
    }
}

#[test]
fn table_evicts_oldest_first_and_keeps_its_size() {
    let mut t = DynamicTable::new();
    assert!(t.insert(b"a", b"b").is_err());
    t.set_capacity(100);
    assert_eq!(t.insert(b"one", b"1"), Ok(0));
    assert_eq!(t.insert(b"two", b"2"), Ok(1));
    assert_eq!((t.size(), t.oldest(), t.evictions_for(3, 1)), (72, 0, Some(1)));
    assert_eq!(t.insert(b"three", b"3"), Ok(2));
    assert_eq!((t.size(), t.oldest()), (74, 1));
    assert_eq!(t.get(0), None);
    assert_eq!(t.get(2), Some((b"three".as_slice(), b"3".as_slice())));
    assert_eq!(t.get(3), None);
    assert!(t.insert(&[b'n'; 40], &[b'v'; 29]).is_err());
    assert_eq!(t.evictions_for(40, 29), None);
    assert!(t.insert(&[b'n'; 40], &[b'v'; 28]).is_ok());
    assert_eq!((t.size(), t.oldest()), (100, 3));
    t.set_capacity(0);
    assert_eq!((t.size(), t.insert_count(), t.oldest()), (0, 4, 4));
}

/// RFC 9204 appendix B: the decoder's side of the whole example.
#[test]
fn rfc_9204_appendix_b() {
    let mut d = Decoder::new(220, 100);
    let mut list = FieldList::new();
    // B.1 literal field line with name reference.
    let b1 = hex("0000 510b 2f69 6e64 6578 2e68 746d 6c");
    assert_eq!(d.decode(0, &b1, WIDE, &mut list), Ok(Decoded::Complete));
    assert_eq!(lines(&list), pairs(&[(":path", "/index.html")]));
    assert!(d.output().is_empty());
    // B.2 dynamic table; the section comes before its insertions and is blocked.
    let b2 = hex("0381 1011");
    assert_eq!(d.decode(4, &b2, WIDE, &mut list), Ok(Decoded::Blocked));
    assert_eq!((d.blocked_streams(), d.next_unblocked()), (1, None));
    d.on_encoder_stream(&hex("3fbd01 c00f 7777 772e 6578 616d 706c 652e 636f 6d c10c 2f73 616d 706c 652f 7061 7468"))
        .unwrap();
    assert_eq!(d.next_unblocked(), Some(4));
    assert_eq!(d.blocked_streams(), 0);
    assert_eq!(d.decode(4, &b2, WIDE, &mut list), Ok(Decoded::Complete));
    assert_eq!(lines(&list), pairs(&[(":authority", "www.example.com"), (":path", "/sample/path")]));
    assert_eq!(*d.output(), [0x84]);
    d.output().clear();
    // B.3 speculative insert.
    d.on_encoder_stream(&hex("4a63 7573 746f 6d2d 6b65 790c 6375 7374 6f6d 2d76 616c 7565")).unwrap();
    assert_eq!(*d.output(), [0x01]);
    d.output().clear();
    // B.4 duplicate, and a stream that is cancelled.
    d.on_encoder_stream(&[0x02]).unwrap();
    let b4 = hex("0500 80c1 81");
    assert_eq!(d.decode(8, &b4, WIDE, &mut list), Ok(Decoded::Complete));
    let sent = [(":authority", "www.example.com"), (":path", "/"), ("custom-key", "custom-value")];
    assert_eq!(lines(&list), pairs(&sent));
    d.output().clear();
    d.cancel(8);
    assert_eq!(*d.output(), [0x48]);
    d.output().clear();
    // B.5 insertion with eviction.
    d.on_encoder_stream(&hex("810d 6375 7374 6f6d 2d76 616c 7565 32")).unwrap();
    assert_eq!(d.insert_count(), 5);
    assert_eq!(*d.output(), [0x01]);
}

#[test]
fn section_errors() {
    let bad = |max_capacity: usize, section: &str| {
        let mut d = Decoder::new(max_capacity, 100);
        d.decode(0, &hex(section), WIDE, &mut FieldList::new())
    };
    let cases = [
        "",             // no prefix
        "00",           // no base
        "ff",           // required insert count cut off
        "0081",         // base below zero
        "0000 80",      // dynamic reference with required insert count 0
        "0000 10",      // the same, post-base
        "0000 40 00",   // the same, as a name
        "0000 00 00",   // the same, post-base name
        "0000 ff24",    // static index 99
        "0000 5f54 00", // static name index 99
        "0000 27",      // name cut off
        "0000 51ff",    // value length cut off
        "0000 5105 61", // value cut off
        "0000 5181 ff", // Huffman padding of 8 bits
        "0000 ffffffffffffffffffffffff",
        "0000 51ffffffffffffffffffffff",
        "ffffffffffffffffffffffff 00",
        "00ffffffffffffffffffffff",
    ];
    for case in cases {
        for capacity in [0, 4096] {
            assert!(matches!(bad(capacity, case), Err(QpackError::Decompression(_))), "{case} with {capacity}");
        }
    }
    // Valid without any line.
    assert_eq!(bad(0, "0000"), Ok(Decoded::Complete));
    // With capacity 0 no required insert count is possible.
    assert!(matches!(bad(0, "0100"), Err(QpackError::Decompression(_))));
    // 4096 / 32 = 128 entries: 256 is the last encoding, but a wait of more than 128 is impossible.
    assert!(matches!(bad(4096, "ff0200"), Err(QpackError::Decompression(_))));
    assert_eq!(bad(4096, "8100"), Ok(Decoded::Blocked));
    assert!(matches!(bad(4096, "8200"), Err(QpackError::Decompression(_))));
}

#[test]
fn encoder_stream_errors() {
    let run = |bytes: &str| Decoder::new(100, 0).on_encoder_stream(&hex(bytes));
    let cases = [
        "3f46",                     // capacity 101
        "3fe1c7afa025",             // capacity 10,000,000,000
        "00",                       // duplicate of nothing
        "01",                       // the same
        "8000",                     // dynamic name that is not there
        "c000",                     // insert with capacity 0
        "ff80ffffffff01",           // static index far out of range
        "ff2400",                   // static index 99
        "3f45 407fffff7f",          // value length above what fits
        "3f45 61ff 00",             // Huffman name of padding only, 8 bits
        "3fffffffffffffffffffffff", // integer too large
        "3f45 5fffffffff7f",        // name of gigabytes: refused from its length alone
    ];
    for case in cases {
        assert!(matches!(run(case), Err(QpackError::EncoderStream(_))), "{case}");
    }
    assert_eq!(run("3f45"), Ok(()));
    // An entry of exactly the capacity fits, one more byte does not.
    let insert = |len: usize| {
        let mut d = Decoder::new(100, 0);
        let mut bytes = hex("3f45");
        bytes.extend_from_slice(&[0x41, b'n']);
        prefix_int::encode(&mut bytes, 0, 7, len as u64);
        bytes.resize(bytes.len() + len, b'v');
        d.on_encoder_stream(&bytes)
    };
    assert_eq!(insert(67), Ok(()));
    assert!(matches!(insert(68), Err(QpackError::EncoderStream(_))));
}

#[test]
fn instructions_may_arrive_byte_by_byte() {
    let bytes = hex("3fbd01 c00f 7777 772e 6578 616d 706c 652e 636f 6d 4a63 7573 746f 6d2d 6b65 7900 01");
    let mut d = Decoder::new(220, 0);
    for b in &bytes {
        d.on_encoder_stream(&[*b]).unwrap();
    }
    assert_eq!(d.insert_count(), 3);
    let mut e = Encoder::new(true);
    e.on_decoder_stream(&[0x7f]).unwrap();
    e.on_decoder_stream(&[0x01]).unwrap();
}

#[test]
fn capacity_may_go_up_and_down() {
    let mut d = Decoder::new(4096, 0);
    for _ in 0..1000 {
        // To 4096, insert a: b twice over, to 0: everything is evicted, nothing grows.
        d.on_encoder_stream(&hex("3fe11f 4161 0162 00 20")).unwrap();
        d.output().clear();
    }
    assert_eq!(d.insert_count(), 2000);
    // A duplicate of an evicted entry.
    assert!(d.on_encoder_stream(&hex("3fe11f 00")).is_err());
}

/// A large entry referenced again and again: the list stops at its limit, whatever the input's size.
#[test]
fn expansion_is_stopped_at_the_limit() {
    let mut d = Decoder::new(4096, 0);
    let mut insert = hex("3fe11f 4161");
    prefix_int::encode(&mut insert, 0, 7, 4000);
    insert.resize(insert.len() + 4000, b'v');
    d.on_encoder_stream(&insert).unwrap();
    let mut section = hex("0200");
    section.resize(20_000, 0x80);
    let limits = SectionLimits { size: 64 * 1024, lines: 256 };
    let mut list = FieldList::new();
    assert_eq!(d.decode(0, &section, limits, &mut list), Err(QpackError::TooLarge));
    assert!(list.section_size() <= limits.size);
    // Many tiny lines.
    let mut section = hex("0000");
    section.resize(1000, 0xd1);
    assert_eq!(d.decode(0, &section, limits, &mut list), Err(QpackError::TooLarge));
    assert_eq!(list.len(), 256);
    // Literals: the size counts names, values and 32 per line, exactly.
    let one = hex("0000 2161 0162");
    let at = |size| Decoder::new(0, 0).decode(0, &one, SectionLimits { size, lines: 1 }, &mut FieldList::new());
    assert_eq!(at(34), Ok(Decoded::Complete));
    assert_eq!(at(33), Err(QpackError::TooLarge));
}

#[test]
fn blocked_streams_are_counted_against_our_limit() {
    let mut d = Decoder::new(4096, 2);
    let mut list = FieldList::new();
    let waits = hex("0200 80");
    assert_eq!(d.decode(0, &waits, WIDE, &mut list), Ok(Decoded::Blocked));
    assert_eq!(d.decode(0, &waits, WIDE, &mut list), Ok(Decoded::Blocked));
    assert_eq!(d.decode(4, &waits, WIDE, &mut list), Ok(Decoded::Blocked));
    assert!(matches!(d.decode(8, &waits, WIDE, &mut list), Err(QpackError::Decompression(_))));
    // A cancelled stream makes room.
    d.cancel(4);
    assert_eq!(*d.output(), [0x44]);
    assert_eq!(d.decode(8, &waits, WIDE, &mut list), Ok(Decoded::Blocked));
    d.on_encoder_stream(&hex("3fe11f 4161 0162")).unwrap();
    let mut woken = [d.next_unblocked(), d.next_unblocked()];
    woken.sort_unstable();
    assert_eq!(woken, [Some(0), Some(8)]);
    assert_eq!(d.next_unblocked(), None);
}

/// RFC 9204 section 4.5.1.1: the wrap-around, across several ranges.
#[test]
fn required_insert_count_wraps_around() {
    let mut d = Decoder::new(100, 0);
    d.on_encoder_stream(&hex("3f45")).unwrap();
    let mut list = FieldList::new();
    for n in 1..=50u64 {
        d.on_encoder_stream(&hex("4161 0162")).unwrap();
        // MaxEntries is 3: encoded modulo 6.
        let section = [(n % 6 + 1) as u8, 0, 0x80];
        assert_eq!(d.decode(n * 4, &section, WIDE, &mut list), Ok(Decoded::Complete), "{n}");
        assert_eq!(lines(&list), pairs(&[("a", "b")]));
    }
    // The RFC's example: after 10 inserts an encoded 4 means 9.
    let mut d = Decoder::new(100, 0);
    d.on_encoder_stream(&hex("3f45")).unwrap();
    for _ in 0..10 {
        d.on_encoder_stream(&hex("4161 0162")).unwrap();
    }
    assert_eq!(d.decode(0, &[4, 0, 0x80], WIDE, &mut list), Ok(Decoded::Complete));
}

#[test]
fn references_stay_below_the_required_insert_count() {
    let mut d = Decoder::new(4096, 0);
    d.on_encoder_stream(&hex("3fe11f 4161 0162 4163 0164")).unwrap();
    let mut list = FieldList::new();
    // Two entries are there, the section declares that it needs one: the second is out of bounds for it.
    assert_eq!(d.decode(0, &hex("0200 80"), WIDE, &mut list), Ok(Decoded::Complete));
    for bad in ["0200 10", "0201 80", "0200 81", "0200 00 00", "0200 41 00"] {
        assert!(matches!(d.decode(0, &hex(bad), WIDE, &mut list), Err(QpackError::Decompression(_))), "{bad}");
    }
    // The same through post-base indices.
    assert_eq!(d.decode(0, &hex("0381 10 11"), WIDE, &mut list), Ok(Decoded::Complete));
    assert_eq!(lines(&list), pairs(&[("a", "b"), ("c", "d")]));
    assert_eq!(d.decode(0, &hex("0381 08 0178"), WIDE, &mut list), Ok(Decoded::Complete));
    assert!(list.get(0).unwrap().sensitive);
    assert_eq!(lines(&list), pairs(&[("a", "x")]));
}

#[test]
fn decoder_stream_errors() {
    // Nothing was inserted and no section had references: only cancellations are possible.
    for bad in ["00", "01", "80", "bf", "ff00"] {
        assert!(matches!(Encoder::new(true).on_decoder_stream(&hex(bad)), Err(QpackError::DecoderStream(_))), "{bad}");
    }
    assert_eq!(Encoder::new(true).on_decoder_stream(&hex("40 41 7f00")), Ok(()));
    assert!(Encoder::new(true).on_decoder_stream(&hex("7fffffffffffffffffffff")).is_err());
}

#[test]
fn sensitive_fields_stay_literals() {
    let mut out = Vec::new();
    let fields = [Field::sensitive(b"cookie", b""), Field::sensitive(b"x-secret", b"1"), Field::new(b"cookie", b"")];
    Encoder::new(false).encode(&fields, &mut out);
    assert_eq!(out, hex("0000 7500 37 01 782d736563726574 0131 c5"));
    let mut list = FieldList::new();
    Decoder::new(0, 0).decode(0, &out, WIDE, &mut list).unwrap();
    assert!(list.iter().eq(fields.iter().copied()));
}

#[test]
fn lists_keep_their_memory() {
    let mut d = Decoder::new(0, 0);
    let (mut list, mut out) = (FieldList::new(), Vec::new());
    Encoder::new(true).encode(&[Field::new(b":path", b"/a/long/path/of/some/kind"), Field::new(b"x", b"y")], &mut out);
    d.decode(0, &out, WIDE, &mut list).unwrap();
    let held = list.capacity();
    for _ in 0..100 {
        d.decode(0, &out, WIDE, &mut list).unwrap();
    }
    assert_eq!((list.len(), list.capacity()), (2, held));
}

fn field_bytes() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>, bool)>> {
    let name = prop_oneof![
        any::<Vec<u8>>(),
        proptest::sample::select(static_table::ENTRIES.to_vec()).prop_map(|(n, _)| n.to_vec()),
    ];
    let value = prop_oneof![
        any::<Vec<u8>>(),
        proptest::sample::select(static_table::ENTRIES.to_vec()).prop_map(|(_, v)| v.to_vec()),
    ];
    proptest::collection::vec((name, value, any::<bool>()), 0..20)
}

proptest! {
    #[test]
    fn integers_round_trip(v in 0..=prefix_int::MAX, prefix in 1u32..=8, tail in any::<Vec<u8>>()) {
        let mut out = Vec::new();
        prefix_int::encode(&mut out, 0, prefix, v);
        let len = out.len();
        out.extend(tail);
        prop_assert_eq!(prefix_int::decode(&out, prefix), Ok((v, len)));
    }

    #[test]
    fn huffman_round_trips(text in any::<Vec<u8>>()) {
        let (mut coded, mut back) = (Vec::new(), Vec::new());
        huffman::encode(&text, &mut coded);
        prop_assert_eq!(coded.len(), huffman::encoded_len(&text));
        prop_assert_eq!(huffman::decode(&coded, &mut back, text.len()), Ok(()));
        prop_assert_eq!(back, text);
    }

    /// Whatever decodes must encode to the same bytes: the code is prefix-free and padding is fixed.
    #[test]
    fn huffman_decoding_is_exact(coded in any::<Vec<u8>>(), room in 0usize..300) {
        let mut text = Vec::new();
        if huffman::decode(&coded, &mut text, room).is_ok() {
            let mut again = Vec::new();
            huffman::encode(&text, &mut again);
            prop_assert_eq!(again, coded);
        }
        prop_assert!(text.len() <= room);
    }

    #[test]
    fn sections_round_trip(fields in field_bytes(), huffman in any::<bool>()) {
        let view: Vec<Field<'_>> =
            fields.iter().map(|(n, v, s)| Field { name: n, value: v, sensitive: *s }).collect();
        let mut out = Vec::new();
        Encoder::new(huffman).encode(&view, &mut out);
        let mut list = FieldList::new();
        prop_assert_eq!(Decoder::new(0, 0).decode(0, &out, WIDE, &mut list), Ok(Decoded::Complete));
        // A sensitive line that is in the static table in full is still a literal, so the flag survives.
        prop_assert!(list.iter().eq(view.iter().copied()));
        for cut in 0..out.len() {
            let _ = Decoder::new(0, 0).decode(0, &out[..cut], WIDE, &mut list);
        }
    }

    #[test]
    fn arbitrary_sections_never_panic(
        encoder in any::<Vec<u8>>(),
        section in any::<Vec<u8>>(),
        capacity in 0usize..5000,
        size in 0usize..5000,
    ) {
        let mut d = Decoder::new(capacity, 2);
        let mut list = FieldList::new();
        // Fill the table first, so that references have something to hit.
        if capacity >= 100 {
            let mut open = Vec::new();
            prefix_int::encode(&mut open, 0x20, 5, capacity as u64);
            open.extend(hex("4161 0162 4163 0164"));
            d.on_encoder_stream(&open).unwrap();
        }
        let _ = d.on_encoder_stream(&encoder);
        let limits = SectionLimits { size, lines: 50 };
        for prefix in [[0u8, 0], [3, 0], [2, 1], [3, 0x81]] {
            let mut bytes = prefix.to_vec();
            bytes.extend(&section);
            let _ = d.decode(4, &bytes, limits, &mut list);
            prop_assert!(list.section_size() <= size.max(32) && list.len() <= 50);
        }
        let _ = Encoder::new(true).on_decoder_stream(&encoder);
        let _ = EncoderInstruction::parse(&section, capacity);
        let _ = DecoderInstruction::parse(&section);
    }

    /// Cutting the encoder stream anywhere changes nothing.
    #[test]
    fn encoder_stream_may_be_cut(cuts in proptest::collection::vec(1usize..9, 1..40)) {
        let bytes = hex("3fe11f c00f7777772e6578616d706c652e636f6d 4161 0162 8001 63 01 6188 25a849e95ba97d7f 0164 81 0165");
        let mut whole = Decoder::new(4096, 0);
        whole.on_encoder_stream(&bytes).unwrap();
        let mut parts = Decoder::new(4096, 0);
        let mut rest = bytes.as_slice();
        for c in cuts {
            let (head, tail) = rest.split_at(c.min(rest.len()));
            parts.on_encoder_stream(head).unwrap();
            rest = tail;
        }
        parts.on_encoder_stream(rest).unwrap();
        prop_assert_eq!(parts.insert_count(), whole.insert_count());
        prop_assert_eq!(parts.output().clone(), whole.output().clone());
    }
}
