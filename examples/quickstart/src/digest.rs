//! The work itself: one file read once, in pieces, digested and counted.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fogcore::scheduler::{Executor, Failure, Job, Output, executor_fn};
use serde::{Deserialize, Serialize};

/// How much is read at a time: enough to keep BLAKE3's widest instructions busy.
const BUFFER: usize = 128 << 10;

/// After how many bytes a long reading says how far it is.
const REPORT_EVERY: u64 = 8 << 20;

/// What is found out about a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest {
    /// BLAKE3, in hexadecimal.
    pub(crate) digest: String,
    /// Its length, as read.
    pub(crate) bytes: u64,
    /// Line feeds.
    pub(crate) lines: u64,
    /// Runs of bytes other than ASCII white space, as `wc -w` counts them.
    pub(crate) words: u64,
}

/// Digests the file whose path, as raw bytes, is the payload.
pub(crate) fn executor() -> Arc<dyn Executor> {
    executor_fn(|job| async move {
        let measured = move || job.meter.run(|| digest_job(&job));
        let reading = tokio::task::spawn_blocking(measured);
        reading.await.unwrap_or_else(|error| Err(Failure::transient(error.to_string())))
    })
}

fn digest_job(job: &Job) -> Result<Output, Failure> {
    let path = PathBuf::from(OsStr::from_bytes(&job.payload));
    let said = |error| failure(&path, &error);
    let file = File::open(&path).map_err(said)?;
    // Only for the reports: what counts is what is read.
    let length = file.metadata().map_err(said)?.len();
    let progress = |read: u64| {
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        job.report(read as f64 / length.max(1) as f64, "reading");
        !job.cancelled.is_cancelled()
    };
    let digest = digest(file, progress)
        .map_err(said)?
        .ok_or_else(|| Failure::transient("nobody wants the digest any more"))?;
    let bytes_moved = Some(digest.bytes);
    let result = serde_json::to_vec(&digest).map_err(|e| Failure::permanent(e.to_string()))?;
    Ok(Output { result: result.into(), bytes_moved, ..Output::default() })
}

/// Reads to the end; none if `go_on` said no, which is asked every now and then.
fn digest(mut input: impl Read, mut go_on: impl FnMut(u64) -> bool) -> io::Result<Option<Digest>> {
    let mut hasher = blake3::Hasher::new();
    let (mut found, mut in_word, mut next_report) = (Digest::default(), false, REPORT_EVERY);
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = &buffer[..read];
        hasher.update(piece);
        for byte in piece {
            found.lines += u64::from(*byte == b'\n');
            let space = matches!(byte, b' ' | b'\t'..=b'\r');
            found.words += u64::from(!in_word && !space);
            in_word = !space;
        }
        found.bytes += read as u64;
        if found.bytes >= next_report {
            next_report = found.bytes + REPORT_EVERY;
            if !go_on(found.bytes) {
                return Ok(None);
            }
        }
    }
    found.digest = hasher.finalize().to_hex().to_string();
    Ok(Some(found))
}

/// What an error of the file system means for the task: a file that is not there, or not to be
/// read, will be so for the next node, too; a disk that failed once may not fail again.
fn failure(path: &Path, error: &io::Error) -> Failure {
    let reason = format!("{}: {error}", path.display());
    let symlink_loop = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::IsADirectory
        | ErrorKind::NotADirectory => Failure::permanent(reason),
        _ if symlink_loop => Failure::permanent(reason),
        _ => Failure::transient(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that gives one byte at a time.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let taken = self.0.len().min(1);
            buffer[..taken].copy_from_slice(&self.0[..taken]);
            self.0 = &self.0[taken..];
            Ok(taken)
        }
    }

    #[test]
    fn counts_are_those_of_wc_however_the_pieces_fall() {
        // Bytes, lines and words as `wc` of GNU coreutils prints them.
        let cases: [(&[u8], u64, u64); 7] = [
            (b"", 0, 0),
            (b"\n", 1, 0),
            (b"one", 0, 1),
            (b"one two\n", 1, 2),
            (b"  one \t two\r\nthree\n\n", 3, 3),
            (b"a\x0bb\x0cc", 0, 3),
            ("größer als\n".as_bytes(), 1, 2),
        ];
        for (text, lines, words) in cases {
            let whole = digest(text, |_| true).unwrap().unwrap();
            assert_eq!((whole.lines, whole.words), (lines, words), "{text:?}");
            assert_eq!(whole.bytes, text.len() as u64);
            assert_eq!(whole.digest, blake3::hash(text).to_hex().to_string());
            assert_eq!(digest(Drip(text), |_| true).unwrap().unwrap(), whole);
        }
    }

    #[test]
    fn the_digest_of_nothing_is_the_one_that_blake3_publishes() {
        let empty = digest(io::empty(), |_| true).unwrap().unwrap();
        let published = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(empty.digest, published);
    }

    #[test]
    fn a_long_reading_stops_when_nobody_wants_it() {
        let endless = io::repeat(b'x');
        assert_eq!(digest(endless, |read| read < 3 * REPORT_EVERY).unwrap(), None);
    }

    #[test]
    fn what_would_fail_elsewhere_too_is_permanent_and_names_the_path() {
        let path = Path::new("some/file");
        let gone = failure(path, &ErrorKind::NotFound.into());
        assert!(gone.permanent && gone.reason.starts_with("some/file: "));
        assert!(failure(path, &rustix::io::Errno::LOOP.into()).permanent);
        assert!(failure(path, &rustix::io::Errno::ACCESS.into()).permanent);
        assert!(!failure(path, &rustix::io::Errno::IO.into()).permanent);
    }
}
