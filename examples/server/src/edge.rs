//! The server's clock and dice: what the core has handed in, it takes from the system here.

use axum::http::StatusCode;
use fogcore::time::{Clock, SystemClock, Timestamp};
use rand::TryRng;
use rand::rngs::SysRng;

use crate::problem::{Answer, Problem};

pub(crate) fn now() -> Timestamp {
    SystemClock::new().now()
}

/// The time in seconds since 1970, as tokens tell it.
pub(crate) fn seconds() -> i64 {
    now().as_micros().div_euclid(1_000_000)
}

/// Bytes that nobody can guess.
pub(crate) fn secret<const N: usize>() -> Answer<[u8; N]> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the system gives no random bytes");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no random bytes are to be had now")
    })?;
    Ok(bytes)
}

/// A new id: a UUID of version 4.
pub(crate) fn id() -> Answer<String> {
    Ok(uuid::Builder::from_random_bytes(secret()?).into_uuid().to_string())
}
