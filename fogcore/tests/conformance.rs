//! Every store keeps every promise.
#![allow(clippy::unwrap_used, reason = "a test")]

mod memory {
    use fogcore::storage::{self, Stores};

    async fn open() -> (Stores, ()) {
        (storage::open("memory:").await.unwrap(), ())
    }

    fogcore::conformance_suite!(open);
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use fogcore::storage::{self, Stores};

    async fn open() -> (Stores, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("fog.db").display());
        (storage::open(&url).await.unwrap(), folder)
    }

    fogcore::conformance_suite!(open);
}
