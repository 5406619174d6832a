//! The main job, from end to end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test reports by panicking and printing, its helpers included"
)]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{amount, audit, json, open, run, stderr};

/// Sixty files of all sorts, and the list that b3sum would print of them.
fn all_sorts(folder: &Path) -> String {
    let mut contents: BTreeMap<String, Vec<u8>> = (0..50)
        .map(|index| (format!("sub-{}/deeper/file-{index}", index % 7), vec![b'x'; index * 100]))
        .collect();
    for (name, content) in [
        (".hidden", "hidden"),
        (".folder/also hidden", "a b\nc\n"),
        ("empty", ""),
        ("ünïcödé 日本語", "text"),
        ("line\nfeed", "1"),
        ("back\\slash", "2"),
        ("sub-0/both\\\n", "3"),
        ("-dash", "4"),
        ("sub-1", "a file where others have a folder"),
    ] {
        contents.insert(name.to_owned(), content.into());
    }
    contents.remove("sub-1");
    contents.insert("large".to_owned(), (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect());
    let mut lines = Vec::new();
    for (name, content) in &contents {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let (path, digest) = (path.display().to_string(), blake3::hash(content).to_hex());
        let line = if path.contains(['\\', '\n']) {
            let escaped = path.replace('\\', r"\\").replace('\n', r"\n");
            format!("\\{digest}  {escaped}\n")
        } else {
            format!("{digest}  {path}\n")
        };
        lines.push((path, line));
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

#[tokio::test]
async fn every_file_is_digested_and_paid_once_although_a_worker_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let expected = all_sorts(folder.path());
    let files = expected.lines().count();
    // In the folder itself, where it must not become a task.
    let database = folder.path().join("sub-0/fog.db");
    let arguments = [folder.path().as_os_str(), "--json".as_ref(), "--keep".as_ref()];
    let arguments = || arguments.into_iter().chain([database.as_os_str()]);

    let output = run(arguments());
    assert!(output.status.success(), "{}", stderr(&output));
    let first = json(&output);
    assert_eq!(first["tasks"], files);
    assert_eq!(first["succeeded"], files);
    assert_eq!(first["failed"], serde_json::json!([]));
    assert_eq!(first["killed"], 1);
    assert_eq!(first["trial_balance"], "0");
    // What was in its hands had to be done by others.
    let (held, retried) = (&first["victim_held"], &first["retried"]);
    assert!(retried.as_u64() >= held.as_u64(), "{held} held, {retried} retried");
    assert_eq!(first["nodes"].as_array().unwrap().len(), 3);
    let list = database.with_extension("b3");
    assert_eq!(first["digests"], list.display().to_string());
    assert_eq!(fs::read_to_string(&list).unwrap(), expected);

    let fog = open(&database).await;
    assert_eq!(audit(&fog, files).await, amount(&first["paid"]));
    let before =
        fog.ledger().accounts(&fogcore::ledger::AccountFilter::default(), None, 100).await.unwrap();

    let output = run(arguments());
    assert!(output.status.success(), "{}", stderr(&output));
    let second = json(&output);
    for same in ["tasks", "succeeded", "paid", "trial_balance", "digests"] {
        assert_eq!(second[same], first[same], "{same}");
    }
    assert_eq!(second["killed"], 0);
    assert_eq!(second["retried"], 0);
    assert_eq!(fs::read_to_string(&list).unwrap(), expected);
    audit(&fog, files).await;
    assert_eq!(
        fog.ledger().accounts(&fogcore::ledger::AccountFilter::default(), None, 100).await.unwrap(),
        before
    );
}

#[tokio::test]
async fn a_lone_worker_that_is_killed_is_replaced_and_a_changed_file_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    let paths = common::write_files(&files, 21);
    let database = folder.path().join("fog.db");
    let arguments = [files.as_os_str(), "--json".as_ref(), "--nodes".as_ref(), "1".as_ref()];
    let arguments = arguments.into_iter().chain(["--keep".as_ref(), database.as_os_str()]);
    let arguments: Vec<_> = arguments.collect();
    let list = || fs::read_to_string(folder.path().join("fog.b3")).unwrap();

    let first = json(&run(&arguments));
    assert_eq!((&first["succeeded"], &first["killed"]), (&21.into(), &1.into()));
    assert_eq!(list(), paths.iter().map(|path| common::b3sum(path)).collect::<String>());

    fs::write(&paths[7], "something else").unwrap();
    let second = json(&run(&arguments));
    assert_eq!((&second["succeeded"], &second["killed"]), (&21.into(), &1.into()));
    assert_eq!(list(), paths.iter().map(|path| common::b3sum(path)).collect::<String>());
    let fog = open(&database).await;
    assert_eq!(audit(&fog, 22).await, amount(&second["paid"]));
}

#[test]
fn the_tables_tell_people_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let paths = common::write_files(folder.path(), 12);
    let list = tempfile::NamedTempFile::new().unwrap();
    let folder = folder.path().as_os_str();
    let output = run([folder, "--output".as_ref(), list.path().as_os_str()]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["12 of 12 files", "was killed", "was chosen", "balanced", "(killed)", "Digests:"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let expected: String = paths.iter().map(|path| common::b3sum(path)).collect();
    assert_eq!(fs::read_to_string(list.path()).unwrap(), expected);
}
