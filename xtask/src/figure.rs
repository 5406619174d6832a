//! A figure: one measured number under a stable name, as `cargo xtask bench` prints it.
//!
//! A figure comes from criterion's result files, or, where nothing is timed (bytes per node), from
//! a line that the bench prints itself. Anything ambiguous is refused: a number with the wrong unit
//! is worse than none.

use std::fmt;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;

/// Displayed as `figure <id> <value> <unit>`, the form in which a bench may also print one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Figure {
    pub(crate) id: String,
    /// Kept as text, so that what a bench printed is passed on as it stands.
    value: String,
    unit: String,
}

impl Figure {
    /// Reads a line of a bench's output; `None` when it does not claim to be a figure.
    pub(crate) fn from_line(line: &str) -> Option<Result<Self>> {
        let rest = line.strip_prefix("figure ")?;
        let words: Vec<_> = rest.split_whitespace().collect();
        let [id, value, unit] = words[..] else {
            return Some(Err(anyhow!("`{line}` is not `figure <id> <value> <unit>`")));
        };
        if !value.parse().is_ok_and(f64::is_finite) {
            return Some(Err(anyhow!("`{value}` in `{line}` is not a number")));
        }
        Some(Ok(Self { id: id.into(), value: value.into(), unit: unit.into() }))
    }

    /// Reads the pair of files that criterion 0.8 writes per benchmark, `benchmark.json` and
    /// `estimates.json`.
    ///
    /// The mean is taken rather than the median: the product of mean and count is what a user waits
    /// for in total, slow outliers included.
    pub(crate) fn from_criterion(benchmark: &str, estimates: &str) -> Result<Self> {
        let benchmark: Benchmark = serde_json::from_str(benchmark).context("benchmark.json")?;
        let estimates: Estimates = serde_json::from_str(estimates).context("estimates.json")?;

        let Benchmark { group_id, function_id, value_str: unit, throughput } = benchmark;
        let function = function_id.with_context(|| {
            format!("`{group_id}` names no function: use `BenchmarkId::new(function, unit)`")
        })?;
        let id = format!("{group_id}.{function}");
        ensure!(!id.contains(char::is_whitespace), "the figure id `{id}` contains a space");

        let mean_ns = estimates.mean.point_estimate;
        let (value, unit) = match throughput {
            None => in_time_unit(mean_ns, unit),
            Some(Throughput::Elements(elements)) => per_second(mean_ns, elements, unit),
            Some(Throughput::Other(other)) => {
                Err(anyhow!("the throughput {other} is no count: use `Throughput::Elements`"))
            }
        }
        .with_context(|| format!("figure `{id}`"))?;
        Ok(Self { id, value: rounded(value)?, unit })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "figure {} {} {}", self.id, self.value, self.unit)
    }
}

/// `benchmark.json`, the part we use.
#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
    throughput: Option<Throughput>,
}

#[derive(Deserialize)]
enum Throughput {
    Elements(f64),
    /// Criterion also counts bits and bytes, in units that it scales as it likes.
    #[serde(untagged)]
    Other(serde_json::Value),
}

