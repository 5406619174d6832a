//! The curves of a report as an SVG picture.
//!
//! A chart crate would bring fonts and back ends for one picture of lines; this is sixty lines of
//! text.

use std::fmt::Write;

use super::Report;

const COLOURS: [&str; 9] = [
    "#1b6ca8", "#d1495b", "#2e933c", "#edae49", "#6a4c93", "#00798c", "#8d6a4f", "#444444",
    "#e36bae",
];

/// Allocated over arrived GPU share, a line for each policy, as SVG.
#[must_use]
pub fn chart(report: &Report) -> String {
    let (width, height, left, top) = (760.0, 460.0, 60.0, 40.0);
    let (plot_width, plot_height) = (width - left - 170.0, height - top - 60.0);
    let most = report.policies.values().filter_map(|row| row.curve.last()).map(|(x, _)| *x);
    let most = most.fold(1.0, f64::max);
    let x = |arrived: f64| left + arrived / most * plot_width;
    let y = |allocated: f64| top + (1.0 - allocated.clamp(0.0, 1.0)) * plot_height;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let synthetic = if report.synthetic { " (SYNTHETIC trace)" } else { "" };
    let title = format!("GPU share allocated, mean of {} seeds{synthetic}", report.seeds);
    let _ = writeln!(svg, "<text x=\"{left}\" y=\"24\" font-size=\"15\">{title}</text>");
    for step in 0..=5 {
        let share = f64::from(step) / 5.0;
        let (at, label) = (y(share), share * 100.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{left}\" x2=\"{}\" y1=\"{at}\" y2=\"{at}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label:.0} %</text>",
            left + plot_width,
            left - 6.0,
            at + 4.0
        );
        let (at, label) = (x(share * most), share * most * 100.0);
        let below = top + plot_height + 18.0;
        let _ = writeln!(
            svg,
            "<text x=\"{at}\" y=\"{below}\" text-anchor=\"middle\">{label:.0} %</text>"
        );
    }
    let (middle, bottom) = (left + plot_width / 2.0, height - 14.0);
    let _ = writeln!(
        svg,
        "<text x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\">GPU share arrived</text>"
    );
    for (number, (name, row)) in report.policies.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points: Vec<_> =
            row.curve.iter().map(|(at, share)| format!("{:.1},{:.1}", x(*at), y(*share))).collect();
        let (points, side, at) =
            (points.join(" "), left + plot_width + 12.0, top + 18.0 * number as f64 + 10.0);
        let last = row.allocated_at_130;
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" points=\"{points}\"/>\
             <text x=\"{side}\" y=\"{at}\" fill=\"{colour}\">{name} {last:.2} %</text>"
        );
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::simulate::Row;

    #[test]
    fn every_policy_has_a_line_and_what_is_made_up_says_so() {
        let row = Row { curve: vec![(0.5, 0.5), (1.3, 0.9)], ..Row::default() };
        let policies = [("fog".to_owned(), row.clone()), ("random".to_owned(), row)].into();
        let svg = chart(&Report { synthetic: true, seeds: 2, policies });
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("SYNTHETIC") && svg.trim_end().ends_with("</svg>"));
    }
}
