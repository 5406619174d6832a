//! The library for phones: its Kotlin and Swift sources, their tests, and what calls cost from there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use xshell::{Shell, cmd};

use crate::bench;
use crate::figure::Figure;
use crate::stage::Outcome;
use crate::tools;

const KOTLIN: &str = "bindings-kotlin";
const SWIFT: &str = "bindings-swift";

/// What is downloaded onto a phone: with SQLite inside, stripped.
const MOST_MB: f64 = 6.0;

/// The profile that phones get.
const SMALL: &str = "release-small";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The language
    language: Language,
    /// The profile to build the native library with; `dev` is quicker to build
    #[arg(long, default_value = SMALL)]
    profile: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Into bindings-kotlin/, where Maven finds them
    Kotlin,
    /// Into bindings-swift/, a Swift package
    Swift,
}

/// Builds the native library and writes the sources that belong to it.
pub(crate) fn bindings(sh: &Shell, args: &Args) -> Result<()> {
    let library = build(sh, &args.profile)?;
    // The generator reads symbols that a stripped library has no more; what it says is the same.
    let described = if args.profile == SMALL {
        println!("{}", size(&library)?);
        build(sh, "dev")?
    } else {
        library.clone()
    };
    match args.language {
        Language::Kotlin => {
            let target = Path::new(KOTLIN).join("fogcore/target");
            generate(sh, "kotlin", &described, &target.join("generated-sources/uniffi"))?;
            let (folder, file) = jna_place()?;
            let inside = sh.current_dir().join(&target).join("native").join(folder);
            fs::create_dir_all(&inside)?;
            fs::copy(&library, inside.join(file))
                .context("the library into the jar's resources")?;
        }
        Language::Swift => generate(sh, "swift", &described, Path::new(SWIFT))?,
    }
    Ok(())
}

/// Parts of SQLite that the bundled build has, and no query of ours uses.
const SQLITE_WITHOUT: &str = "-USQLITE_ENABLE_FTS3 -USQLITE_ENABLE_FTS3_PARENTHESIS \
    -USQLITE_ENABLE_FTS5 -USQLITE_ENABLE_RTREE -USQLITE_ENABLE_STAT4 -USQLITE_ENABLE_DBSTAT_VTAB";

/// Without the workspace's other members: they would bring features along that no phone needs.
fn build(sh: &Shell, profile: &str) -> Result<PathBuf> {
    let command = cmd!(sh, "cargo rustc --package fogcore-ffi --lib --profile {profile}")
        // Alone: cargo optimises nothing across crates where an rlib is made as well.
        .args(["--crate-type", "cdylib"]);
    if profile == SMALL {
        // Functions that came out the same are kept once, where the linker is LLVM's.
        let fold = if cfg!(target_os = "linux") { "-C link-arg=-Wl,--icf=all" } else { "" };
        command
            .args(["--features", "silent"])
            .env("LIBSQLITE3_FLAGS", SQLITE_WITHOUT)
            // C is never unwound through.
            .env("CFLAGS", "-fno-asynchronous-unwind-tables")
            .env("RUSTFLAGS", fold)
            .run()?;
    } else {
        command.run()?;
    }
    let folder = if profile == "dev" { "debug" } else { profile };
    let (_, file) = jna_place()?;
    Ok(bench::target_directory(sh, "Cargo.toml")?.join(folder).join(file))
}

/// Where JNA looks for this machine's library inside a jar, and the library's name.
fn jna_place() -> Result<(&'static str, &'static str)> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok(("linux-x86-64", "libfogcore_ffi.so")),
        ("linux", "aarch64") => Ok(("linux-aarch64", "libfogcore_ffi.so")),
        ("macos", "x86_64") => Ok(("darwin-x86-64", "libfogcore_ffi.dylib")),
        ("macos", "aarch64") => Ok(("darwin-aarch64", "libfogcore_ffi.dylib")),
        (os, arch) => anyhow::bail!("no library is made for {os} on {arch}"),
    }
}

