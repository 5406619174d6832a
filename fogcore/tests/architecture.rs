//! The layering rule of ARCHITECTURE.md, checked against the sources: a module uses only what
//! stands above it in [`LAYERS`].
//!
//! The reader is a small one: it knows comments, texts and paths, and nothing of types. What it
//! cannot follow (`crate::*`, `use crate as …`) it refuses.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its input should fail")]

use std::fs;
use std::path::Path;

/// The modules from the ground up. Those of one layer may use each other.
const LAYERS: &[&[&str]] = &[
    &["id", "time", "error", "amount", "event"],
    &["registry"],
    &["ledger"],
    &["failover"],
    &["balancer"],
    &["scheduler"],
    &["signaling"],
    &["p2p"],
    // Knows all the ports; only `fog` knows it.
    &["storage"],
    &["fog"],
];

/// What `lib.rs` re-exports, or a macro puts at the root, and the module that it belongs to.
const AT_THE_ROOT: &[(&str, &str)] = &[
    ("Error", "error"),
    ("ErrorKind", "error"),
    ("Result", "error"),
    ("Fog", "fog"),
    ("FogConfig", "fog"),
    ("conformance_suite", "storage"),
];

/// The house's guide is 400 lines. A guide that fails the build at line 401 makes people cut a
/// file in a bad place to get a fix in; at 450 it is no longer an accident.
const MAX_LINES: usize = 450;

/// Files that are longer, and how long they may be. A file that got shorter leaves this list.
const LONGER: &[(&str, usize)] = &[];

#[test]
fn every_arrow_points_up() {
    let wrong: Vec<_> =
        sources().iter().flat_map(|(path, text)| wrong_arrows(path, text)).collect();
    assert!(wrong.is_empty(), "see ARCHITECTURE.md, layering:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !opens_with_a_purpose(text))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "these files do not open with `//! …`: {silent:?}");
}

#[test]
fn no_file_is_too_long() {
    let wrong: Vec<_> = sources()
        .iter()
        .filter(|(path, _)| !is_all_tests(path))
        .filter_map(|(path, text)| wrong_length(path, text, LONGER))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Guards the other tests against a reader that finds nothing and is content.
#[test]
fn arrows_known_to_be_there_are_seen() {
    let sources = sources();
    let uses = |path: &str, module: &str| {
        let (_, text) = sources.iter().find(|(found, _)| found == path).unwrap();
        references(text, depth(path)).iter().any(|(_, name)| name == module)
    };
    assert!(uses("fog/mod.rs", "storage"));
    assert!(uses("scheduler/settlement.rs", "ledger"));
    assert!(uses("storage/conformance/mod.rs", "conformance_suite"), "`$crate::` in a macro");
    assert!(!uses("error.rs", "ledger"), "only its documentation links there");
}

/// Every source file of the crate: its path below `src`, with `/`, and its text.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(&root).unwrap();
                let name = below.to_str().unwrap().replace(std::path::MAIN_SEPARATOR, "/");
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// What is wrong with the arrows of one file.
fn wrong_arrows(path: &str, text: &str) -> Vec<String> {
    if path == "lib.rs" || is_all_tests(path) {
        return Vec::new();
    }
    let user = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
    let Some(own) = layer(user) else {
        return vec![format!("{path}: the module `{user}` has no room: give it one in LAYERS")];
    };
    let complaint = |(line, name): (usize, String)| {
        let at_root = AT_THE_ROOT.iter().find(|(item, _)| *item == name);
        let used = at_root.map_or(name.as_str(), |(_, module)| module);
        match layer(used) {
            None => Some(format!("{path}:{line}: `crate::{name}` has no room")),
            Some(theirs) if theirs > own => {
                Some(format!("{path}:{line}: `{user}` uses `{used}`, which stands below it"))
            }
            Some(_) => None,
        }
    };
    references(text, depth(path)).into_iter().filter_map(complaint).collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// How many modules deep the file's module is below the root.
fn depth(path: &str) -> usize {
    path.trim_end_matches("/mod.rs").split('/').count()
}

/// A file of tests alone is what follows a `#[cfg(test)]` elsewhere.
fn is_all_tests(path: &str) -> bool {
    path.ends_with("/tests.rs")
}

fn opens_with_a_purpose(text: &str) -> bool {
    text.lines().next().is_some_and(|line| line.starts_with("//! "))
}

fn wrong_length(path: &str, text: &str, longer: &[(&str, usize)]) -> Option<String> {
    let lines = without_tests(text).lines().count();
    let exception = longer.iter().find(|(file, _)| *file == path);
    let most = exception.map_or(MAX_LINES, |(_, most)| *most);
    if lines > most {
        return Some(format!("{path} has {lines} lines before its tests, at most {most} may be"));
    }
    (exception.is_some() && lines <= MAX_LINES)
        .then(|| format!("{path} has only {lines} lines now: take it off the list of longer ones"))
}

/// The items of the crate's root that a file's code names, each with its line: after `crate::`,
/// first in a group, or after as many `super::` as lead to the root.
fn references(text: &str, depth: usize) -> Vec<(usize, String)> {
    let code = without_comments_and_texts(without_tests(text));
    let tokens = tokens(&code);
    let word = |at: usize| tokens.get(at).map_or("", |(_, token)| *token);
    let mut found = Vec::new();
    for (at, (_, token)) in tokens.iter().enumerate() {
        let begin = match (*token, word(at + 1)) {
            ("crate", "::") => at + 2,
            // Under another name we could not follow it: `crate` itself is in no layer.
            ("crate", "as") => at,
            ("super", "::") if at < 2 || word(at - 2) != "super" => {
                let mut end = at;
                while word(end) == "super" && word(end + 1) == "::" {
                    end += 2;
                }
                if (end - at) / 2 < depth {
                    continue;
                }
                end
            }
            _ => continue,
        };
        found.extend(first_names(begin, word).into_iter().filter_map(|at| {
            let (line, name) = tokens.get(at)?;
            Some((*line, (*name).to_owned()))
        }));
    }
    found
}

/// Where the first names of the path or group of paths stand that begins at `begin`.
fn first_names<'a>(begin: usize, word: impl Fn(usize) -> &'a str) -> Vec<usize> {
    if word(begin) != "{" {
        return vec![begin];
    }
    let mut names = Vec::new();
    let mut nesting = 0_usize;
    for at in begin.. {
        match word(at) {
            "{" => nesting += 1,
            "}" => nesting -= 1,
            "" => break,
            _ => {}
        }
        if nesting == 0 {
            break;
        }
        if nesting == 1 && matches!(word(at), "{" | ",") && word(at + 1) != "}" {
            names.push(at + 1);
        }
    }
    names
}

/// Words, `::` and single characters, each with its line from 1.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    for (number, line) in (1..).zip(code.lines()) {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if rest.starts_with("::") {
                2
            } else if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            let (token, after) = rest.split_at(length);
            tokens.push((number, token));
            rest = after.trim_start();
        }
    }
    tokens
}

