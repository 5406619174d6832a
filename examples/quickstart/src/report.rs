//! The end of a run: tables for people, one JSON object for programs.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use fogcore::amount::Asset;
use fogcore::scheduler::Tally;
use serde::Serialize;

use crate::run::Facts;
use crate::shapes::Shape;
use crate::shown;
use crate::summary::{Summary, decimal, imbalance};

/// The JSON object. Money is a decimal string, because no float holds a tenth.
#[derive(Debug, Serialize)]
struct Json<'a> {
    tasks: usize,
    succeeded: usize,
    failed: Vec<JsonFailure>,
    retried: usize,
    killed: usize,
    victim: Option<&'a str>,
    /// How many tasks the victim held when it was killed.
    victim_held: usize,
    paid: String,
    /// Debits less credits over all accounts.
    trial_balance: String,
    /// The file with the list; none if it could not be written.
    digests: Option<String>,
    database: Option<String>,
    seed: u64,
    nodes: Vec<JsonNode<'a>>,
}

#[derive(Debug, Serialize)]
struct JsonFailure {
    path: String,
    error: String,
}

#[derive(Debug, Serialize)]
struct JsonNode<'a> {
    node: &'a str,
    kind: Option<Shape>,
    tasks: u64,
    retries: u64,
    busy_seconds: f64,
    earned: String,
    killed: bool,
}

/// Attempts that another one had to make good.
fn retries(tally: &Tally) -> u64 {
    tally.lost + tally.failed
}

/// Writes the JSON object and nothing else.
pub(crate) fn json(summary: &Summary, facts: &Facts, digests: Option<&Path>) -> Result<()> {
    let victim = facts.killed.as_ref().map(|killed| &killed.node);
    let nodes = summary.tallies.iter().map(|(node, tally)| JsonNode {
        node: node.as_str(),
        kind: Shape::by_name(node),
        tasks: tally.succeeded,
        retries: retries(tally),
        busy_seconds: tally.busy.as_secs_f64(),
        earned: decimal(tally.earned),
        killed: victim == Some(node),
    });
    let failed = summary
        .failed
        .iter()
        .map(|(path, error)| JsonFailure { path: shown(path), error: error.clone() });
    let object = Json {
        tasks: summary.digests.len() + summary.failed.len(),
        succeeded: summary.digests.len(),
        failed: failed.collect(),
        retried: summary.retried,
        killed: usize::from(victim.is_some()),
        victim: victim.map(|node| node.as_str()),
        victim_held: facts.killed.as_ref().map_or(0, |killed| killed.held),
        paid: decimal(summary.paid),
        trial_balance: imbalance(&summary.trial_balance),
        digests: digests.map(shown),
        database: facts.database.as_deref().map(shown),
        seed: facts.seed,
        nodes: nodes.collect(),
    };
    print(&serde_json::to_string_pretty(&object)?)
}

/// Writes everything for people.
pub(crate) fn text(summary: &Summary, facts: &Facts, digests: Option<&Path>) -> Result<()> {
    let mut parts = vec![nodes_table(summary, facts)];
    parts.push(totals(summary, facts));
    if !summary.failed.is_empty() {
        let failed = summary.failed.iter();
        let lines = failed.map(|(path, reason)| format!("  {}: {reason}", shown(path)));
        parts.push(format!("Not done:\n{}", lines.collect::<Vec<_>>().join("\n")));
    }
    if !summary.samples.is_empty() {
        let samples = summary.samples.iter().map(|sample| {
            let tried = match sample.attempts {
                0 | 1 => String::new(),
                attempts => format!(" (attempt {attempts})"),
            };
            format!("{}{tried}:\n{}", shown(&sample.path), sample.explanation)
        });
        let samples = samples.collect::<Vec<_>>().join("\n\n");
        parts.push(format!("Why the scheduler chose as it did:\n\n{samples}"));
    }
    parts.push(format!("The ledger's trial balance:\n{}", books_table(summary)));
    if let Some(digests) = digests {
        parts.push(format!("Digests: {}", shown(digests)));
    }
    if let Some(database) = &facts.database {
        parts.push(format!("Database: {}", shown(database)));
    }
    print(&parts.join("\n\n"))
}

fn nodes_table(summary: &Summary, facts: &Facts) -> String {
    let mut table = new_table(["node", "kind", "tasks", "retries", "busy", "earned FOG"], 2);
    for (node, tally) in &summary.tallies {
        let killed = facts.killed.as_ref().is_some_and(|k| k.node == *node);
        table.add_row([
            format!("{node}{}", if killed { " (killed)" } else { "" }),
            Shape::by_name(node).map_or_else(|| "?".to_owned(), |shape| shape.to_string()),
            tally.succeeded.to_string(),
            retries(tally).to_string(),
            format!("{:.3} s", tally.busy.as_secs_f64()),
            decimal(tally.earned),
        ]);
    }
    table.to_string()
}

fn totals(summary: &Summary, facts: &Facts) -> String {
    let sum = |part: fn(&crate::digest::Digest) -> u64| -> u64 {
        summary.digests.iter().map(|(_, digest)| part(digest)).sum()
    };
    let (bytes, lines, words) = (sum(|d| d.bytes), sum(|d| d.lines), sum(|d| d.words));
    let (done, failed) = (summary.digests.len(), summary.failed.len());
    let killed = match &facts.killed {
        Some(killed) => format!(
            "{} was killed with {} tasks in its hands, {} tasks were tried again",
            killed.node, killed.held, summary.retried
        ),
        None => format!("nobody was killed, {} tasks were tried again", summary.retried),
    };
    format!(
        "{done} of {} files: {bytes} bytes, {lines} lines, {words} words\n{killed} (seed {})",
        done + failed,
        facts.seed
    )
}

fn books_table(summary: &Summary) -> String {
    let header = ["asset", "accounts", "debits", "credits", "reserved", "difference"];
    let mut table = new_table(header, 1);
    for sums in &summary.trial_balance.assets {
        // Only FOG moves in this fog, so that every amount has its decimals.
        table.add_row([
            sums.asset.code().to_owned(),
            sums.accounts.to_string(),
            decimal(sums.debits_posted.clone()),
            decimal(sums.credits_posted.clone()),
            decimal(sums.debits_pending.clone()),
            imbalance(&summary.trial_balance),
        ]);
    }
    let verdict = if summary.trial_balance.is_balanced() { "balanced" } else { "NOT BALANCED" };
    let paid = Asset::FOG.display(summary.paid);
    format!("{table}\n{verdict}; {paid} were paid to the owners")
}

/// A table whose columns from `numbers` on are right-aligned.
fn new_table<const N: usize>(header: [&str; N], numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(header);
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Writes to standard output, unless nobody reads it any more.
fn print(text: &str) -> Result<()> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}