/// `estimates.json`, the part we use. Times are nanoseconds per iteration.
#[derive(Deserialize)]
struct Estimates {
    mean: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

fn in_time_unit(mean_ns: f64, unit: Option<String>) -> Result<(f64, String)> {
    let unit = unit.unwrap_or_else(|| "ns".into());
    let ns_per_unit = match unit.as_str() {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => bail!("the unit `{unit}` is no time (ns, us, ms, s); is a throughput missing?"),
    };
    Ok((mean_ns / ns_per_unit, unit))
}

fn per_second(mean_ns: f64, elements: f64, unit: Option<String>) -> Result<(f64, String)> {
    let unit = unit.context("a throughput needs a unit: `BenchmarkId::new(function, unit)`")?;
    ensure!(
        unit.ends_with("/s") && !unit.contains(char::is_whitespace),
        "the unit `{unit}` of a throughput is not one word that ends in `/s`"
    );
    Ok((elements * 1e9 / mean_ns, unit))
}

/// Four significant digits, never an exponent: more would be noise, and plain numbers can be
/// compared by eye.
fn rounded(value: f64) -> Result<String> {
    ensure!(value.is_finite() && value > 0.0, "criterion measured {value}, not a positive number");
    let rounded: f64 = format!("{value:.3e}").parse()?;
    Ok(rounded.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As written by criterion 0.8.2, shortened by the estimates that are not read.
    const ESTIMATES: &str = r#"{
        "mean": {
            "confidence_interval":
                {"confidence_level": 0.95, "lower_bound": 2490.1, "upper_bound": 2510.9},
            "point_estimate": 2500.0, "standard_error": 5.25
        },
        "median": {
            "confidence_interval":
                {"confidence_level": 0.95, "lower_bound": 1.0, "upper_bound": 3.0},
            "point_estimate": 2.0, "standard_error": 0.5
        },
        "slope": null
    }"#;

    fn benchmark(function: &str, unit: &str, throughput: &str) -> String {
        format!(
            r#"{{"group_id": "scheduler", "function_id": {function}, "value_str": {unit},
                "throughput": {throughput}, "full_id": "scheduler/x", "directory_name":
                "scheduler/x", "title": "scheduler/x"}}"#
        )
    }

    fn line(function: &str, unit: &str, throughput: &str) -> String {
        let benchmark = benchmark(function, unit, throughput);
        Figure::from_criterion(&benchmark, ESTIMATES).unwrap().to_string()
    }

    fn refusal(function: &str, unit: &str, throughput: &str) -> String {
        let benchmark = benchmark(function, unit, throughput);
        let error = Figure::from_criterion(&benchmark, ESTIMATES).unwrap_err();
        format!("{error:#}")
    }

    #[test]
    fn a_throughput_becomes_a_figure_per_second() {
        let line = line(r#""place.1k-nodes""#, r#""tasks/s""#, r#"{"Elements": 3}"#);
        assert_eq!(line, "figure scheduler.place.1k-nodes 1200000 tasks/s");
    }

    #[test]
    fn without_a_throughput_the_mean_time_is_the_figure() {
        assert_eq!(line(r#""pick""#, "null", "null"), "figure scheduler.pick 2500 ns");
    }

    #[test]
    fn a_time_is_converted_to_the_unit_it_claims() {
        assert_eq!(line(r#""pick""#, r#""us""#, "null"), "figure scheduler.pick 2.5 us");
    }

    #[test]
    fn a_rate_without_a_throughput_is_refused() {
        let refusal = refusal(r#""pick""#, r#""picks/s""#, "null");
        assert!(refusal.contains("`scheduler.pick`"), "{refusal}");
        assert!(refusal.contains("is a throughput missing?"), "{refusal}");
    }

    #[test]
    fn a_throughput_whose_unit_is_not_per_second_is_refused() {
        for unit in ["null", r#""ns""#, r#""two words/s""#] {
            let refusal = refusal(r#""pick""#, unit, r#"{"Elements": 3}"#);
            assert!(refusal.contains("unit"), "{refusal}");
        }
    }

    #[test]
    fn a_throughput_in_bytes_is_refused() {
        for throughput in
            [r#"{"Bytes": 3}"#, r#"{"ElementsAndBytes": {"elements": 1, "bytes": 3}}"#]
        {
            let refusal = refusal(r#""pick""#, r#""B/s""#, throughput);
            assert!(refusal.contains("Throughput::Elements"), "{refusal}");
        }
    }

    #[test]
    fn a_benchmark_without_a_function_or_with_a_space_in_its_name_is_refused() {
        assert!(refusal("null", "null", "null").contains("names no function"));
        assert!(refusal(r#""a b""#, "null", "null").contains("contains a space"));
    }

    #[test]
    fn values_have_four_significant_digits_and_no_exponent() {
        for (value, text) in [
            (1_234_567_890.0, "1235000000"),
            (9999.6, "10000"),
            (12.345_67, "12.35"),
            (1.5, "1.5"),
            (0.000_012_345_6, "0.00001235"),
        ] {
            assert_eq!(rounded(value).unwrap(), text);
        }
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(rounded(value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_figure_line_of_a_bench_is_passed_on_as_it_stands() {
        let line = "figure registry.memory.per-node 412.50 bytes";
        assert_eq!(Figure::from_line(line).unwrap().unwrap().to_string(), line);
    }

    #[test]
    fn other_output_is_no_figure_and_a_broken_figure_is_an_error() {
        assert!(Figure::from_line("scheduler/place  time: [1.2 µs 1.3 µs 1.4 µs]").is_none());
        assert!(Figure::from_line("figures follow").is_none());
        for line in ["figure a 1", "figure a 1 b c", "figure a many bytes", "figure a NaN bytes"] {
            assert!(Figure::from_line(line).unwrap().is_err(), "{line}");
        }
    }
}
