//! What a person sees while it runs, on standard error.

use std::collections::BTreeMap;

use fogcore::id::NodeId;
use fogcore::scheduler::Tally;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::fleet::{Fleet, State};

/// A bar per node, and one for all. Hidden unless standard error is a terminal.
#[derive(Debug)]
pub(crate) struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    nodes: BTreeMap<NodeId, ProgressBar>,
    /// What the nodes had done before this run.
    before: BTreeMap<NodeId, Tally>,
}

impl Bars {
    pub(crate) fn new(before: BTreeMap<NodeId, Tally>) -> Self {
        let all = MultiProgress::new();
        let total = all.add(ProgressBar::new(0).with_style(style()).with_prefix("all"));
        Self { all, total, nodes: BTreeMap::new(), before }
    }

    /// Shows how many of the `opened` tasks have ended, and which node did how many.
    pub(crate) fn show(
        &mut self,
        fleet: &Fleet,
        tallies: &BTreeMap<NodeId, Tally>,
        ended: u64,
        opened: u64,
    ) {
        let done = |tallies: &BTreeMap<NodeId, Tally>, node| {
            tallies.get(node).map_or(0, |tally| tally.succeeded)
        };
        for member in &fleet.members {
            let (all, total, node) = (&self.all, &self.total, &member.node);
            let bar = self.nodes.entry(node.clone()).or_insert_with(|| {
                let bar = ProgressBar::new(opened).with_style(style());
                all.insert_before(total, bar.with_prefix(node.to_string()))
            });
            bar.set_length(opened);
            bar.set_position(done(tallies, node).saturating_sub(done(&self.before, node)));
            match member.state {
                State::Working => {}
                State::Killed => bar.abandon_with_message("killed"),
                State::Ended(status) => bar.abandon_with_message(status.to_string()),
            }
        }
        self.total.set_length(opened);
        self.total.set_position(ended);
    }

    /// Says something above the bars.
    pub(crate) fn say(&self, text: &str) {
        self.all.suspend(|| eprintln!("{text}"));
    }

    /// Leaves the bars as they are.
    pub(crate) fn finish(&self) {
        for bar in self.nodes.values().chain([&self.total]) {
            bar.abandon();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:>12} {bar:40} {pos}/{len} {msg}")
        // A template that a test checks.
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_template_is_one() {
        let template = "{prefix:>12} {bar:40} {pos}/{len} {msg}";
        indicatif::ProgressStyle::with_template(template).unwrap();
    }
}
