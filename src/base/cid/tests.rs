use super::*;
use core::cell::Cell;

thread_local! {
    static STEPS: Cell<u32> = const { Cell::new(0) };
}

/// A byte that counts what is done with it.
#[derive(Clone, Copy, Default, PartialEq)]
struct Watched(u8);

impl BitXor for Watched {
    type Output = Self;
    fn bitxor(self, other: Self) -> Self {
        STEPS.set(STEPS.get() + 1);
        Self(self.0 ^ other.0)
    }
}

impl BitOr for Watched {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        STEPS.set(STEPS.get() + 1);
        Self(self.0 | other.0)
    }
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-10.3.1
//= type=test
//# When comparing a datagram to stateless reset token values, endpoints MUST perform the comparison without leaking
//# information about the value of the token.
#[test]
fn comparing_tokens_takes_the_same_steps_whatever_differs() {
    let token = [Watched(0x5a); 16];
    for wrong in 0..=16 {
        let mut other = token;
        other.iter_mut().skip(wrong).for_each(|b| b.0 ^= 1);
        STEPS.set(0);
        assert_eq!(differences(&token, &other).0 == 0, wrong == 16);
        assert_eq!(STEPS.get(), 32, "first difference at {wrong}");
    }
    let at = |n: usize| {
        let mut t = [7; 16];
        if let Some(b) = t.get_mut(n) {
            *b = 8;
        }
        ResetToken(t)
    };
    assert!(at(16) == at(99) && (0..16).all(|n| at(n) != at(16)));
}

//= https://www.rfc-editor.org/rfc/rfc9000#section-17.2
//= type=test
//# In QUIC version 1, this value MUST NOT exceed 20 bytes.
#[test]
fn twenty_bytes_and_no_more() {
    assert_eq!(ConnectionId::new(&[1; 20]).map(|c| c.len()), Some(20));
    assert_eq!(ConnectionId::new(&[1; 21]), None);
    assert_eq!(ConnectionId::new(&[1; 300]), None);
}
