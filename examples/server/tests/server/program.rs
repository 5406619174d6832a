//! The program itself: its settings, its files, and what is there after it was killed.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::common::{ADMIN, PASSWORD, SECRET};

#[cfg(unix)]
#[path = "../../../../fogcore/tests/common/postgres.rs"]
mod postgres;

pub(crate) fn program(folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fogcore-server"));
    command.env_clear().env("DATA_DIR", folder).env("PORT", "0").env("RATE_LIMIT", "off");
    command.envs(settings.iter().copied()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts it, and waits until it says where it listens.
pub(crate) async fn started(mut command: Command) -> (Child, String) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap_or_default();
    let url =
        first.strip_prefix("fogcore-server listens on ").unwrap_or_else(|| panic!("{first:?}"));
    let url = url.to_owned();
    (child, url)
}

#[tokio::test]
async fn it_says_what_its_settings_mean_and_which_make_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let check = async |settings: &[(&str, &str)], flags: &[&str]| {
        let mut command = program(folder.path(), settings);
        let output = command.arg("--check-config").args(flags).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let url = "postgres://fog:hidden@db/fog";
    let (code, told, _) = check(&[("JWT_SECRET_KEY", SECRET), ("DATABASE_URL", url)], &[]).await;
    assert_eq!(code, Some(0));
    assert!(told.contains("postgres://…@db/fog") && !told.contains("hidden"), "{told}");
    assert!(!told.contains(SECRET), "{told}");
    let (code, told, _) = check(&[("HOST", "::1")], &["--port", "7"]).await;
    assert!(code == Some(0) && told.contains("[::1]:7"), "flags come first: {told}");

    let (code, _, told) = check(&[("HOST", "0.0.0.0")], &[]).await;
    assert!(code == Some(2) && told.starts_with("JWT_SECRET_KEY: "), "{told}");
    let (code, _, told) = check(&[("HOST", "0.0.0.0"), ("JWT_SECRET_KEY", "short")], &[]).await;
    assert!(code == Some(2) && told.starts_with("JWT_SECRET_KEY: "), "{told}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");
}

#[tokio::test]
async fn it_needs_nothing_on_loopback_and_keeps_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, url) = started(program(folder.path(), &[])).await;
    let health: Value = reqwest::get(format!("{url}/health")).await.unwrap().json().await.unwrap();
    assert_eq!(health["status"], "healthy");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let secret = fs::metadata(folder.path().join("jwt-secret")).unwrap();
        assert_eq!(secret.permissions().mode() & 0o777, 0o600);
    }
    assert!(folder.path().join("fog.db").exists());
    child.kill().await.unwrap();
}

/// What a killed server knew, the next one knows.
async fn a_kill_loses_nothing(url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("DATABASE_URL", url),
        ("ADMIN_EMAIL", ADMIN),
        ("ADMIN_PASSWORD", PASSWORD),
        ("JWT_SECRET_KEY", SECRET),
    ];
    let client = reqwest::Client::new();
    let post = async |url: String, token: &str, body: Value| -> Value {
        let request = client.post(url).bearer_auth(token).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    };
    let me = async |url: &str, name: &str, value: &str| {
        let request = client.get(format!("{url}/v1/auth/me")).header(name, value);
        request.send().await.unwrap().status().as_u16()
    };
    let (mut child, url) = started(program(folder.path(), &settings)).await;
    let log_in = async |url: &str| {
        let body = json!({"email": ADMIN, "password": PASSWORD});
        let answer = client.post(format!("{url}/v1/auth/login")).json(&body).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned()
    };
    let (kept, revoked) = (log_in(&url).await, log_in(&url).await);
    let key = post(format!("{url}/v1/auth/api-keys"), &kept, json!({"name": "k"})).await;
    let key = key["api_key"].as_str().unwrap().to_owned();
    post(format!("{url}/v1/auth/revoke"), &revoked, json!({})).await;
    let host = json!({
        "host_id": "h", "player_id": "p", "ip_address": "::1", "port": 1, "cpu_cores": 1,
        "memory_mb": 1, "network_speed_mbps": 1,
    });
    let host = post(format!("{url}/api/hosts/"), &kept, host).await;
    child.kill().await.unwrap();

    let (mut child, url) = started(program(folder.path(), &settings)).await;
    let (kept, revoked) = (format!("Bearer {kept}"), format!("Bearer {revoked}"));
    assert_eq!(me(&url, "authorization", &kept).await, 200);
    assert_eq!(me(&url, "authorization", &revoked).await, 401);
    assert_eq!(me(&url, "x-api-key", &key).await, 200);
    log_in(&url).await;
    let answer = client.get(format!("{url}/api/hosts/h")).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["id"], host["id"]);
    child.kill().await.unwrap();
}

#[tokio::test]
async fn a_kill_loses_nothing_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    a_kill_loses_nothing(&format!("sqlite:{}", folder.path().join("fog.db").display())).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_kill_loses_nothing_on_postgres() {
    let database = postgres::Database::fresh().await;
    a_kill_loses_nothing(&database.url()).await;
}

#[cfg(unix)]
#[tokio::test]
async fn it_stops_in_good_order_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, _) = started(program(folder.path(), &[])).await;
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().await.unwrap().success());
}