fn size(library: &Path) -> Result<Figure> {
    let bytes = fs::metadata(library)?.len();
    let mb = f64::from(u32::try_from(bytes).context("the library is huge")?) / 1e6;
    ensure!(mb <= MOST_MB, "the stripped library has {mb:.2} MB, at most {MOST_MB} are allowed");
    let line = format!("figure ffi.size_mb {mb:.2} MB");
    Figure::from_line(&line).context("a figure")?
}

fn generate(sh: &Shell, language: &str, library: &Path, out: &Path) -> Result<()> {
    let _ = sh.remove_path(out.join("io"));
    cmd!(sh, "cargo run --quiet --package fogcore-bindgen -- {language} {library} {out}").run()?;
    Ok(())
}

/// What Maven needs, or why there is nothing to do here.
fn maven(sh: &Shell) -> Result<PathBuf, Outcome> {
    for tool in [tools::JAVAC, tools::MAVEN] {
        if tool.locate(sh).is_none() {
            return Err(Outcome::Skipped(tool.missing()));
        }
    }
    tools::MAVEN.locate(sh).ok_or_else(|| Outcome::Skipped(tools::MAVEN.missing()))
}

/// The Kotlin tests, then somebody else's project that has nothing but the jar.
pub(crate) fn kotlin_tests(sh: &Shell) -> Result<Outcome> {
    let mvn = match maven(sh) {
        Ok(mvn) => mvn,
        Err(skipped) => return Ok(skipped),
    };
    // Installed, because that is where somebody else's project finds it.
    let profile = "-Dfogcore.profile=dev";
    cmd!(sh, "{mvn} --batch-mode --quiet --file {KOTLIN}/pom.xml {profile} install").run()?;
    bridge(sh)?;
    let hidden = Hidden::new(sh.current_dir().join(KOTLIN).join("fogcore/target"))?;
    cmd!(sh, "{mvn} --batch-mode --quiet --file {KOTLIN}/consumer/pom.xml test").run()?;
    drop(hidden);
    Ok(Outcome::Passed)
}

/// The example: one process is the phone, another one on the same database has work for it.
fn bridge(sh: &Shell) -> Result<()> {
    let class_path = kotlin_class_path(sh, "bridge")?;
    let folder = sh.create_temp_dir()?;
    let database = folder.path().join("fog.db");
    let app = |mode: &str, number: &str| {
        let main = "io.fogcore.bridge.BridgeKt";
        cmd!(sh, "java -cp {class_path} {main} {mode} {database} {number}").quiet()
    };
    let phone = Command::from(app("serve", "60")).stdout(Stdio::null()).spawn()?;
    let phone = Ended(phone);
    app("submit", "20").run().context("the bridge app's tasks were not done")?;
    drop(phone);
    Ok(())
}

/// A process that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that is not there for a while.
struct Hidden {
    folder: PathBuf,
    away: PathBuf,
}

impl Hidden {
    fn new(folder: PathBuf) -> Result<Self> {
        let away = folder.with_extension("hidden");
        fs::rename(&folder, &away).with_context(|| folder.display().to_string())?;
        Ok(Self { folder, away })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Err(error) = fs::rename(&self.away, &self.folder) {
            eprintln!("{} was not brought back: {error}", self.folder.display());
        }
    }
}

/// Measures from Kotlin, with the library that phones get.
pub(crate) fn kotlin_bench(sh: &Shell) -> Result<Vec<Figure>> {
    let mvn = match maven(sh) {
        Ok(mvn) => mvn,
        Err(Outcome::Skipped(why)) => anyhow::bail!(why),
        Err(Outcome::Passed) => return Ok(Vec::new()),
    };
    let library = build(sh, SMALL)?;
    let mut figures = vec![size(&library)?];
    cmd!(sh, "{mvn} --batch-mode --quiet --file {KOTLIN}/pom.xml -DskipTests package")
        .ignore_stdout()
        .run()?;
    let class_path = kotlin_class_path(sh, "bench")?;
    let command = cmd!(sh, "java -cp {class_path} io.fogcore.bench.BenchKt");
    eprintln!("$ java io.fogcore.bench.BenchKt");
    figures.extend(bench::printed_figures(command.into())?);
    Ok(figures)
}

