//! What holds for every request, whichever family it belongs to: who asks and from where, how much
//! may be asked, and how a refusal looks.

pub mod admit;
pub mod client;
pub mod extract;
pub mod family;
pub mod headers;
pub mod kept;
pub mod problem;
pub mod quota;
pub mod request_id;
pub mod watch;
