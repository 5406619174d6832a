//! Lines that a task's holders write while they work.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The most lines of a task that are kept: the latest ones.
pub const MAX_LOG_LINES: u64 = 1_000;

/// The longest line, in bytes: what is longer is cut, between two characters.
pub const MAX_LOG_LINE: usize = 1_024;

/// A line that a holder of a task wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its number within the task, from 1; those before the first that is there were dropped.
    pub number: u64,
    /// When it reached the store.
    pub at: Timestamp,
    /// The fencing token of the lease under which it was written: it tells the attempts apart.
    pub fence: u64,
    /// What it says, at most 1,024 bytes.
    pub text: String,
}

/// The line as it is kept: cut if it is too long, and without what no database takes in a text.
pub(in crate::scheduler) fn cut(line: String) -> String {
    let mut line = if line.contains('\0') { line.replace('\0', "\u{fffd}") } else { line };
    line.truncate(line.floor_char_boundary(MAX_LOG_LINE));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_between_two_characters() {
        assert_eq!(cut("short".to_owned()), "short");
        assert_eq!(cut("a\0b".to_owned()), "a\u{fffd}b");
        let long = cut("ä".repeat(600) + "x");
        assert_eq!(long.len(), MAX_LOG_LINE);
        assert_eq!(cut("x".to_owned() + &"ä".repeat(600)).len(), MAX_LOG_LINE - 1);
    }
}
