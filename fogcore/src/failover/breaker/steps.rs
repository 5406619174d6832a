//! Time counted in steps of equal length, without the division that this would take at each call,
//! and how often something happened in one.

/// A length of time in nanoseconds, to divide by.
#[derive(Debug)]
pub(super) struct Steps {
    length: u64,
    /// `2^64 / length`, or one less.
    reciprocal: u64,
    /// How many bits a count has beside its step in a word.
    bits: u32,
}

/// A count has at least so many bits.
const LEAST_BITS: u32 = 16;
/// And at most so many.
const MOST_BITS: u32 = 32;

impl Steps {
    /// Steps of so many nanoseconds, at least one.
    pub(super) fn new(length: u64) -> Self {
        let length = length.max(1);
        // A step of so many nanoseconds does not hold as many calls; and all other bits are more than
        // all steps of 584 years need, from 131 µs on: no jump of a clock makes them wrap around.
        let bits = length.ilog2().saturating_sub(1).clamp(LEAST_BITS, MOST_BITS);
        Self { length, reciprocal: u64::MAX / length, bits }
    }

    /// A step and how often something happened in it, in one word. What is too much for either is
    /// left out: a step begins anew, a count stays at the most.
    pub(super) const fn word(&self, step: u64, count: u64) -> u64 {
        let most = (1 << self.bits) - 1;
        step << self.bits | if count > most { most } else { count }
    }

    /// The step of a word.
    pub(super) const fn step_of(&self, word: u64) -> u64 {
        word >> self.bits
    }

    /// The count of a word.
    pub(super) const fn count_of(&self, word: u64) -> u64 {
        word & ((1 << self.bits) - 1)
    }

    /// A step as a word holds it.
    pub(super) const fn kept(&self, step: u64) -> u64 {
        self.step_of(self.word(step, 0))
    }

    /// How many steps `later` comes after `earlier`; none if it comes before it.
    pub(super) const fn between(&self, earlier: u64, later: u64) -> Option<u64> {
        let ahead = self.kept(later.wrapping_sub(earlier));
        if ahead < 1 << (u64::BITS - 1 - self.bits) { Some(ahead) } else { None }
    }

    /// How many whole steps a time is long.
    #[inline]
    pub(super) fn in_time(&self, time: u64) -> u64 {
        // The upper half of the product is the quotient or one less (Granlund and Montgomery,
        // "Division by Invariant Integers using Multiplication", PLDI 1994), and one instruction.
        let (_, quotient) = time.carrying_mul(self.reciprocal, 0);
        let rest = time - quotient * self.length;
        quotient + u64::from(rest >= self.length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_the_numbers_are_divided_well() {
        for length in [1, 2, 3, 1 << 63, u64::MAX - 1, u64::MAX] {
            for time in [0, 1, length - 1, length, u64::MAX - 1, u64::MAX] {
                assert_eq!(Steps::new(length).in_time(time), time / length, "{time} / {length}");
            }
        }
        assert_eq!(Steps::new(0).in_time(7), 7, "no step has no length");
    }

    proptest! {
        #[test]
        fn a_step_and_a_count_come_back_from_their_word(
            time: u64, length in 131_072_u64.., small in 0_u32..64, count: u64,
        ) {
            let length = (length >> small).max(131_072);
            let steps = Steps::new(length);
            let step = steps.in_time(time);
            let word = steps.word(step, count);
            prop_assert_eq!(steps.step_of(word), step);
            prop_assert_eq!(steps.count_of(word), count.min((1 << steps.bits) - 1));
            // More than there are calls in a step, or four thousand million.
            prop_assert!(1_u64 << steps.bits > (length / 4).min(u64::from(u32::MAX)));
        }

        #[test]
        fn what_is_between_two_times_has_a_sign(one: u64, other: u64, length in 131_072_u64..) {
            let steps = Steps::new(length);
            let (one, other) = (steps.in_time(one), steps.in_time(other));
            prop_assert_eq!(steps.between(one, other), other.checked_sub(one));
        }

        #[test]
        fn it_is_a_division(time: u64, length in 1_u64.., small in 0_u32..64) {
            let length = (length >> small).max(1);
            prop_assert_eq!(Steps::new(length).in_time(time), time / length);
        }
    }
}
