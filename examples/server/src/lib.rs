//! The reference server: one fog behind HTTP and WebSocket APIs, with a lock on the door.
//!
//! It renders the engine and decides nothing of the domain: a handler parses, calls [`fogcore::Fog`]
//! once, and renders. What it has of its own is identity ([`auth`], kept in [`store`]) and what holds
//! for every request ([`http`]).
//!
//! ```
//! use fogcore_server::Server;
//! use fogcore_server::config::{Config, Settings};
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! # let folder = tempfile::tempdir()?;
//! # let data_dir = Some(folder.path().display().to_string());
//! let told = Settings {
//!     port: Some("0".to_owned()), // a free one
//!     database_url: Some("memory:".to_owned()),
//! #   data_dir,
//!     ..Settings::default()
//! };
//! let server = Server::start(Config::from_settings(told)?).await?;
//!
//! let answer = reqwest::get(format!("{}/health", server.url())).await?;
//! let health: serde_json::Value = answer.json().await?;
//! assert_eq!(health["status"], "healthy");
//! server.stop().await;
//! # Ok::<(), anyhow::Error>(())
//! # }).unwrap();
//! ```

pub mod api;
pub mod app;
pub mod auth;
pub mod config;
pub mod http;
mod listen;
mod random;
mod server;
mod settings;
pub mod store;
mod tls;
pub mod ws;

pub use self::app::App;
pub use self::server::Server;
