//! Time counted in steps of equal length, without the division that this would take at each call.

/// A length of time in nanoseconds, to divide by.
#[derive(Debug)]
pub(super) struct Steps {
    length: u64,
    /// `2^64 / length`, or one less.
    reciprocal: u64,
}

impl Steps {
    /// Steps of so many nanoseconds, at least one.
    pub(super) fn new(length: u64) -> Self {
        let length = length.max(1);
        Self { length, reciprocal: u64::MAX / length }
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
        fn it_is_a_division(time: u64, length in 1_u64.., small in 0_u32..64) {
            let length = (length >> small).max(1);
            prop_assert_eq!(Steps::new(length).in_time(time), time / length);
        }
    }
}
