//! A server for a test, and a client that asks it.

use std::path::Path;

use fogcore_server::Server;
use fogcore_server::config::{Config, Settings};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const SECRET: &str = "a secret for tests, and only for tests";
pub(crate) const ADMIN: &str = "admin@example.org";
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A server that stops with the test.
pub(crate) struct Running {
    pub(crate) server: Server,
    client: reqwest::Client,
    _folder: TempDir,
}

/// Settings of a server on a free port, in this folder, with an administrator and without limits.
pub(crate) fn settings(folder: &Path) -> Settings {
    let text = |text: &str| Some(text.to_owned());
    Settings {
        port: text("0"),
        data_dir: text(&folder.display().to_string()),
        database_url: text("memory:"),
        jwt_secret_key: text(SECRET),
        admin_email: text(ADMIN),
        admin_password: text(PASSWORD),
        rate_limit: text("off"),
        ..Settings::default()
    }
}

/// A server with some settings changed.
pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    change(&mut settings);
    let server = Server::start(Config::from_settings(settings).unwrap()).await.unwrap();
    Running { server, client: reqwest::Client::new(), _folder: folder }
}

pub(crate) async fn start() -> Running {
    start_with(|_| ()).await
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.json().await.unwrap_or(Value::Null);
        Self { status, headers, body }
    }

    /// The body, of an answer that must be a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }

    /// The text of a field.
    #[track_caller]
    pub(crate) fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {self:?}")).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Somebody who asks.
#[derive(Clone)]
pub(crate) struct Asker<'r> {
    running: &'r Running,
    headers: Vec<(String, String)>,
}

impl Running {
    /// Somebody without a credential.
    pub(crate) fn anybody(&self) -> Asker<'_> {
        Asker { running: self, headers: Vec::new() }
    }

    pub(crate) fn bearer(&self, token: &str) -> Asker<'_> {
        self.anybody().with("authorization", &format!("Bearer {token}"))
    }

    pub(crate) async fn log_in(&self, email: &str, password: &str) -> Answer {
        let login = json!({"email": email, "password": password});
        self.anybody().post("/v1/auth/login", login).await
    }

    pub(crate) async fn admin(&self) -> Asker<'_> {
        self.bearer(&self.log_in(ADMIN, PASSWORD).await.text("access_token"))
    }

    /// A user who has just registered, and the user's account.
    pub(crate) async fn user(&self, name: &str) -> (Asker<'_>, String) {
        let body = json!({"email": format!("{name}@example.org"), "password": PASSWORD});
        let made = self.anybody().post("/v1/auth/register", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let account = made.body["user"]["id"].as_str().unwrap().to_owned();
        (self.bearer(&made.text("access_token")), account)
    }

    pub(crate) fn address(&self) -> String {
        self.server.address().to_string()
    }
}

impl Asker<'_> {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let url = format!("{}{path}", self.running.server.url());
        let mut request = self.running.client.request(method, url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::read(request.send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }
}
