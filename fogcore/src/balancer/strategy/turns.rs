//! Strategies that look at no load: each in its turn, or any.

use super::{Candidate, Draw, Request, Strategy, View};

/// Each node in its turn; one that should get less is passed over by chance.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin;

impl Strategy for RoundRobin {
    fn name(&self) -> &str {
        "RoundRobin"
    }

    fn reason(&self) -> &str {
        "next_in_turn"
    }

    fn choose<'t>(
        &self,
        view: &View<'t>,
        _: &Request,
        draw: &mut Draw<'_>,
    ) -> Option<Candidate<'t>> {
        noted(view.next(draw), view, draw)
    }
}

/// Each node as often as its weight says, its turns as evenly spread as can be.
///
/// Nginx's smooth round robin has the same aim and looks at every node for each pick. Here the
/// place of a turn follows from its number: a Sturmian word divides the turns between classes of
/// similar weight, and strides within a class (as in gRPC's static stride scheduler) leave out what
/// a node's weight falls short of the largest one.
#[derive(Clone, Copy, Debug, Default)]
pub struct WeightedRoundRobin;

impl Strategy for WeightedRoundRobin {
    fn name(&self) -> &str {
        "WeightedRoundRobin"
    }

    fn reason(&self) -> &str {
        "weighted_turn"
    }

    fn choose<'t>(
        &self,
        view: &View<'t>,
        _: &Request,
        draw: &mut Draw<'_>,
    ) -> Option<Candidate<'t>> {
        noted(view.next_smoothly(draw), view, draw)
    }
}

/// Any node, by weight.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Strategy for Random {
    fn name(&self) -> &str {
        "Random"
    }

    fn reason(&self) -> &str {
        "random"
    }

    fn choose<'t>(
        &self,
        view: &View<'t>,
        _: &Request,
        draw: &mut Draw<'_>,
    ) -> Option<Candidate<'t>> {
        noted(view.any(draw), view, draw)
    }
}

/// For an explanation: it was weighed, and cost nothing.
#[inline]
fn noted<'t>(
    candidate: Option<Candidate<'t>>,
    view: &View<'t>,
    draw: &mut Draw<'_>,
) -> Option<Candidate<'t>> {
    let candidate = candidate?;
    draw.note(view, candidate, 0.0);
    Some(candidate)
}
