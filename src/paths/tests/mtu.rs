//! RFC 8899 against a path whose limit only the test knows.
use super::*;

/// Probes until the search ends; what it found and how many probes it took.
fn search(mtu: &mut Mtu, limit: u16, now: Timestamp) -> (u16, u32) {
    let mut probes = 0;
    while let Some(size) = mtu.next_probe(now) {
        assert!(size > mtu.current() && size <= mtu.ceiling());
        mtu.on_probe_sent(size);
        assert_eq!(mtu.next_probe(now), None, "one in flight");
        probes += 1;
        if size <= limit {
            assert!(mtu.on_probe_acked(size));
        } else {
            mtu.on_probe_lost(size);
        }
        assert!(probes < 60, "the search ends");
    }
    (mtu.current(), probes)
}

/// Ten packets a second.
fn sent(pn: u64) -> Timestamp {
    START + SECOND / 10 * u32::try_from(pn).unwrap()
}

fn config(ceiling: u16) -> MtuConfig {
    MtuConfig { ceiling, ..MtuConfig::default() }
}

#[test]
fn the_ceiling_is_tried_first_and_fits_the_cipher() {
    let mut mtu = Mtu::new(&MtuConfig::default(), false);
    assert_eq!(mtu.current(), 1200);
    assert_eq!(search(&mut mtu, 1472, START), (1467, 1));
    assert_eq!((1467 - 27) % 16, 0);
    let mut v6 = Mtu::new(&MtuConfig::default(), true);
    assert_eq!(search(&mut v6, 1452, START), (1451, 1));
}

#[test]
fn every_limit_is_found_closely() {
    for limit in (1200..9000).step_by(37) {
        let mut mtu = Mtu::new(&config(8952), false);
        let (found, _) = search(&mut mtu, limit, START);
        assert!(found <= limit.max(1200));
        assert!(limit - found < 64, "{found} of {limit}");
    }
}

#[test]
fn the_search_starts_again_after_a_while() {
    let mut mtu = Mtu::new(&MtuConfig::default(), false);
    assert_eq!(search(&mut mtu, 1300, START).0, 1291);
    assert!(!mtu.wants_probe(START + SECOND));
    assert_eq!(mtu.next_probe(START + SECOND), None);
    let later = START + Duration::from_secs(601);
    assert!(mtu.wants_probe(later));
    assert_eq!(search(&mut mtu, 1472, later).0, 1467);
    assert!(!mtu.wants_probe(later + Duration::from_secs(6000)), "at the ceiling");
}

#[test]
fn one_lost_probe_proves_nothing() {
    let mut mtu = Mtu::new(&MtuConfig::default(), false);
    for _ in 0..2 {
        let size = mtu.next_probe(START).unwrap();
        assert_eq!(size, 1467);
        mtu.on_probe_sent(size);
        mtu.on_probe_lost(size);
    }
    assert_eq!(mtu.next_probe(START), Some(1467));
    mtu.on_probe_sent(1467);
    assert!(mtu.on_probe_acked(1467));
    assert!(!mtu.on_probe_acked(60000), "not one of ours");
}

#[test]
fn a_black_hole_brings_it_down() {
    let mut mtu = Mtu::new(&MtuConfig::default(), false);
    search(&mut mtu, 1472, START);
    mtu.on_packet_acked(10, 1467);
    // Loss with big packets getting through is congestion.
    for pn in 11..100 {
        assert!(!mtu.on_packet_lost(pn, 1467, sent(pn), SECOND / 2, START));
        if pn % 3 == 0 {
            mtu.on_packet_acked(pn + 1, 1467);
        }
    }
    // Small packets say nothing about big ones.
    for pn in 100..120 {
        assert!(!mtu.on_packet_lost(pn, 1200, sent(pn), SECOND / 2, START));
        mtu.on_packet_acked(pn, 1200);
    }
    // A burst older than a delivered big packet neither.
    mtu.on_packet_acked(200, 1467);
    for pn in 120..200 {
        assert!(!mtu.on_packet_lost(pn, 1467, sent(pn), SECOND / 2, START));
    }
    let fell: Vec<bool> = (201..207).map(|pn| mtu.on_packet_lost(pn, 1467, sent(pn), SECOND / 2, START)).collect();
    assert_eq!(fell, [false, false, false, false, false, true]);
    assert_eq!(mtu.current(), 1200);
    assert!(!mtu.wants_probe(START + SECOND));
    let later = START + Duration::from_secs(61);
    assert_eq!(search(&mut mtu, 1400, later).0, 1387);
}

#[test]
fn the_peers_limit_binds() {
    let mut mtu = Mtu::new(&MtuConfig::default(), false);
    mtu.set_peer_limit(1350);
    assert_eq!(search(&mut mtu, 1472, START).0, 1339);
    let mut mtu = Mtu::new(&MtuConfig::default(), false);
    mtu.set_peer_limit(1200);
    assert_eq!(search(&mut mtu, 1472, START), (1200, 0));
    let mut mtu = Mtu::new(&MtuConfig { initial: 1400, ..MtuConfig::default() }, false);
    mtu.set_peer_limit(1250);
    assert_eq!(mtu.current(), 1250);
    let mut mtu = Mtu::new(&MtuConfig::default(), false);
    mtu.set_peer_limit(65527);
    assert_eq!(search(&mut mtu, 1472, START).0, 1467);
}

#[test]
fn no_ceiling_no_search() {
    let mut mtu = Mtu::new(&config(1200), false);
    assert!(!mtu.wants_probe(START));
    assert_eq!(mtu.next_probe(START), None);
    for pn in 0..100 {
        assert!(!mtu.on_packet_lost(pn, 1200, sent(pn), SECOND / 2, START));
    }
}

/// A queue that is full loses a whole flight; what is sent later arrives, or has to be lost as well.
#[test]
fn an_overflow_is_no_black_hole() {
    let mut mtu = Mtu::new(&MtuConfig::default(), false);
    search(&mut mtu, 1472, START);
    mtu.on_packet_acked(10, 1467);
    let burst = |mtu: &mut Mtu, numbers: core::ops::Range<u64>, sent_at| {
        numbers.fold(false, |fell, pn| fell | mtu.on_packet_lost(pn, 1467, sent_at, SECOND, START))
    };
    assert!(!burst(&mut mtu, 11..500, START), "one flight, and a small packet's acknowledgement told of its loss");
    mtu.on_packet_acked(5, 1467);
    mtu.on_packet_acked(500, 1467);
    assert!(!burst(&mut mtu, 501..900, START + SECOND * 2), "a full-size packet got through in between");
    assert_eq!(mtu.current(), 1467);
    // Late news of an older packet is no sign of life.
    mtu.on_packet_acked(499, 1467);
    assert!(burst(&mut mtu, 900..902, START + SECOND * 3), "nothing for longer than a probe timeout");
    assert_eq!(mtu.current(), 1200);
}

#[test]
fn recovery_learns_the_size() {
    let mut w = world(Side::Server, tuple("198.51.100.7:1"));
    let path = w.paths.active_mut();
    let size = path.mtu.next_probe(START).unwrap();
    path.mtu.on_probe_sent(size);
    path.on_packet_acked(5, size, true);
    assert_eq!(path.mtu(), 1467);
    let fell = (6..30).fold(false, |fell, pn| fell | path.on_packet_lost(pn, 1467, false, sent(pn), START));
    assert!(fell);
    assert_eq!(path.mtu(), 1200);
}
