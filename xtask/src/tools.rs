//! Programs that cargo does not build for us and that a machine may lack.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use xshell::{Shell, cmd};

pub(crate) const CARGO_DENY: Tool =
    Tool { name: "cargo-deny", install: "cargo install cargo-deny --locked" };

pub(crate) const HLEDGER: Tool = Tool { name: "hledger", install: "apt-get install hledger" };
pub(crate) const BEAN_CHECK: Tool =
    Tool { name: "bean-check", install: "apt-get install beancount" };

pub(crate) const PYTHON: Tool = Tool { name: "python3", install: "apt-get install python3-venv" };
pub(crate) const NODE: Tool = Tool { name: "node", install: "apt-get install nodejs" };
pub(crate) const NPM: Tool = Tool { name: "npm", install: "apt-get install npm" };
pub(crate) const JAVAC: Tool =
    Tool { name: "javac", install: "a JDK, 17 or newer: apt-get install openjdk-17-jdk-headless" };
pub(crate) const MAVEN: Tool = Tool { name: "mvn", install: "apt-get install maven" };

/// An outside program, and the line that installs it.
pub(crate) struct Tool {
    name: &'static str,
    install: &'static str,
}

impl Tool {
    /// Looks in `$FOGCORE_TOOLS/bin`, then along `PATH`: the project's folder holds the version
    /// that was chosen, `PATH` whatever the machine happens to have.
    pub(crate) fn locate(&self, sh: &Shell) -> Option<PathBuf> {
        let file = format!("{}{}", self.name, env::consts::EXE_SUFFIX);
        find(&file, sh.var_os("FOGCORE_TOOLS"), sh.var_os("PATH"))
    }

    /// What to tell the user when [`Tool::locate`] finds nothing.
    pub(crate) fn missing(&self) -> String {
        format!("{} is not installed – {}", self.name, self.install)
    }
}

/// Installs Debian's packages, on a machine that is ours to change: as root, where there is apt.
/// Whether that worked shows when the tools are looked for.
pub(crate) fn install_packages(sh: &Shell, packages: &[&str]) {
    let is_root = cmd!(sh, "id -u").quiet().read().is_ok_and(|id| id == "0");
    if !is_root || find("apt-get", None, sh.var_os("PATH")).is_none() {
        return;
    }
    // Offline, the lists that are there may do.
    let _ = cmd!(sh, "apt-get update --quiet").quiet().run();
    let _ = cmd!(sh, "apt-get install --yes --quiet --no-install-recommends {packages...}")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run();
}

fn find(file: &str, tools: Option<OsString>, path: Option<OsString>) -> Option<PathBuf> {
    let tools = tools.map(|folder| Path::new(&folder).join("bin"));
    let path = path.unwrap_or_default();
    let mut candidates = tools.into_iter().chain(env::split_paths(&path));
    candidates.find_map(|folder| Some(folder.join(file)).filter(|program| program.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_found_in_the_tools_folder_before_the_path() {
        let sh = Shell::new().unwrap();
        let (tools, path) = (sh.create_temp_dir().unwrap(), sh.create_temp_dir().unwrap());
        sh.write_file(tools.path().join("bin/saw"), "").unwrap();
        sh.write_file(path.path().join("saw"), "").unwrap();
        sh.write_file(path.path().join("awl"), "").unwrap();
        let look = |file| find(file, Some(tools.path().into()), Some(path.path().into()));

        assert_eq!(look("saw"), Some(tools.path().join("bin/saw")));
        assert_eq!(look("awl"), Some(path.path().join("awl")));
        assert_eq!(look("axe"), None);
    }

    #[test]
    fn without_a_tools_folder_and_a_path_nothing_is_found() {
        assert_eq!(find("saw", None, None), None);
    }
}
