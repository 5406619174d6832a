//! Writes the Kotlin and Swift sources for fogcore-ffi from the built library.
//!
//! A crate of its own, so that the generator and its parsers are not in the library that goes onto
//! phones. `cargo xtask bindings` builds both, and calls it.
#![allow(clippy::print_stdout, reason = "a command line tool talks on stdout")]

use std::fs;

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use clap::{Parser, ValueEnum};
use uniffi::{GenerateOptions, SwiftBindingsOptions, TargetLanguage};

#[derive(Parser)]
#[command(about = "Writes the Kotlin or Swift sources for fogcore-ffi")]
struct Args {
    /// The language
    language: Language,
    /// The built library: libfogcore_ffi.so, .dylib or .a
    library: Utf8PathBuf,
    /// The folder to write to
    out: Utf8PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Language {
    Kotlin,
    Swift,
}

fn main() -> Result<()> {
    let Args { language, library, out } = Args::parse();
    ensure!(library.is_file(), "there is no library at {library}: build fogcore-ffi first");
    match language {
        Language::Kotlin => kotlin(&library, &out),
        Language::Swift => swift(&library, &out),
    }
}

fn kotlin(library: &Utf8Path, out: &Utf8Path) -> Result<()> {
    uniffi::generate(GenerateOptions {
        languages: vec![TargetLanguage::Kotlin],
        source: library.to_owned(),
        out_dir: out.to_owned(),
        ..GenerateOptions::default()
    })?;
    let file = out.join("io/fogcore/fogcore.kt");
    let text = fs::read_to_string(&file).with_context(|| file.to_string())?;
    fs::write(&file, changed(&text)?)?;
    println!("{file}");
    Ok(())
}

/// What is changed in the generated Kotlin: what is there, what it becomes.
const CHANGES: [(&str, &str); 2] = [
    // It stands beside what was written by hand, which is compiled in explicit API mode with warnings
    // as errors; what was generated leaves no warning in.
    ("@file:Suppress(\"NAME_SHADOWING\")", "@file:Suppress(\"warnings\")"),
    // JNA makes the status of each call anew, and copies it there and back, by reflection: that costs
    // more than the call. A thread keeps those that it made, which are zero after a call that went
    // well, and one is read only if it says that there is something to read.
    (
        "    var status = UniffiRustCallStatus()
    val return_value = callback(status)
    uniffiCheckCallStatus(errorHandler, status)
    return return_value
}
",
        "    val kept = uniffiKeptStatus.get()
    val status = kept.pollLast() ?: UniffiRustCallStatus().apply { setAutoSynch(false) }
    val return_value = callback(status)
    if (status.pointer.getByte(0) == UNIFFI_CALL_SUCCESS) {
        kept.addLast(status)
        return return_value
    }
    status.read()
    uniffiCheckCallStatus(errorHandler, status)
    return return_value
}

private val uniffiKeptStatus: ThreadLocal<java.util.ArrayDeque<UniffiRustCallStatus>> =
    ThreadLocal.withInitial { java.util.ArrayDeque() }
",
    ),
];

fn changed(text: &str) -> Result<String> {
    CHANGES.iter().try_fold(text.to_owned(), |text, (from, to)| {
        let found = text.matches(from).count();
        ensure!(found == 1, "the generated Kotlin has {found} times, and not once: {from}");
        Ok(text.replace(from, to))
    })
}

/// The layout of the Swift package: the source beside the wrapper, the C header and its module map
/// where the XCFramework's script finds them.
fn swift(library: &Utf8Path, package: &Utf8Path) -> Result<()> {
    let (sources, headers) = (package.join("Sources/Fogcore"), package.join("include"));
    let options = |out_dir: &Utf8Path, is_source: bool| SwiftBindingsOptions {
        generate_swift_sources: is_source,
        generate_headers: !is_source,
        generate_modulemap: !is_source,
        source: library.to_owned(),
        out_dir: out_dir.to_owned(),
        xcframework: false,
        module_name: Some("fogcoreFFI".to_owned()),
        modulemap_filename: Some("module.modulemap".to_owned()),
        metadata_no_deps: false,
        link_frameworks: Vec::new(),
        config: None,
    };
    uniffi::generate_swift_bindings(options(&sources, true))?;
    uniffi::generate_swift_bindings(options(&headers, false))?;
    println!("{sources}\n{headers}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_made_once_or_refused() {
        let text: String = CHANGES.iter().map(|(from, _)| *from).collect();
        let made: String = CHANGES.iter().map(|(_, to)| *to).collect();
        assert_eq!(changed(&text).unwrap(), made);
        assert!(changed("").is_err());
        assert!(changed(&text.repeat(2)).is_err());
    }
}
