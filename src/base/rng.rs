//! Randomness as an argument: the core draws from whatever source its caller gives it.

/// A source of random bytes. In production it must be cryptographically strong
/// (connection IDs, reset tokens and path challenges must be unpredictable).
pub trait Rng: Send {
    /// Fills all of `out`.
    fn fill(&mut self, out: &mut [u8]);

    /// A random 64-bit number.
    fn next_u64(&mut self) -> u64 {
        let mut b = [0; 8];
        self.fill(&mut b);
        u64::from_le_bytes(b)
    }

    /// A number below `bound` (0 when `bound` is 0). The bias is below 2^-32 for 32-bit bounds.
    fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()).saturating_mul(u128::from(bound));
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}

/// A small seeded generator (PCG XSL RR 128/64) for simulations and tests; never for production.
#[derive(Clone, Debug)]
pub struct Pcg {
    state: u128,
}

impl Pcg {
    const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
    const INCREMENT: u128 = 0x5851_f42d_4c95_7f2d_1405_7b7e_f767_814f;

    /// The same seed gives the same sequence on every platform.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut pcg = Self { state: u128::from(seed).wrapping_add(Self::INCREMENT) };
        pcg.step();
        pcg.step();
        pcg
    }

    fn step(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(Self::MULTIPLIER).wrapping_add(Self::INCREMENT);
        let rot = (self.state >> 122) as u32;
        (((self.state >> 64) as u64) ^ (self.state as u64)).rotate_right(rot)
    }
}

impl Rng for Pcg {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.step().to_le_bytes();
            for (o, b) in chunk.iter_mut().zip(bytes) {
                *o = b;
            }
        }
    }
}
