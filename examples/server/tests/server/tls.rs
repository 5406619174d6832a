//! TLS, with a certificate for tests: self-signed for localhost, as
//! `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj /CN=localhost
//! -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE` makes it.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::common::start_with;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/fixtures");

#[tokio::test]
async fn with_a_certificate_nothing_goes_in_the_clear() {
    let running = start_with(|s| {
        s.tls_cert = Some(format!("{FOLDER}/localhost.pem"));
        s.tls_key = Some(format!("{FOLDER}/localhost.key"));
        s.head_seconds = Some("2".into());
    })
    .await;
    assert!(running.server.url().starts_with("https://"));
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(format!("{FOLDER}/localhost.pem")).unwrap();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(running.address()).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

    let mut clear = TcpStream::connect(running.address()).await.unwrap();
    clear.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = clear.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}
