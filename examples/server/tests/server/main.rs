//! The server over real sockets: each test starts one on a free port of loopback.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on should fail"
)]

mod common;
mod credentials;
mod door;
mod economy;
mod hosts;
mod identity;
mod kill;
mod program;
mod readme;
mod refusals;
mod signaling;
mod socket;
mod sockets;
mod tls;
mod webrtc;
mod work;
