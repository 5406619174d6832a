//! How peers meet: zones, sessions on hosts, and the mailboxes through which two peers find a way to
//! each other.
//!
//! Nothing of what peers say is understood here: offers, answers and candidates are texts of WebRTC
//! (RFC 8829, RFC 8838), and the peers' own stacks read them. What counts is that they arrive once, in
//! order, from who says that he is, and that two who call each other at the same time agree on who
//! gives way.
//!
//! [`Zone`], [`Session`] and [`Mail`] last: a [`SignalStore`] keeps them. A [`Room`] is about those
//! who are connected now, and is gone with its process; who was connected joins again. Peers that
//! are to talk through one connect to the same process; through mail they meet over any of those
//! that share the store.
//!
//! ```
//! use fogcore::signaling::{ResumeToken, Room, Said, Sent, Signal, SignalingPolicy};
//! use fogcore::time::Timestamp;
//!
//! let now = Timestamp::UNIX_EPOCH;
//! let mut room = Room::new(SignalingPolicy::default());
//! let (ann, bob) = ("ann".parse()?, "bob".parse()?);
//! room.join(&ann, ResumeToken::new([1; 16]), now)?;
//! // Bob is not there yet: what is said to him waits.
//! let offer = Signal::Offer { sdp: "v=0".into() };
//! assert_eq!(room.send(&ann, &bob, offer.clone(), now)?, Sent::Kept);
//! room.join(&bob, ResumeToken::new([2; 16]), now)?;
//! let heard = room.unheard(&bob, 0);
//! assert!(matches!(&heard[1].said, Said::Signal { from, polite: true, .. } if *from == ann));
//! // He offers, too: he came later, so he gives way.
//! assert_eq!(room.send(&bob, &ann, offer, now)?, Sent::GaveWay);
//! # Ok::<(), fogcore::Error>(())
//! ```

mod error;
mod mail;
mod pace;
mod policy;
mod room;
mod said;
mod session;
mod store;
mod token;
mod zone;

pub use self::{
    error::SignalingError,
    mail::{Mail, Signal},
    policy::SignalingPolicy,
    room::{Link, Room},
    said::{Delivery, Said, Sent},
    session::{Host, NewSession, Session, SessionChange, SessionMetrics, SessionStatus},
    store::{SessionFilter, SignalStore, ZoneFilter},
    token::ResumeToken,
    zone::{Zone, ZonePatch, ZoneSpec, ZoneStatus},
};
