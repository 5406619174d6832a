//! Where a run keeps its database and its list of digests.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// What the names of temporary folders begin with; the rest is random, so that runs that happen
/// at the same time do not meet.
const PREFIX: &str = "fogcore-quickstart-";

/// The files of a run.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) database: PathBuf,
    /// Goes, with the database in it, when the run ends.
    temporary: Option<TempDir>,
    output: Option<PathBuf>,
}

impl Place {
    /// The database at `keep`, or one that does not outlive the run.
    pub(crate) fn new(keep: Option<PathBuf>, output: Option<PathBuf>) -> Result<Self> {
        if let Some(database) = keep {
            let output = output.or_else(|| Some(database.with_extension("b3")));
            return Ok(Self { database, temporary: None, output });
        }
        let folder = temporary_folder()?;
        Ok(Self { database: folder.path().join("fog.db"), temporary: Some(folder), output })
    }

    /// The database, if it is there after the run.
    pub(crate) fn kept_database(&self) -> Option<&Path> {
        self.temporary.is_none().then_some(self.database.as_path())
    }

    /// Every file that belongs to the run and must not be digested.
    pub(crate) fn own_files(&self) -> Vec<PathBuf> {
        let beside = |suffix: &str| {
            let mut name = self.database.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        let mut files = vec![self.database.clone(), beside("-wal"), beside("-shm")];
        files.extend(self.output.clone());
        files
    }

    /// Where the list of digests goes: made only now, so that a run that fails leaves nothing.
    pub(crate) fn output(&self) -> Result<PathBuf> {
        match &self.output {
            Some(output) => Ok(output.clone()),
            None => Ok(temporary_folder()?.keep().join("digests.b3")),
        }
    }
}

fn temporary_folder() -> Result<TempDir> {
    tempfile::Builder::new().prefix(PREFIX).tempdir().context("cannot make a temporary folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_database_has_its_list_beside_it_unless_told_otherwise() {
        let place = Place::new(Some("x/my.db".into()), None).unwrap();
        assert_eq!(place.kept_database(), Some(Path::new("x/my.db")));
        assert_eq!(place.output().unwrap(), Path::new("x/my.b3"));
        assert!(place.own_files().contains(&"x/my.db-wal".into()));
        let place = Place::new(Some("my.db".into()), Some("list".into())).unwrap();
        assert_eq!(place.output().unwrap(), Path::new("list"));
    }

    #[test]
    fn a_temporary_database_is_its_own_and_goes_with_the_run() {
        let place = Place::new(None, Some("list".into())).unwrap();
        let other = Place::new(None, Some("list".into())).unwrap();
        assert_ne!(place.database, other.database);
        assert_eq!(place.kept_database(), None);
        let folder = place.database.parent().unwrap().to_path_buf();
        assert!(folder.is_dir());
        drop(place);
        assert!(!folder.exists());
    }
}