/// What stands before the module of tests. `#[cfg(test)]` on anything else does not hide what
/// follows.
fn without_tests(text: &str) -> &str {
    let mut begin = 0;
    for line in text.split_inclusive('\n') {
        let end = begin + line.len();
        let mut after = text[end..].lines().skip_while(|line| line.starts_with("#["));
        if line.trim_end() == "#[cfg(test)]" && after.next().is_some_and(|l| l.starts_with("mod "))
        {
            return &text[..begin];
        }
        begin = end;
    }
    text
}

/// The code with a space for each comment, text and character, on the same lines.
fn without_comments_and_texts(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match skipped(rest, &code) {
            Some(length) => {
                code.push(' ');
                code.extend(rest[..length].chars().filter(|c| *c == '\n'));
                length
            }
            None => {
                code.push(first);
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    code
}

/// The length of the comment, text or character that `rest` begins with, if it does.
fn skipped(rest: &str, before: &str) -> Option<usize> {
    let until = |from: usize, close: &str| {
        rest[from..].find(close).map_or(rest.len(), |at| from + at + close.len())
    };
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    if rest.starts_with('"') {
        let prefix = before.trim_end_matches('#');
        let hashes = "#".repeat(before.len() - prefix.len());
        return Some(match prefix.ends_with('r') {
            true => until(1, &format!("\"{hashes}")),
            false => plain_text(rest),
        });
    }
    let mut characters = rest.strip_prefix('\'')?.chars();
    match (characters.next()?, characters.next()?) {
        ('\\', _) => Some(until(3, "'")),
        (character, '\'') => Some(character.len_utf8() + 2),
        _ => None, // a lifetime
    }
}

fn block_comment(rest: &str) -> usize {
    let (mut nesting, mut at) = (0_usize, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (nesting, at) = (nesting + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (nesting, at) = (nesting - 1, at + 2);
            if nesting == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn plain_text(rest: &str) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            _ => escaped = character == '\\' && !escaped,
        }
    }
    rest.len()
}

mod the_checker {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        references(text, 2).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn finds_plain_paths_groups_and_inline_paths() {
        assert_eq!(names("use crate::fog::Fog;"), ["fog"]);
        assert_eq!(names("use crate::{a::b, c};"), ["a", "c"]);
        assert_eq!(names("use crate::{\n    a::{b, c::{d, e}},\n    f,\n};"), ["a", "f"]);
        assert_eq!(names("fn f() -> crate::x::Y { crate::z::w(1, { 2 }, 3) }"), ["x", "z"]);
        assert_eq!(names("macro_rules! m { () => { $crate::storage::m!() } }"), ["storage"]);
        assert_eq!(names("pub(crate) struct S; pub(in crate::fog) fn f() {}"), ["fog"]);
    }

    #[test]
    fn finds_the_root_behind_super() {
        assert_eq!(names("use super::super::fog::Fog;"), ["fog"]);
        assert_eq!(names("use super::super::{a::b, c};"), ["a", "c"]);
        assert_eq!(names("use super::sibling::S;"), [""; 0]);
        assert_eq!(references("use super::fog::Fog;", 1), [(1, "fog".to_owned())]);
        assert_eq!([depth("id.rs"), depth("fog/mod.rs"), depth("fog/worker/job.rs")], [1, 1, 3]);
    }

    #[test]
    fn skips_comments_texts_and_tests() {
        assert_eq!(names("//! crate::a\n/// crate::b\n// crate::c\n/* /* */ crate::d */"), [""; 0]);
        assert_eq!(names(r##"let t = ["crate::a", "\"crate::b", r#""crate::c"#];"##), [""; 0]);
        assert_eq!(names("#[cfg(test)]\n#[allow(x)]\nmod tests {\n use crate::a;\n}"), [""; 0]);
    }

    #[test]
    fn reads_on_after_what_it_skips() {
        assert_eq!(names("let t = \"//\"; crate::a::f();"), ["a"]);
        assert_eq!(names("let t = ['\"', '\\'', 'x']; crate::a::f::<'static>();"), ["a"]);
        assert_eq!(names("/* \" */ use crate::a; // '\nuse crate::b;"), ["a", "b"]);
        assert_eq!(names("#[cfg(test)]\nuse crate::a;\nuse crate::b;"), ["a", "b"]);
        assert_eq!(references("/*\n\n*/ \"\n\"; crate::a::b", 2), [(4, "a".to_owned())]);
    }

    #[test]
    fn refuses_an_arrow_that_points_down() {
        let complaints = wrong_arrows("ledger/book.rs", "\nuse crate::{id, scheduler::Task};");
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with("ledger/book.rs:2: `ledger` uses `scheduler`"));
        for user in LAYERS.iter().flat_map(|layer| layer.iter()).filter(|user| **user != "fog") {
            let path = format!("{user}/mod.rs");
            assert_eq!(wrong_arrows(&path, "use crate::Fog;").len(), 1, "{user}");
            let storage = wrong_arrows(&path, "use crate::storage::Stores;");
            assert_eq!(storage.is_empty(), *user == "storage", "{user}");
        }
    }

    #[test]
    fn lets_arrows_pass_that_point_up_or_home() {
        let up = "use crate::{Error, ErrorKind, Result, amount::Amount, registry::Node};";
        assert_eq!(wrong_arrows("ledger/book.rs", up), [""; 0]);
        assert_eq!(wrong_arrows("ledger/book.rs", "use crate::ledger::Account;"), [""; 0]);
        assert_eq!(wrong_arrows("id.rs", "use crate::event::Event;"), [""; 0]);
        assert_eq!(wrong_arrows("fog/mod.rs", "use crate::storage::Stores;"), [""; 0]);
        assert_eq!(wrong_arrows("lib.rs", "pub use crate::fog::Fog;"), [""; 0]);
    }

    #[test]
    fn refuses_what_has_no_room_and_what_it_cannot_follow() {
        assert_eq!(wrong_arrows("cellar/mod.rs", "").len(), 1);
        assert_eq!(wrong_arrows("cellar.rs", "").len(), 1);
        for text in ["use crate::cellar::C;", "use crate::*;", "use crate::{self as c};"] {
            assert_eq!(wrong_arrows("fog/mod.rs", text).len(), 1, "{text}");
        }
        assert_eq!(wrong_arrows("fog/mod.rs", "use crate as c;").len(), 1);
    }

    #[test]
    fn refuses_a_file_without_a_purpose() {
        assert!(opens_with_a_purpose("//! Why.\n"));
        assert!(!opens_with_a_purpose("use std::fmt;\n//! Why.\n"));
        assert!(!opens_with_a_purpose(""));
    }

    #[test]
    fn refuses_a_file_that_is_too_long() {
        let code = "x\n".repeat(MAX_LINES);
        let tests = "#[cfg(test)]\nmod tests {}\n".repeat(MAX_LINES);
        assert_eq!(wrong_length("a.rs", &(code.clone() + &tests), &[]), None);
        assert!(wrong_length("a.rs", &(code.clone() + "x\n"), &[]).is_some());
        let longer = [("a.rs", MAX_LINES + 1)];
        assert_eq!(wrong_length("a.rs", &(code.clone() + "x\n"), &longer), None);
        assert!(wrong_length("a.rs", &(code.clone() + "x\nx\n"), &longer).is_some());
        assert!(wrong_length("a.rs", &code, &longer).is_some(), "it needs no exception any more");
    }
}
