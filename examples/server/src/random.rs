//! Random texts that nobody may guess, from the operating system.

use rand::TryRng;
use rand::rngs::SysRng;

/// `N` random bytes.
///
/// The operating system's source does not fail once the machine has started. If it ever did, nothing
/// that is made from it would be a secret, so the process does not go on.
#[must_use]
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "without it, there are no secrets")]
    SysRng.try_fill_bytes(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// `N` random bytes as hexadecimal digits.
#[must_use]
pub(crate) fn hex<const N: usize>() -> String {
    bytes::<N>().iter().map(|byte| format!("{byte:02x}")).collect()
}
