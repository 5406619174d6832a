//! The session in the README works as it is printed.

use std::process::Stdio;

use tokio::process::Command;

use crate::common::start_with;

/// The block of commands behind this mark.
fn session() -> String {
    let readme = include_str!("../../../../README.md");
    let behind = readme.split("<!-- tested: the server's session -->").nth(1).unwrap();
    let block = behind.split("```sh\n").nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

#[tokio::test]
async fn the_session_in_the_readme_works() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().await.is_err() {
        assert!(std::env::var_os("CI").is_none(), "curl is not installed: apt-get install curl");
        return;
    }
    let running = start_with(|s| {
        s.admin_email = Some("ada@example.org".into());
        s.admin_password = Some("correct horse battery".into());
    })
    .await;
    let script = session().replace("http://127.0.0.1:8000", &running.server.url());
    let script = format!("set -euo pipefail\n{script}");
    let output = Command::new("bash").args(["-c", &script]).output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains(r#""result":{"text":"HELLO"}"#), "{told}");
    assert!(told.contains(r#""balance_exact":"0.010000000000000000""#), "{told}");
}
