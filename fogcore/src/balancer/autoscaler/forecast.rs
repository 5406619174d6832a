//! What a measured value will be soon, and how far off that may be.
//!
//! Holt's linear smoothing with the damped trend of Gardner and McKenzie: a level, and a trend that
//! fades the further one looks ahead, because loads do not grow for ever (Hyndman and
//! Athanasopoulos, "Forecasting: Principles and Practice", 3rd edition, §8.2). The interval comes
//! from the errors that the forecasts of the next value have made so far (§8.7, the model
//! ETS(A,Ad,N)): a value that was easy to foretell has a narrow one.
//!
//! ```
//! use fogcore::balancer::autoscaler::{Forecast, ForecastPolicy};
//!
//! let mut forecast = Forecast::new(ForecastPolicy::default())?;
//! for load in 0..20 {
//!     assert_eq!(forecast.predict(5).is_some(), load >= 10, "ten values come first");
//!     forecast.observe(f64::from(load) / 40.0)?;
//! }
//! let soon = forecast.predict(5).expect("it has seen twenty");
//! assert!(soon.value > 0.5 && soon.low < soon.value && soon.value < soon.high);
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a forecast follows what it sees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForecastPolicy {
    /// How much of each error goes into the level (α), above 0 and up to 1. Default 0.5: half of a
    /// change is believed at once, and one odd value is forgotten after a few.
    pub level: f64,
    /// How much of each change of the level goes into the trend (β*), 0–1. Default 0.2: noise
    /// makes hardly a trend, and a rise is known as one after about ten values.
    pub trend: f64,
    /// What is left of the trend after each step ahead (φ), 0–1. Default 0.95: most of it after
    /// five steps, little after fifty. 1 is Holt's method without damping.
    pub damping: f64,
    /// So many values must have been seen, 3–10,000. Default 10: with fewer, neither the trend nor
    /// the interval means much.
    pub min_samples: u32,
    /// The interval is made from so many latest errors, 2–10,000. Default 120: an hour of checks
    /// every 30 s, so that a noisy morning does not widen the night's.
    pub residuals: usize,
    /// Half the interval in standard deviations, above 0 and up to 10. Default 1.96: 95 % of the
    /// values are inside, if the errors are normal.
    pub deviations: f64,
}

impl Default for ForecastPolicy {
    fn default() -> Self {
        Self {
            level: 0.5,
            trend: 0.2,
            damping: 0.95,
            min_samples: 10,
            residuals: 120,
            deviations: 1.96,
        }
    }
}

impl ForecastPolicy {
    /// Checks every limit.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        if !(self.level > 0.0 && self.level <= 1.0) {
            return Err(Error::invalid("level", "must be above 0 and at most 1"));
        }
        if !(0.0..=1.0).contains(&self.trend) {
            return Err(Error::invalid("trend", "must be between 0 and 1"));
        }
        if !(0.0..=1.0).contains(&self.damping) {
            return Err(Error::invalid("damping", "must be between 0 and 1"));
        }
        if !(3..=10_000).contains(&self.min_samples) {
            return Err(Error::invalid("min_samples", "must be between 3 and 10000"));
        }
        if !(2..=10_000).contains(&self.residuals) {
            return Err(Error::invalid("residuals", "must be between 2 and 10000"));
        }
        if !(self.deviations > 0.0 && self.deviations <= 10.0) {
            return Err(Error::invalid("deviations", "must be above 0 and at most 10"));
        }
        Ok(())
    }
}

/// What a value will be, in the unit of what was observed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The middle.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

impl Prediction {
    /// The same prediction in another unit.
    pub(super) fn scaled(self, factor: f64) -> Self {
        let Self { value, low, high } = self;
        Self { value: value * factor, low: low * factor, high: high * factor }
    }

    /// The same prediction of something that cannot be negative.
    pub(super) fn not_negative(self) -> Self {
        let Self { value, low, high } = self;
        Self { value: value.max(0.0), low: low.max(0.0), high: high.max(0.0) }
    }
}

