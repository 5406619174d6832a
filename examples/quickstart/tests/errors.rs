//! What a person sees when something is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test reports by panicking and printing, its helpers included"
)]
mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{json, run, stderr};

#[test]
fn a_folder_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let output = run([&missing]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("error: cannot read the folder {}: No such file", missing.display());
    assert!(stderr(&output).starts_with(&expected), "{}", stderr(&output));

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let output = run([&file]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("error: {} is not a folder\n", file.display());
    assert_eq!(stderr(&output), expected);
}

#[test]
fn an_empty_folder_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let list = tempfile::NamedTempFile::new().unwrap();
    let (folder, list) = (folder.path().as_os_str(), list.path().as_os_str());
    let output = run([folder, "--json".as_ref(), "--output".as_ref(), list]);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary = json(&output);
    assert_eq!((&summary["tasks"], &summary["killed"]), (&0.into(), &0.into()));
    assert_eq!(summary["paid"], "0");
    assert_eq!(fs::read_to_string(list).unwrap(), "");
}

#[test]
fn a_file_that_cannot_be_read_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = common::write_files(folder.path(), 20);
    symlink("nowhere", folder.path().join("dangling")).unwrap();
    symlink("loop", folder.path().join("loop")).unwrap();
    symlink(&paths[0], folder.path().join("link")).unwrap();
    let list = tempfile::NamedTempFile::new().unwrap();
    let output = list.path().as_os_str();
    let output = run([folder.path().as_os_str(), "--json".as_ref(), "--output".as_ref(), output]);
    assert_eq!(output.status.code(), Some(1));
    let summary = json(&output);
    assert_eq!((&summary["tasks"], &summary["succeeded"]), (&23.into(), &21.into()));
    assert_eq!(summary["trial_balance"], "0");
    let failed = summary["failed"].as_array().unwrap();
    for (failure, (name, reason)) in failed.iter().zip([("dangling", "No such file"), ("loop", "")])
    {
        let path = folder.path().join(name).display().to_string();
        assert_eq!(failure["path"], path);
        let error = failure["error"].as_str().unwrap();
        assert!(error.contains(&path) && error.contains(reason), "{error}");
    }
    paths.push(folder.path().join("link"));
    let expected: String = paths.iter().map(|path| common::b3sum(path)).collect();
    assert_eq!(fs::read_to_string(list.path()).unwrap(), expected);
}

#[test]
fn a_database_that_cannot_be_opened_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("missing/fog.db");
    let folder = folder.path().as_os_str();
    let output = run([folder, "--keep".as_ref(), database.as_os_str()]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("error: cannot open the database {}: ", database.display());
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    assert!(output.stdout.is_empty());

    let garbage = tempfile::NamedTempFile::new().unwrap();
    fs::write(garbage.path(), "no database at all ".repeat(1_000)).unwrap();
    let output = run([folder, "--keep".as_ref(), garbage.path().as_os_str()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("not a database"), "{}", stderr(&output));
}

#[test]
fn a_list_that_cannot_be_written_costs_only_the_list() {
    let folder = tempfile::tempdir().unwrap();
    common::write_files(folder.path(), 8);
    let list = folder.path().join("missing/list.b3");
    let arguments = [folder.path().as_os_str(), "--output".as_ref(), list.as_os_str()];
    let output = run(arguments.into_iter().chain(["--json".as_ref()]));
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("error: cannot write the digests to {}: ", list.display());
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    let summary = json(&output);
    assert_eq!(summary["succeeded"], 8);
    assert!(summary["digests"].is_null());
}

#[test]
fn options_out_of_range_are_refused_before_anything_begins() {
    for arguments in [["--nodes", "0"], ["--nodes", "65"], ["--seed", "x"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(arguments[0]));
    }
}