/// What a module was packaged into, and all that it depends on.
fn kotlin_class_path(sh: &Shell, module: &str) -> Result<String> {
    let target = sh.current_dir().join(KOTLIN).join(module).join("target");
    let others = sh.read_file(target.join("class-path"))?;
    Ok(format!("{}:{}", target.join("classes").display(), others.trim()))
}

/// The Swift sources are generated, and everything that they and the wrapper promise is there. No
/// Swift compiler looks at them here.
pub(crate) fn swift_text(sh: &Shell) -> Result<Outcome> {
    bindings(sh, &Args { language: Language::Swift, profile: "dev".to_owned() })?;
    let read = |path: &str| sh.read_file(Path::new(SWIFT).join(path)).map_err(anyhow::Error::from);
    let generated = read("Sources/Fogcore/Fogcore.swift")?;
    let mut by_hand = String::new();
    for file in sh.read_dir(Path::new(SWIFT).join("Sources/Fogcore"))? {
        if !file.ends_with("Fogcore.swift") {
            by_hand += &sh.read_file(file)?;
        }
    }
    ensure!(
        read("include/module.modulemap")?.contains("fogcoreFFI.h"),
        "the module map does not name the header"
    );
    let mut missing = Vec::new();
    for name in public_types(sh)? {
        let swift_name = swift_name(&name);
        if !declares(&generated, &swift_name) && !declares(&by_hand, &swift_name) {
            missing.push(swift_name);
        }
    }
    ensure!(missing.is_empty(), "not in the Swift sources: {}", missing.join(", "));
    Ok(Outcome::Passed)
}

/// The types that fogcore-ffi gives away, from what its root says.
fn public_types(sh: &Shell) -> Result<Vec<String>> {
    let root = sh.read_file("fogcore-ffi/src/lib.rs")?;
    let (_, names) = root.split_once("pub use self::{").context("fogcore-ffi exports nothing")?;
    let (names, _) = names.split_once("\n};").context("the list of exports does not end")?;
    let words = names.split(|c: char| !c.is_alphanumeric() && c != '_');
    let types = words.filter(|word| word.starts_with(char::is_uppercase)).map(str::to_owned);
    let types: Vec<_> = types.collect();
    ensure!(types.len() > 30, "only {} types are found in the list of exports", types.len());
    Ok(types)
}

/// What fogcore-ffi/uniffi.toml makes of a name.
fn swift_name(name: &str) -> String {
    match name {
        "Fog" => "FogHandle".to_owned(),
        "Worker" => "WorkerHandle".to_owned(),
        "Job" => "JobRecord".to_owned(),
        "Task" => "FogTask".to_owned(),
        other => other.to_owned(),
    }
}

fn declares(text: &str, name: &str) -> bool {
    let kinds = ["class", "struct", "enum", "protocol", "typealias", "actor"];
    kinds.iter().any(|kind| {
        text.match_indices(&format!("{kind} {name}")).any(|(at, found)| {
            let after = text[at + found.len()..].chars().next();
            !after.is_some_and(|next| next.is_alphanumeric() || next == '_')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_is_found_by_its_whole_name() {
        let text = "public struct NodeStatus: Equatable {\nopen class Fog {\ntypealias Span = X";
        assert!(declares(text, "NodeStatus"));
        assert!(declares(text, "Fog"));
        assert!(declares(text, "Span"));
        assert!(!declares(text, "Node"));
        assert!(!declares(text, "Equatable"));
    }

    #[test]
    fn a_hidden_folder_comes_back() {
        let sh = Shell::new().unwrap();
        let home = sh.create_temp_dir().unwrap();
        let folder = home.path().join("target");
        sh.write_file(folder.join("file"), "").unwrap();
        let hidden = Hidden::new(folder.clone()).unwrap();
        assert!(!folder.exists());
        drop(hidden);
        assert!(folder.join("file").exists());
    }
}
