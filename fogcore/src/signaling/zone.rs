//! A zone: a part of a game's world, and what it asks of the hosts of its sessions.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::ZoneId;
use crate::registry::{Millis, Percent};
use crate::time::Timestamp;

/// Whether a zone takes sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneStatus {
    /// It does.
    #[default]
    Enabled,
    /// It does not.
    Disabled,
    /// It does not, for a while.
    Maintenance,
}

/// What a zone is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZoneSpec {
    /// Its id.
    pub id: ZoneId,
    /// Its name, up to 128 characters.
    pub name: String,
    /// Its name for people, up to 256 characters.
    #[serde(default)]
    pub display_name: String,
    /// The name of its map, up to 128 characters.
    #[serde(default)]
    pub map_name: String,
    /// How many players a session of it takes, 1–65,536. Default 100.
    #[serde(default = "hundred")]
    pub max_players: u32,
    /// With how many it is at its best, at most `max_players`. Default 50.
    #[serde(default = "fifty")]
    pub recommended_players: u32,
    /// Whether players may host it. Default true.
    #[serde(default = "yes")]
    pub p2p_enabled: bool,
    /// How much hosts should prefer it, 1–10. Default 1.
    #[serde(default = "one")]
    pub p2p_priority: u8,
    /// Whether a server of the game's own may stand in for a host. Default true.
    #[serde(default = "yes")]
    pub fallback_enabled: bool,
    /// The least [quality](crate::registry::quality) of a host, if it matters.
    #[serde(default)]
    pub min_host_quality: Option<Percent>,
    /// The least network of a host, in Mbit/s. Default 100.
    #[serde(default = "hundred")]
    pub min_bandwidth_mbps: u32,
    /// The most latency of a host; one whose latency is not known will do. Default 100 ms.
    #[serde(default = "hundred_ms")]
    pub max_latency: Option<Millis>,
    /// Whether it takes sessions.
    #[serde(default)]
    pub status: ZoneStatus,
}

const fn hundred() -> u32 {
    100
}

const fn fifty() -> u32 {
    50
}

const fn one() -> u8 {
    1
}

const fn yes() -> bool {
    true
}

fn hundred_ms() -> Option<Millis> {
    Millis::new(100.0).ok()
}

impl ZoneSpec {
    /// A zone with every default.
    #[must_use]
    pub fn new(id: ZoneId) -> Self {
        Self {
            name: id.as_str().to_owned(),
            id,
            display_name: String::new(),
            map_name: String::new(),
            max_players: hundred(),
            recommended_players: fifty(),
            p2p_enabled: true,
            p2p_priority: one(),
            fallback_enabled: true,
            min_host_quality: None,
            min_bandwidth_mbps: hundred(),
            max_latency: hundred_ms(),
            status: ZoneStatus::default(),
        }
    }

    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        let texts = [
            ("zone_name", &self.name, 128),
            ("zone_display_name", &self.display_name, 256),
            ("map_name", &self.map_name, 128),
        ];
        for (field, text, most) in texts {
            if text.chars().count() > most {
                return Err(Error::invalid(field, format!("at most {most} characters")));
            }
        }
        if self.name.is_empty() {
            return Err(Error::invalid("zone_name", "must not be empty"));
        }
        if !(1..=65_536).contains(&self.max_players) {
            return Err(Error::invalid("max_players", "must be between 1 and 65536"));
        }
        if self.recommended_players > self.max_players {
            return Err(Error::invalid("recommended_players", "must not exceed max_players"));
        }
        if !(1..=10).contains(&self.p2p_priority) {
            return Err(Error::invalid("p2p_priority", "must be between 1 and 10"));
        }
        Ok(())
    }
}

/// A zone with what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    /// What it is.
    pub spec: ZoneSpec,
    /// Its number, from 1, in the order in which zones were made.
    pub number: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// How many players joined its sessions; one who left and came again counts again.
    pub players_served: u64,
}

