//! The window against a set that forgets nothing.
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

proptest! {
    #[test]
    fn agrees_with_a_set(steps in prop::collection::vec((0u64..700, any::<bool>()), 1..400)) {
        let mut window = PnWindow::new();
        let mut set = BTreeSet::new();
        let mut next = 0u64;
        for (n, forward) in steps {
            // Mostly near the top, in both directions, with jumps beyond the whole window.
            let pn = if forward { next + n / 7 } else { next.saturating_sub(n) };
            let below = pn < next && next - pn > WINDOW;
            let expected = if below { Seen::Below } else if set.contains(&pn) { Seen::Duplicate } else { Seen::Fresh };
            prop_assert_eq!(window.check(pn), expected);
            prop_assert_eq!(window.insert(pn), expected == Seen::Fresh);
            if !below {
                set.insert(pn);
                next = next.max(pn + 1);
            }
        }
    }
}

#[test]
fn edges() {
    let mut window = PnWindow::new();
    assert!(window.insert(0));
    assert!(!window.insert(0));
    assert!(window.insert(255));
    assert_eq!(window.check(0), Seen::Duplicate);
    assert!(window.insert(256));
    assert_eq!(window.check(0), Seen::Below, "257 numbers do not fit");
    assert_eq!(window.check(1), Seen::Fresh);
    assert!(window.insert(u64::MAX - 1));
    assert_eq!(window.check(256), Seen::Below);
    assert!(window.insert(u64::MAX));
    assert!(!window.insert(u64::MAX - 1));
}