/// A forecast of values that come at equal distances in time.
#[derive(Clone, Debug)]
pub struct Forecast {
    policy: ForecastPolicy,
    samples: u32,
    level: f64,
    trend: f64,
    /// Whether the next value is one step after the latest: only such errors can be compared.
    next: bool,
    /// The latest errors of the forecasts of the next value.
    errors: VecDeque<f64>,
}

/// What is farther from zero than this is no measurement; its square is still a number.
const MOST: f64 = 1e100;

impl Forecast {
    /// A forecast that has seen nothing.
    ///
    /// # Errors
    /// InvalidInput with the field's name for a policy that makes no sense.
    pub fn new(policy: ForecastPolicy) -> Result<Self> {
        policy.check()?;
        let errors = VecDeque::new();
        Ok(Self { policy, samples: 0, level: 0.0, trend: 0.0, next: true, errors })
    }

    /// How many values it has seen since it began, or began anew.
    #[must_use]
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// Takes the next value.
    ///
    /// # Errors
    /// InvalidInput, field `value`, for what is no number or beyond ±10¹⁰⁰; nothing has changed.
    pub fn observe(&mut self, value: f64) -> Result<()> {
        if !(-MOST..=MOST).contains(&value) {
            return Err(Error::invalid("value", "must be a number between -1e100 and 1e100"));
        }
        if self.samples == 0 {
            // No trend until one is seen: the difference of the first two values is mostly noise.
            (self.level, self.trend) = (value, 0.0);
        } else {
            let ForecastPolicy { level, trend, damping, .. } = self.policy;
            // The form that corrects by the error; the same as the textbook's by components.
            let expected = self.level + damping * self.trend;
            let error = value - expected;
            self.level = expected + level * error;
            self.trend = damping * self.trend + level * trend * error;
            if self.next {
                self.remember(error);
            }
        }
        self.next = true;
        self.samples = self.samples.saturating_add(1);
        Ok(())
    }

    fn remember(&mut self, error: f64) {
        if self.errors.len() >= self.policy.residuals {
            self.errors.pop_front();
        }
        self.errors.push_back(error);
    }

    /// So many values were missed: the level goes on with the trend. After as many as a forecast
    /// needs to begin with, it begins anew.
    pub fn skip(&mut self, steps: u32) {
        if steps >= self.policy.min_samples {
            self.samples = 0;
            self.errors.clear();
        } else if steps > 0 && self.samples > 0 {
            self.next = false;
            for _ in 0..steps {
                self.trend *= self.policy.damping;
                self.level += self.trend;
            }
        }
    }

