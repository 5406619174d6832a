//! Numbers that cannot be wrong: finite, in range, and with their unit in the name.

use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Why a number was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{value} is not {expected}")]
pub struct UnitError {
    unit: &'static str,
    expected: &'static str,
    value: f64,
}

impl From<UnitError> for Error {
    fn from(error: UnitError) -> Self {
        Self::invalid(error.unit, error)
    }
}

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $unit:literal, $low:expr, $high:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// The number, if it is finite and in range.
            ///
            /// # Errors
            /// [`UnitError`] says the range.
            pub fn new(value: f64) -> Result<Self, UnitError> {
                if ($low..=$high).contains(&value) {
                    // Adding zero turns −0 into 0, which prints as people expect.
                    Ok(Self(value + 0.0))
                } else {
                    Err(UnitError { unit: $unit, expected: $expected, value })
                }
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = UnitError;
            fn try_from(value: f64) -> Result<Self, UnitError> {
                Self::new(value)
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

unit! {
    /// A share in per cent, 0–100.
    Percent, "percent", 0.0, 100.0, "a percentage between 0 and 100"
}
unit! {
    /// A temperature in degrees Celsius, −100 to 200: what a sensor in a device can mean.
    Celsius, "temperature", -100.0, 200.0, "a temperature between −100 and 200 °C"
}
unit! {
    /// A latency in milliseconds, 0 to 3,600,000.
    Millis, "latency", 0.0, 3_600_000.0, "a number of milliseconds between 0 and 3600000"
}

/// A TCP or UDP port, 1–65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Port(NonZeroU16);

impl Port {
    /// The port `number`.
    ///
    /// # Errors
    /// [`UnitError`] for 0.
    pub fn new(number: u16) -> Result<Self, UnitError> {
        let expected = "a port between 1 and 65535";
        NonZeroU16::new(number).map(Self).ok_or(UnitError { unit: "port", expected, value: 0.0 })
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u16> for Port {
    type Error = UnitError;
    fn try_from(number: u16) -> Result<Self, UnitError> {
        Self::new(number)
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> Self {
        port.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_and_nan_are_refused_with_the_unit_named() {
        for value in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            let error = Error::from(Percent::new(value).unwrap_err());
            assert_eq!(error.field(), Some("percent"));
        }
        assert!(serde_json::from_str::<Percent>("101").is_err());
        assert!(Port::new(0).is_err());
        assert_eq!(Percent::new(-0.0).unwrap().to_string(), "0");
    }
}
