//! Loops in the background whose store is away: they say so once, and ask less and less often.

use std::time::Duration;

use crate::error::Error;

/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(5);

/// Something that a loop does again and again, and how often in a row it failed.
#[derive(Debug)]
pub(super) struct Trouble {
    what: &'static str,
    failures: u32,
}

impl Trouble {
    /// No trouble yet with `what`, which a log line begins with.
    pub(super) const fn with(what: &'static str) -> Self {
        Self { what, failures: 0 }
    }

    /// It failed. The first failure is worth a warning, the ones after it are not.
    pub(super) fn failed(&mut self, error: &Error) {
        self.failures = self.failures.saturating_add(1);
        match self.failures {
            1 => tracing::warn!(%error, "{} failed, it is tried again until it works", self.what),
            failures => tracing::debug!(%error, failures, "{} failed again", self.what),
        }
    }

    /// It worked.
    pub(super) fn over(&mut self) {
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "{} works again", self.what);
            self.failures = 0;
        }
    }

    /// How long to wait now where one waits `usual` without trouble: twice as long after each
    /// failure, but at most 5 s or what is usual.
    pub(super) fn wait(&self, usual: Duration) -> Duration {
        let doubled = usual.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        doubled.min(LONGEST.max(usual))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn the_wait_doubles_to_its_limit_and_is_usual_again_afterwards() {
        let (usual, mut trouble) = (Duration::from_millis(50), Trouble::with("a test"));
        assert_eq!(trouble.wait(usual), usual);
        let error = Error::new(ErrorKind::Unavailable, "away");
        let waits: Vec<_> = (0..9)
            .map(|_| {
                trouble.failed(&error);
                trouble.wait(usual)
            })
            .collect();
        assert_eq!(waits[..3], [usual * 2, usual * 4, usual * 8]);
        assert_eq!(waits[8], LONGEST);
        (0..100).for_each(|_| trouble.failed(&error));
        assert_eq!(trouble.wait(usual), LONGEST);
        assert_eq!(trouble.wait(LONGEST * 2), LONGEST * 2);
        trouble.over();
        assert_eq!(trouble.wait(usual), usual);
    }
}
