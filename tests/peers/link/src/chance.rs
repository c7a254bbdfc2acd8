//! Chances from one seed: the fate of each packet, in bursts of bounded length.

/// What happens to a packet.
pub struct Fate {
    pub lost: bool,
    pub corrupted: bool,
}

/// A seeded source (SplitMix64) with the shares of loss and corruption.
pub struct Chance {
    state: u64,
    loss: f64,
    corrupt: f64,
    burst: u32,
    run: u32,
}

impl Chance {
    pub fn new(seed: u64, loss: f64, corrupt: f64, burst: u32) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678, loss, corrupt, burst: burst.max(1), run: 0 }
    }

    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn share(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The next packet's fate. After `burst` bad ones in a row a good one follows.
    pub fn next(&mut self) -> Fate {
        let (a, b) = (self.share(), self.share());
        let mut fate = Fate { lost: a < self.loss, corrupted: b < self.corrupt };
        if fate.lost || fate.corrupted {
            self.run += 1;
            if self.run > self.burst {
                fate = Fate { lost: false, corrupted: false };
            }
        }
        if !fate.lost && !fate.corrupted {
            self.run = 0;
        }
        fate
    }
}
