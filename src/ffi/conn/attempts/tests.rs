use super::*;

fn order(found: &[&str]) -> Vec<String> {
    interleave(found.iter().map(|a| a.parse().unwrap())).iter().map(ToString::to_string).collect()
}

/// RFC 8305 section 4.
#[test]
fn the_families_take_turns_and_the_system_says_which_is_first() {
    let many = ["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"];
    assert_eq!(order(&many), ["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
    assert_eq!(order(&["1.0.0.1:1", "1.0.0.2:1", "[::1]:1"]), ["1.0.0.1:1", "[::1]:1", "1.0.0.2:1"]);
    assert_eq!(order(&["1.0.0.1:1", "1.0.0.1:1"]), ["1.0.0.1:1"]);
    assert_eq!(order(&[]), [""; 0]);
}

#[test]
fn a_name_with_many_addresses_is_tried_at_some_of_each_family() {
    let six = (1..=20).map(|n| format!("[::{n}]:1").parse().unwrap());
    let four = (1..=20).map(|n| format!("1.0.0.{n}:1").parse().unwrap());
    let chosen = interleave(six.chain(four));
    assert_eq!((chosen.len(), chosen.iter().filter(|a: &&SocketAddr| a.is_ipv4()).count()), (MAX_TARGETS, 4));
}
