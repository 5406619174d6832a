//! Answers that many ask for and that change seldom: they are kept, as they went over the wire, until
//! anything changes, and for two seconds at most.
//!
//! A change is any request that may write, as soon as it is answered, and any event of the fog. What
//! time alone changes, and what other processes write, is seen so much later.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fogcore::time::Clock;
use serde::Serialize;

use super::problem::Problem;

/// How long an answer is good if nothing changes.
pub const GOOD_FOR: Duration = Duration::from_secs(2);

/// Bytes that are kept at most.
const MOST: usize = 16 << 20;

/// Answers, by what was asked.
#[derive(Debug, Default)]
pub struct Kept {
    /// How much has changed so far.
    changes: AtomicU64,
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    /// After so many changes they were made.
    after: u64,
    bytes: usize,
    by_uri: HashMap<String, (Duration, Bytes)>,
}

impl Kept {
    /// Something changed: nothing that was kept is good any more.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, asked: &str, now: Duration) -> Option<Bytes> {
        let after = self.changes.load(Ordering::Acquire);
        let answers = self.answers();
        let (made, bytes) = answers.by_uri.get(asked).filter(|_| answers.after == after)?;
        (now.saturating_sub(*made) < GOOD_FOR).then(|| bytes.clone())
    }

    fn keep(&self, asked: &str, made: Duration, bytes: Bytes, after: u64) {
        let mut answers = self.answers();
        // What was read before a change is not for those who ask after it.
        if self.changes.load(Ordering::Acquire) != after {
            return;
        }
        let size = asked.len() + bytes.len();
        if answers.after != after || answers.bytes + size > MOST {
            *answers = Answers { after, ..Answers::default() };
        }
        if size <= MOST {
            answers.bytes += size;
            let before = answers.by_uri.insert(asked.to_owned(), (made, bytes));
            answers.bytes -= before.map_or(0, |(_, bytes)| asked.len() + bytes.len());
        }
    }

    /// The answer to what `uri` asks for, which `make` makes if none is kept.
    ///
    /// # Errors
    /// Those of `make`; they are not kept.
    pub async fn json<T: Serialize>(
        &self,
        clock: &dyn Clock,
        uri: &Uri,
        make: impl Future<Output = Result<T, Problem>>,
    ) -> Result<Response, Problem> {
        let asked = uri.path_and_query().map_or(uri.path(), |asked| asked.as_str());
        let (now, after) = (clock.elapsed(), self.changes.load(Ordering::Acquire));
        let bytes = match self.find(asked, now) {
            Some(bytes) => bytes,
            None => {
                let text = serde_json::to_vec(&make.await?).map_err(Problem::internal)?;
                let bytes = Bytes::from(text);
                self.keep(asked, now, bytes.clone(), after);
                bytes
            }
        };
        let json = HeaderValue::from_static("application/json");
        Ok(([(CONTENT_TYPE, json)], bytes).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fogcore::time::{ManualClock, Timestamp};

    async fn ask(kept: &Kept, clock: &ManualClock, uri: &str, now: u32) -> String {
        let answer = kept.json(clock, &uri.parse().unwrap(), async { Ok(now) }).await.unwrap();
        let bytes = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_good_until_something_changes_or_is_too_old() {
        let (kept, clock) = (Kept::default(), ManualClock::at(Timestamp::UNIX_EPOCH));
        assert_eq!(ask(&kept, &clock, "/a?b=1", 1).await, "1");
        assert_eq!(ask(&kept, &clock, "/a?b=1", 2).await, "1");
        assert_eq!(ask(&kept, &clock, "/a?b=2", 3).await, "3");
        kept.changed();
        assert_eq!(ask(&kept, &clock, "/a?b=1", 4).await, "4");
        clock.advance(GOOD_FOR);
        assert_eq!(ask(&kept, &clock, "/a?b=1", 5).await, "5");
    }

    #[tokio::test]
    async fn what_was_read_before_a_change_is_not_kept() {
        let (kept, clock) = (Kept::default(), ManualClock::at(Timestamp::UNIX_EPOCH));
        let uri = "/a".parse().unwrap();
        let slow = kept.json(&clock, &uri, async {
            kept.changed();
            Ok(1)
        });
        slow.await.unwrap();
        assert_eq!(ask(&kept, &clock, "/a", 2).await, "2");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let kept = Kept::default();
        for number in 0..100 {
            let asked = format!("/{number}");
            kept.keep(&asked, Duration::ZERO, Bytes::from(vec![0; MOST / 10]), 0);
            assert!(kept.answers().bytes <= MOST);
        }
        assert!(kept.find("/99", Duration::ZERO).is_some());
        assert!(kept.find("/0", Duration::ZERO).is_none());
    }
}
