//! How badly one simulated life goes, by seed.
//! Test code only.

/// SplitMix64, for all choices of one world.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// How bad this Realtime is, in percent.
#[derive(Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) ack_lost: u64,
    pub(super) ack_timeout: u64,
    pub(super) refused: u64,
    pub(super) lost: u64,
    pub(super) slow: u64,
    pub(super) very_slow: u64,
    pub(super) twice: u64,
    pub(super) spoilt: u64,
    pub(super) link_down: u64,
    pub(super) abandon: u64,
    /// It stays lossy to the end.
    pub(super) deaf: bool,
}

impl Faults {
    pub(super) fn choose(dice: &mut Dice) -> Self {
        if dice.chance(15) {
            return Self::default();
        }
        let deaf = dice.chance(10);
        let mut some = |most: u64| if dice.chance(50) { dice.below(most) } else { 0 };
        Self {
            ack_lost: some(20),
            ack_timeout: some(20),
            refused: some(5),
            lost: some(if deaf { 101 } else { 40 }).max(if deaf { 60 } else { 0 }),
            deaf,
            slow: some(50),
            very_slow: some(20),
            twice: some(30),
            spoilt: some(30),
            link_down: some(15),
            abandon: some(4),
        }
    }

    pub(super) fn none(self) -> bool {
        let Self { ack_lost, ack_timeout, refused, lost, spoilt, link_down, abandon, very_slow, .. } = self;
        ack_lost + ack_timeout + refused + lost + spoilt + link_down + abandon + very_slow == 0
    }
}
