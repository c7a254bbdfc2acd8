//! Rows that failed once, shrunk to what mattered.
use super::row::Row;
use super::run::play;

/// The NAT changed after the client's last handshake packet and before the server's confirmation: the client repeated
/// Handshake packets, for which the server had no keys any more, and never 1-RTT data from its new address.
#[test]
fn an_address_that_changes_between_the_two_confirmations() {
    for seed in 0..40 {
        play(
            &Row::benign(seed)
                .with("loss_down", "50 %")
                .with("address", "in handshake")
                .with("workload", "1000 × 1 KiB"),
            true,
        );
    }
}

/// Every probe of a handshake carries what is missing, not a PING beside it, and a flight is repeated when the peer
/// repeats its own (RFC 9002 sections 6.2.3 and 6.2.4).
#[test]
fn half_of_everything_is_lost_in_both_directions() {
    for seed in 0..40 {
        play(&Row::benign(seed).with("loss_up", "50 %").with("loss_down", "50 %"), true);
    }
}

/// Behind a longer round trip than three initial PTOs no new address was ever validated: the timer of RFC 9000 section
/// 8.2.4 was taken from the new path, of which nothing is known, instead of the larger of the two.
#[test]
fn a_far_client_gets_a_new_address() {
    for seed in 0..10 {
        play(&Row::benign(seed).with("delay", "20 s").with("address", "family").with("workload", "ping-pong"), true);
    }
}

/// Handshake probes that nobody could read any more filled the window, and the data that would have shown the new
/// address waited for it.
#[test]
fn data_goes_out_with_handshake_probes_although_the_window_is_full() {
    play(
        &Row::benign(169)
            .with("loss_up", "30 %")
            .with("loss_down", "30 %")
            .with("delay", "300±200 ms")
            .with("bandwidth", "1 Mbit/s, 1000")
            .with("address", "NAT")
            .with("outage", "10 s")
            .with("workload", "resets")
            .with("keys", "0-RTT"),
        true,
    );
}

/// The same for a client that has nothing to send and waits for an answer: what it repeated was NEW_CONNECTION_ID alone,
/// a probing frame, so the server did not follow it (RFC 9000 section 9.1). A PING rides along.
#[test]
fn an_idle_client_shows_its_new_address() {
    play(
        &Row::benign(492)
            .with("loss_up", "10 %")
            .with("loss_down", "1 %")
            .with("reorder", "5 %")
            .with("duplicate", "50 %")
            .with("corrupt", "1 %")
            .with("delay", "300±200 ms")
            .with("bandwidth", "1 Gbit/s, 1000")
            .with("address", "in handshake")
            .with("outage", "1 s")
            .with("ecn", "bleached")
            .with("peer", "greased")
            .with("workload", "ping-pong")
            .with("keys", "0-RTT"),
        true,
    );
}

/// A server's ServerHello was lost while repeated Handshake packets, which nobody could read without it, filled the
/// window: it waited for the window, and only the Handshake space was probed.
#[test]
fn a_lost_server_hello_does_not_wait_for_the_window() {
    for seed in 2010..2030 {
        play(
            &Row::benign(seed)
                .with("loss_up", "5 %")
                .with("loss_down", "5 %")
                .with("reorder", "25 %")
                .with("delay", "2 s")
                .with("peer", "chaos CRYPTO"),
            true,
        );
    }
}

/// A client whose address had changed in the handshake stopped probing once a Handshake packet was acknowledged, and the
/// server had spent its budget for the new address: both waited for the other.
#[test]
fn a_long_certificate_chain_reaches_a_client_that_moved() {
    for seed in 450..470 {
        play(
            &Row::benign(seed)
                .with("loss_up", "10 %")
                .with("loss_down", "10 %")
                .with("address", "in handshake")
                .with("peer", "large windows"),
            true,
        );
    }
}

/// What was in flight when the storm began filled the window, so that keep-alives waited for probes, which become rare: the
/// connection idled out. Old packets count as lost then, and PINGs go out between the probes.
#[test]
fn keep_alives_pass_a_window_full_of_lost_packets() {
    let many_small = Row::benign(289)
        .with("loss_up", "50 %")
        .with("loss_down", "50 %")
        .with("reorder", "5 %")
        .with("duplicate", "5 %")
        .with("corrupt", "10 %")
        .with("delay", "300±200 ms")
        .with("bandwidth", "10 Gbit/s, 1000")
        .with("mtu", "1280")
        .with("address", "port every 10 s")
        .with("ecn", "mangled")
        .with("peer", "NewReno without pacing")
        .with("workload", "1000 × 1 KiB");
    let slow = Row::benign(1138)
        .with("loss_up", "50 %")
        .with("loss_down", "50 %")
        .with("reorder", "25 %")
        .with("duplicate", "50 %")
        .with("corrupt", "10 %")
        .with("delay", "2 s")
        .with("bandwidth", "64 kbit/s, 5")
        .with("mtu", "1280")
        .with("address", "port every 10 s")
        .with("ecn", "bleached")
        .with("peer", "NewReno without pacing")
        .with("workload", "1000 × 1 KiB")
        .with("keys", "update");
    let upload = Row::benign(2390)
        .with("loss_up", "50 %")
        .with("loss_down", "50 %")
        .with("duplicate", "5 %")
        .with("corrupt", "1 %")
        .with("delay", "2 s")
        .with("address", "port every 10 s")
        .with("ecn", "bleached")
        .with("peer", "NewReno without pacing")
        .with("workload", "upload")
        .with("keys", "0-RTT");
    for row in [many_small, slow, upload] {
        assert_eq!(play(&row, true).silenced, None, "{}", row.code());
    }
}
/// A change of family while the windows of both ends are full of what the old address swallowed: the challenges that are held
/// until probe timers let them go come through all the same.
#[test]
fn challenges_that_the_window_holds_come_through() {
    for row in [
        Row::benign(2817).with("delay", "20 s").with("address", "family").with("workload", "ping-pong"),
        Row::benign(1047).with("delay", "2 s").with("address", "family").with("workload", "upload"),
    ] {
        assert_eq!(play(&row, true).silenced, None, "{}", row.code());
    }
}
