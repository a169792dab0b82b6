//! The node's random bytes: they follow from its seed, its life and a count, so that a run repeats, and a
//! life does not repeat what the one before it drew.

use bitcoin::hashes::{Hash, HashEngine, sha256};

/// A source of bytes for one purpose.
pub struct Dice {
    seed: [u8; 32],
    life: u32,
    purpose: &'static str,
    thrown: u64,
}

impl Dice {
    /// For a purpose of its own, so that drawing more for one leaves the others as they were.
    pub fn new(seed: [u8; 32], life: u32, purpose: &'static str) -> Self {
        Dice {
            seed,
            life,
            purpose,
            thrown: 0,
        }
    }

    /// The next 32 bytes.
    pub fn throw(&mut self) -> [u8; 32] {
        let mut engine = sha256::Hash::engine();
        engine.input(&self.seed);
        engine.input(self.purpose.as_bytes());
        engine.input(&self.life.to_be_bytes());
        engine.input(&self.thrown.to_be_bytes());
        self.thrown += 1;
        sha256::Hash::from_engine(engine).to_byte_array()
    }

    /// A number below `bound`; none below 0.
    pub fn below(&mut self, bound: usize) -> Option<usize> {
        let bytes = self.throw();
        let mut first = [0; 8];
        first.copy_from_slice(&bytes[..8]);
        let bound = u64::try_from(bound).ok()?;
        let number = u64::from_be_bytes(first).checked_rem(bound)?;
        usize::try_from(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_purposes_and_throws_all_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for life in 0..3 {
            for purpose in ["core", "writes"] {
                let mut dice = Dice::new([1; 32], life, purpose);
                for _ in 0..3 {
                    assert!(seen.insert(dice.throw()));
                }
            }
        }
        assert_eq!(
            Dice::new([1; 32], 2, "core").throw(),
            Dice::new([1; 32], 2, "core").throw()
        );
    }
}
