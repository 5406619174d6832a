//! The project's own commands, the same on a laptop and in CI: `cargo xtask --help`.
//!
//! They are Rust rather than shell so that they run wherever the library builds, and so that the
//! reading of benchmark results can be tested.
#![allow(clippy::print_stdout, reason = "a command line tool talks on stdout")]

mod bench;
mod figure;
mod lint;
mod mobile;
mod postgres;
mod python;
mod server;
mod stage;
mod test;
mod tools;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use xshell::Shell;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // Returned from `main`, it could come with a backtrace of xtask itself: no help to anyone.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "The project's own commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check: the lint stages, then the tests
    Test(stage::Args),
    /// Run the checks that execute no test: format, clippy, docs, dependencies
    Lint(stage::Args),
    /// Run one benchmark and print its figures, one per line
    Bench(bench::Args),
    /// Build the native library and write the Kotlin or Swift sources that belong to it
    Bindings(mobile::Args),
    /// Build a Python wheel for Linux, and check which systems it runs on
    Wheels,
}

fn run(command: Command) -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(workspace_root()?);
    match command {
        Command::Test(args) => test::run(&sh, &args),
        Command::Lint(args) => lint::run(&sh, &args),
        Command::Bench(args) => bench::run(&sh, &args),
        Command::Bindings(args) => mobile::bindings(&sh, &args),
        Command::Wheels => python::wheels(&sh),
    }
}

/// Cargo names the package it runs in the environment. Asking at run time, not with `env!`, keeps a
/// build folder shared by two checkouts from sending one checkout's commands into the other.
fn workspace_root() -> Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask …`")?;
    let mut root = PathBuf::from(package);
    root.pop();
    Ok(root)
}
