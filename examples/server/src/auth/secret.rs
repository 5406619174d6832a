//! What tokens are signed with.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::random;

/// A secret of at least [`Secret::LEAST`] bytes, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// HS256 needs a key that is as long as its hash (RFC 7518, §3.2).
    pub const LEAST: usize = 32;

    /// The secret with these bytes.
    ///
    /// # Errors
    /// Too few of them.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Result<Self, String> {
        let bytes = bytes.into();
        if bytes.len() < Self::LEAST {
            let least = Self::LEAST;
            return Err(format!("has {} bytes, at least {least} are needed", bytes.len()));
        }
        Ok(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The secret in a file, which is made if it is not there: only its owner can read it.
    ///
    /// # Errors
    /// A file that cannot be read or made, that others can read, or that holds too little.
    pub fn in_file(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        match private(OpenOptions::new().write(true).create_new(true)).open(path) {
            Ok(mut file) => {
                let text = random::hex::<32>();
                file.write_all(text.as_bytes()).and_then(|()| file.sync_all())?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make {}", path.display()));
            }
        }
        ensure!(!others_can_read(path)?, "{} can be read by others: chmod 600", path.display());
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::new(text.trim_ascii()).map_err(|why| anyhow::anyhow!("{} {why}", path.display()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Makes a folder that only its owner can look into, unless it is there.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

#[cfg(unix)]
fn others_can_read(path: &Path) -> Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(path)?.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn others_can_read(_: &Path) -> Result<bool> {
    Ok(false)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/jwt-secret");
        let made = Secret::in_file(&path).unwrap();
        assert_eq!(Secret::in_file(&path).unwrap(), made);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_file_that_others_can_read_is_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwt-secret");
        Secret::in_file(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Secret::in_file(&path).unwrap_err().to_string().contains("chmod 600"));
    }
}
