//! The journal as hledger and beancount see it: the real tools read it, add it up, and find the
//! balances that the ledger has.
//!
//! Where the tools are missing, so is the proof: `cargo xtask test` sets `FOGCORE_REQUIRE_TOOLS`,
//! and then a missing tool is a failure.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::env;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use fogcore::Fog;
use fogcore::amount::{Amount, Asset};
use fogcore::id::AccountId;
use fogcore::ledger::economy::accounts::REWARDS;
use fogcore::ledger::export::{Export, Format};
use fogcore::ledger::{Account, Book, JournalEntry, Place, Purpose, Transfer};
use fogcore::time::{ManualClock, Timestamp};

/// The tool, if there is one: the one that `variable` names, or along `PATH`.
fn tool(variable: &str, name: &str, version: &str) -> Option<String> {
    let program = env::var(variable).unwrap_or_else(|_| name.to_owned());
    let runs = Command::new(&program).arg(version).output().is_ok();
    if !runs && env::var_os("FOGCORE_REQUIRE_TOOLS").is_some() {
        panic!("{name} is not installed, and has to be");
    }
    if !runs {
        eprintln!("{name} is not installed: the file is not checked");
    }
    runs.then_some(program)
}

fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C.UTF-8").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Has the tool check the file.
fn check(format: Format, text: &str) -> Option<(bool, String)> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    Some(match format {
        Format::Hledger => {
            let hledger = tool("FOGCORE_HLEDGER", "hledger", "--version")?;
            run(&hledger, &["-f", path, "check", "accounts", "assertions"])
        }
        Format::Beancount => {
            let checker = tool("FOGCORE_BEAN_CHECK", "bean-check", "--version")?;
            run(&checker, &["--no-cache", path])
        }
    })
}

const FORMATS: [Format; 2] = [Format::Hledger, Format::Beancount];

fn name(text: &str) -> AccountId {
    text.parse().unwrap()
}

/// A fog in which something of everything happened.
async fn lived_in() -> (Fog, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at("2026-01-01T23:59:59Z".parse().unwrap()));
    let fog = Fog::builder().clock(clock.clone()).without_loops().open().await.unwrap();
    let (economy, ledger) = (fog.economy(), fog.ledger());
    let fogs = |text| Asset::FOG.parse(text).unwrap();
    let alice = name("alice");
    economy.mint(ledger.new_id(), &alice, fogs("5000.000000000000000001")).await.unwrap();
    economy.mint(ledger.new_id(), &name(REWARDS), fogs("100")).await.unwrap();
    economy.stake(ledger.new_id(), &alice, fogs("1500")).await.unwrap();
    clock.advance(std::time::Duration::from_secs(1));
    economy.unstake(ledger.new_id(), &alice, fogs("250.5")).await.unwrap();
    economy.burn(ledger.new_id(), &alice, fogs("0.000000000000000001")).await.unwrap();
    // Names that would be something else in these files.
    for (place, text) in
        ["(a)", "[b];c:d", "\"e\\", "=1", "*", "!", "ü:雪", "-", "2026-01-01", "a,b:c", "A{1}@@#"]
            .into_iter()
            .enumerate()
    {
        let amount = Amount::from_base_units(u128::try_from(place).unwrap() * 7 + 1);
        economy.mint(ledger.new_id(), &name(text), amount).await.unwrap();
        let back =
            Transfer::direct(ledger.new_id(), &name(text), &alice, amount, Purpose::Transfer);
        ledger.transfer(back).await.unwrap();
    }
    let gpu = Asset::new("gpu", 0).unwrap();
    for id in ["gpus", "gamer"] {
        ledger.open_account(Account::new(name(id), gpu.clone())).await.unwrap();
    }
    let hold = ledger.new_id();
    let units = Amount::from_base_units;
    let all = vec![
        Transfer::hold(hold, &name("gpus"), &name("gamer"), units(9), Purpose::Transfer),
        Transfer::post(ledger.new_id(), hold, units(4), Purpose::Transfer),
        Transfer::hold(ledger.new_id(), &name("gpus"), &name("gamer"), units(2), Purpose::Transfer),
    ];
    for answer in ledger.transfer_all(all).await.unwrap() {
        answer.unwrap();
    }
    (fog, clock)
}

async fn exported(fog: &Fog, format: Format) -> String {
    let mut out = Vec::new();
    fog.ledger().export(format, &mut out).await.unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn the_real_tools_find_the_balances_that_the_ledger_has() {
    let (fog, _clock) = lived_in().await;
    for format in FORMATS {
        let text = exported(&fog, format).await;
        let Some((well, said)) = check(format, &text) else { continue };
        assert!(well, "{format:?}: {said}\n{text}");
    }
}

#[tokio::test]
async fn the_real_tools_notice_a_balance_that_is_wrong() {
    let (fog, _clock) = lived_in().await;
    for format in FORMATS {
        let text = exported(&fog, format).await;
        let (true_one, wrong) = match format {
            Format::Hledger => ("= -4 \"gpu\"", "= -5 \"gpu\""),
            Format::Beancount => ("-4 ~ 0 X-GPU", "-5 ~ 0 X-GPU"),
        };
        assert!(text.contains(true_one), "{text}");
        let spoiled = text.replacen(true_one, wrong, 1);
        let Some((well, said)) = check(format, &spoiled) else { continue };
        assert!(!well && said.to_lowercase().contains("balance"), "{format:?}: {said}");
        // An amount that is a base unit off.
        let off = text.replacen("5000.000000000000000001", "5000.000000000000000002", 1);
        let (well, said) = check(format, &off).unwrap();
        assert!(!well && said.to_lowercase().contains("balance"), "{format:?}: {said}");
    }
}

#[test]
fn the_largest_amounts_are_told_and_checked() {
    let now: Timestamp = "2026-01-31T10:00:00Z".parse().unwrap();
    let mut book = Book::default();
    let [a, b]: [AccountId; 2] = ["a", "b"].map(name);
    for id in [&a, &b] {
        book.open(Account::new(id.clone(), Asset::FOG), now).unwrap();
    }
    let mut entries = Vec::new();
    for (number, units) in [1 << 127, (1 << 126) + 1, 12_345].into_iter().enumerate() {
        let id = fogcore::id::TransferId::derive(&[u8::try_from(number).unwrap()], "large");
        let amount = Amount::from_base_units(units);
        let transfer = Transfer::direct(id, &a, &b, amount, Purpose::Transfer);
        let posted = book.apply(&transfer, now).unwrap().clone();
        let place = Place::from_number(u64::try_from(number).unwrap());
        entries.push(JournalEntry { place, posted });
    }
    for format in FORMATS {
        let mut export = Export::new(format);
        let mut text = export.open(book.accounts(None));
        for entry in &entries {
            text += &export.entry(entry).unwrap();
        }
        let accounts: Vec<_> = book.accounts(None).cloned().collect();
        text += &export.close(&accounts);
        let Some((well, said)) = check(format, &text) else { continue };
        assert!(well, "{format:?}: {said}\n{text}");
    }
}