impl Zone {
    /// The zone that is made now, or becomes of this one.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn put(existing: Option<&Self>, spec: ZoneSpec, now: Timestamp) -> Result<Self> {
        spec.check()?;
        let new = Self { spec, number: 0, created_at: now, updated_at: now, players_served: 0 };
        Ok(match existing {
            Some(Self { number, created_at, players_served, .. }) => Self {
                number: *number,
                created_at: *created_at,
                players_served: *players_served,
                ..new
            },
            None => new,
        })
    }
}

/// What changes of a zone; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZonePatch {
    /// Its name for people.
    pub display_name: Option<String>,
    /// How many players a session takes.
    pub max_players: Option<u32>,
    /// With how many it is at its best.
    pub recommended_players: Option<u32>,
    /// Whether players may host it.
    pub p2p_enabled: Option<bool>,
    /// How much hosts should prefer it.
    pub p2p_priority: Option<u8>,
    /// Whether a server of the game's own may stand in.
    pub fallback_enabled: Option<bool>,
    /// The least quality of a host.
    pub min_host_quality: Option<Percent>,
    /// The least network of a host, in Mbit/s.
    pub min_bandwidth_mbps: Option<u32>,
    /// The most latency of a host.
    pub max_latency: Option<Millis>,
    /// Whether it takes sessions.
    pub status: Option<ZoneStatus>,
}

impl ZonePatch {
    /// The zone's spec with these changes.
    #[must_use]
    pub fn applied(&self, spec: &ZoneSpec) -> ZoneSpec {
        ZoneSpec {
            id: spec.id.clone(),
            name: spec.name.clone(),
            map_name: spec.map_name.clone(),
            display_name: self.display_name.clone().unwrap_or_else(|| spec.display_name.clone()),
            max_players: self.max_players.unwrap_or(spec.max_players),
            recommended_players: self.recommended_players.unwrap_or(spec.recommended_players),
            p2p_enabled: self.p2p_enabled.unwrap_or(spec.p2p_enabled),
            p2p_priority: self.p2p_priority.unwrap_or(spec.p2p_priority),
            fallback_enabled: self.fallback_enabled.unwrap_or(spec.fallback_enabled),
            min_host_quality: self.min_host_quality.or(spec.min_host_quality),
            min_bandwidth_mbps: self.min_bandwidth_mbps.unwrap_or(spec.min_bandwidth_mbps),
            max_latency: self.max_latency.or(spec.max_latency),
            status: self.status.unwrap_or(spec.status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_names_its_field_and_a_patch_keeps_to_them() {
        let zone = ZoneSpec::new("prontera".parse().unwrap());
        zone.check().unwrap();
        type Spoil = fn(&mut ZoneSpec);
        let cases: [(&str, Spoil); 5] = [
            ("zone_name", |z| z.name.clear()),
            ("map_name", |z| z.map_name = "m".repeat(129)),
            ("max_players", |z| z.max_players = 0),
            ("recommended_players", |z| z.recommended_players = 101),
            ("p2p_priority", |z| z.p2p_priority = 11),
        ];
        for (field, spoil) in cases {
            let mut zone = zone.clone();
            spoil(&mut zone);
            assert_eq!(zone.check().unwrap_err().field(), Some(field));
        }
        let patch = ZonePatch { p2p_priority: Some(0), ..ZonePatch::default() };
        assert_eq!(patch.applied(&zone).check().unwrap_err().field(), Some("p2p_priority"));
        assert_eq!(ZonePatch::default().applied(&zone), zone);
    }

    #[test]
    fn making_a_zone_again_changes_it_and_keeps_what_it_was() {
        let spec = ZoneSpec::new("z".parse().unwrap());
        let now = Timestamp::UNIX_EPOCH;
        let first = Zone { number: 7, players_served: 3, ..Zone::put(None, spec, now).unwrap() };
        let wider = ZoneSpec { max_players: 200, ..first.spec.clone() };
        let later = now.saturating_add(std::time::Duration::from_secs(1));
        let again = Zone::put(Some(&first), wider, later).unwrap();
        assert_eq!((again.number, again.players_served, again.spec.max_players), (7, 3, 200));
        assert_eq!((again.created_at, again.updated_at), (now, later));
    }
}