    /// The value `steps` steps after the latest (0 counts as 1); none until enough were seen.
    #[must_use]
    pub fn predict(&self, steps: u32) -> Option<Prediction> {
        if self.samples < self.policy.min_samples || self.errors.len() < 2 {
            return None;
        }
        let ForecastPolicy { level, trend, damping, deviations, .. } = self.policy;
        // φ + … + φ^j, and the sum over j < steps of the squared weights that the error of one
        // step has in the value j steps later: c_j = α + αβ*(φ + … + φ^j).
        let (mut fading, mut reach, mut weights) = (1.0, 0.0, 1.0);
        for step in 1..=steps.max(1) {
            fading *= damping;
            reach += fading;
            if step < steps {
                weights += (level * (1.0 + trend * reach)).powi(2);
            }
        }
        let value = self.level + reach * self.trend;
        let squares: f64 = self.errors.iter().map(|error| error * error).sum();
        let half = deviations * (squares / self.errors.len() as f64 * weights).sqrt();
        Some(Prediction { value, low: value - half, high: value + half })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    const DEFAULT: ForecastPolicy = ForecastPolicy {
        level: 0.5,
        trend: 0.2,
        damping: 0.95,
        min_samples: 10,
        residuals: 120,
        deviations: 1.96,
    };

    /// The textbook's equations by components, over the whole history; one list per quantity.
    fn textbook(values: &[f64], policy: &ForecastPolicy, steps: u32) -> (f64, Vec<f64>) {
        let ForecastPolicy { level: alpha, trend: beta, damping: phi, .. } = *policy;
        let (mut levels, mut trends, mut errors) = (vec![values[0]], vec![0.0], vec![]);
        for t in 1..values.len() {
            let (level, trend): (f64, f64) = (levels[t - 1], trends[t - 1]);
            errors.push(values[t] - (level + phi * trend));
            levels.push(alpha * values[t] + (1.0 - alpha) * (level + phi * trend));
            trends.push(beta * (levels[t] - level) + (1.0 - beta) * phi * trend);
        }
        let reach: f64 = (1..=steps).map(|step| phi.powi(step.cast_signed())).sum();
        (levels[values.len() - 1] + reach * trends[values.len() - 1], errors)
    }

    /// The closed form of the variance in the textbook's §8.7, in units of the errors' variance.
    fn textbook_variance(policy: &ForecastPolicy, steps: u32) -> f64 {
        let (a, b, f) = (policy.level, policy.level * policy.trend, policy.damping);
        let (h, power) = (f64::from(steps), f.powi(steps.cast_signed()));
        1.0 + a * a * (h - 1.0) + b * f * h / (1.0 - f).powi(2) * (2.0 * a * (1.0 - f) + b * f)
            - b * f * (1.0 - power) / ((1.0 - f).powi(2) * (1.0 - f * f))
                * (2.0 * a * (1.0 - f * f) + b * f * (1.0 + 2.0 * f - power))
    }

    fn seen(values: impl IntoIterator<Item = f64>, policy: ForecastPolicy) -> Forecast {
        let mut forecast = Forecast::new(policy).unwrap();
        values.into_iter().for_each(|value| forecast.observe(value).unwrap());
        forecast
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        assert_eq!(ForecastPolicy::default(), DEFAULT);
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_with_its_field() {
        let cases = [
            ("level", ForecastPolicy { level: 0.0, ..DEFAULT }),
            ("level", ForecastPolicy { level: f64::NAN, ..DEFAULT }),
            ("trend", ForecastPolicy { trend: 1.1, ..DEFAULT }),
            ("damping", ForecastPolicy { damping: -0.1, ..DEFAULT }),
            ("min_samples", ForecastPolicy { min_samples: 2, ..DEFAULT }),
            ("residuals", ForecastPolicy { residuals: 1, ..DEFAULT }),
            ("deviations", ForecastPolicy { deviations: f64::INFINITY, ..DEFAULT }),
        ];
        for (field, policy) in cases {
            assert_eq!(Forecast::new(policy).unwrap_err().field(), Some(field));
        }
    }

    #[test]
    fn what_is_no_number_is_refused_and_changes_nothing() {
        let mut forecast = seen((0..20).map(f64::from), DEFAULT);
        let before = forecast.predict(3);
        for value in [f64::NAN, f64::INFINITY, -1e101] {
            assert_eq!(forecast.observe(value).unwrap_err().field(), Some("value"));
        }
        assert_eq!(forecast.predict(3), before);
        assert!(before.is_some());
    }

    #[test]
    fn a_constant_is_foretold_exactly_and_with_certainty() {
        let soon = seen([0.4; 30], DEFAULT).predict(10).unwrap();
        assert!(near(soon.value, 0.4) && near(soon.low, 0.4) && near(soon.high, 0.4));
    }

    #[test]
    fn without_damping_a_straight_line_is_followed() {
        let policy = ForecastPolicy { damping: 1.0, ..DEFAULT };
        let soon = seen((0..400).map(f64::from), policy).predict(10).unwrap();
        assert!((soon.value - 409.0).abs() < 1e-3, "{soon:?}");
    }

    #[test]
    fn the_error_of_each_step_is_weighted_as_in_the_textbook() {
        let values: Vec<f64> = (0..50).map(|t| f64::from(t * t % 17)).collect();
        let forecast = seen(values, DEFAULT);
        let half = |steps| forecast.predict(steps).map(|soon| (soon.high - soon.low) / 2.0);
        let one = half(1).unwrap();
        for steps in 1..100 {
            let ratio = textbook_variance(&DEFAULT, steps).sqrt();
            assert!(near(half(steps).unwrap() / one, ratio), "{steps}");
        }
    }

    #[test]
    fn values_that_were_missed_are_not_errors_and_too_many_begin_anew() {
        let line = |from: i32, to: i32| (from..to).map(f64::from);
        let mut forecast = seen(line(0, 60), DEFAULT);
        let before = forecast.predict(4).unwrap();
        forecast.skip(3);
        assert!(near(forecast.predict(1).unwrap().value, before.value), "only its start has moved");
        let errors = forecast.errors.clone();
        forecast.observe(1_000.0).unwrap();
        assert_eq!(forecast.errors, errors, "an error over four steps is not one over one");
        forecast.observe(1_000.0).unwrap();
        assert_ne!(forecast.errors, errors);
        forecast.skip(10);
        assert_eq!((forecast.predict(1), forecast.samples()), (None, 0));
    }

    #[test]
    fn nineteen_values_of_twenty_are_within_the_interval() {
        // The model itself, with errors that are nearly normal (Irwin and Hall: twelve dice).
        let mut dice = StdRng::seed_from_u64(7);
        let mut error = || (0..12).map(|_| dice.random::<f64>()).sum::<f64>() - 6.0;
        let (mut level, mut trend) = (0.0, 0.0);
        let mut values = vec![];
        for _ in 0..6_000 {
            let (error, expected) = (error(), level + DEFAULT.damping * trend);
            values.push(expected + error);
            level = expected + DEFAULT.level * error;
            trend = DEFAULT.damping * trend + DEFAULT.level * DEFAULT.trend * error;
        }
        for steps in [1_usize, 10] {
            let mut forecast = Forecast::new(DEFAULT).unwrap();
            let (mut inside, mut all) = (0.0, 0.0);
            for (at, value) in values[..values.len() - steps].iter().enumerate() {
                forecast.observe(*value).unwrap();
                let Some(soon) = forecast.predict(u32::try_from(steps).unwrap()) else { continue };
                all += 1.0;
                inside += f64::from((soon.low..=soon.high).contains(&values[at + steps]));
            }
            let share = inside / all;
            assert!((0.93..=0.965).contains(&share), "{steps} steps ahead: {share}");
        }
    }

    proptest! {
        #[test]
        fn it_says_what_the_textbook_says(
            values in proptest::collection::vec(-100.0..100.0_f64, 10..200),
            level in 0.01..=1.0_f64,
            trend in 0.0..=1.0_f64,
            damping in 0.0..=1.0_f64,
            steps in 1_u32..40,
        ) {
            let policy = ForecastPolicy { level, trend, damping, residuals: 30, ..DEFAULT };
            let found = seen(values.iter().copied(), policy).predict(steps).unwrap();
            let (value, errors) = textbook(&values, &policy, steps);
            prop_assert!(near(found.value, value), "{found:?}, not {value}");
            let latest = &errors[errors.len().saturating_sub(30)..];
            let squares: f64 = latest.iter().map(|error| error * error).sum();
            let mut weights = 1.0;
            for j in 1..steps.cast_signed() {
                let reach: f64 = (1..=j).map(|i| damping.powi(i)).sum();
                weights += (level + level * trend * reach).powi(2);
            }
            let half = 1.96 * (squares / latest.len() as f64 * weights).sqrt();
            prop_assert!(near(found.high - found.value, half) && near(found.value - found.low, half));
        }
    }
}
