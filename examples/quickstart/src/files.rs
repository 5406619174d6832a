//! Which files of a folder become tasks.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use walkdir::{DirEntry, WalkDir};

use crate::shown;

/// A file to be digested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundFile {
    /// Its path as it is told: the folder, as it was given, and what comes below.
    pub(crate) path: PathBuf,
    /// Where it is for a process in another working directory.
    pub(crate) absolute: PathBuf,
    /// What changes with it, as far as that could be told.
    version: Version,
}

impl FoundFile {
    /// The same for the same version of the same file, in this run and in every other.
    pub(crate) fn key(&self) -> String {
        let path = self.absolute.as_os_str().as_bytes();
        let mut hasher = blake3::Hasher::new_derive_key("fogcore quickstart 2026 file version");
        hasher.update(&(path.len() as u64).to_le_bytes()).update(path);
        let Version { length, inode, written, touched } = self.version;
        hasher.update(&length.to_le_bytes()).update(&inode.to_le_bytes());
        hasher.update(&written.to_le_bytes()).update(&touched.to_le_bytes());
        hasher.finalize().to_hex().to_string()
    }
}

/// What tells one version of a file from another. The time of the last change of its inode is
/// the one that no program can set back: it also moves when the file becomes readable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Version {
    length: u64,
    inode: u64,
    /// Nanoseconds since 1970, both.
    written: i128,
    touched: i128,
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        let nanos =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            length: metadata.len(),
            inode: metadata.ino(),
            written: nanos(metadata.mtime(), metadata.mtime_nsec()),
            touched: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A file by what it is rather than by its name: device and inode.
type Identity = (u64, u64);

/// The identities of those of `paths` that exist.
pub(crate) fn identities<'a>(paths: impl IntoIterator<Item = &'a Path>) -> HashSet<Identity> {
    let metadata = paths.into_iter().filter_map(|path| path.metadata().ok());
    metadata.map(|metadata| identity(&metadata)).collect()
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// Refuses what is no folder.
pub(crate) fn check_folder(folder: &Path) -> Result<()> {
    let metadata =
        folder.metadata().with_context(|| format!("cannot read the folder {}", shown(folder)))?;
    if !metadata.is_dir() {
        bail!("{} is not a folder", shown(folder));
    }
    Ok(())
}

/// Every file of the folder at any depth, by path.
///
/// Links to files are followed, links to folders are not. What cannot be looked at is taken along
/// all the same: its task will say why it failed, which is better than a file that is silently
/// left out. `skip_caches` leaves out `.git` and folders that say that they can be made again.
pub(crate) fn walk(
    folder: &Path,
    skip_caches: bool,
    except: &HashSet<Identity>,
) -> Result<Vec<FoundFile>> {
    // Read before walking, because an error at the top is not one of a file.
    folder.read_dir().with_context(|| format!("cannot read the folder {}", shown(folder)))?;
    let wanted = |entry: &DirEntry| !(skip_caches && entry.depth() > 0 && is_cache(entry));
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).into_iter().filter_entry(wanted) {
        let (path, metadata) = match entry {
            Ok(entry) if entry.file_type().is_dir() => continue,
            // Follows links.
            Ok(entry) => (entry.path().to_path_buf(), entry.path().metadata().ok()),
            Err(error) => match error.path() {
                Some(path) => (path.to_path_buf(), None),
                None => return Err(error).context("cannot walk the folder"),
            },
        };
        let version = match &metadata {
            // A folder behind a link, a pipe, a socket, a device.
            Some(metadata) if !metadata.is_file() => continue,
            Some(metadata) if except.contains(&identity(metadata)) => continue,
            Some(metadata) => Version::of(metadata),
            None => Version::default(),
        };
        let absolute = std::path::absolute(&path)
            .with_context(|| format!("cannot tell where {} is", shown(&path)))?;
        files.push(FoundFile { path, absolute, version });
    }
    files.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    Ok(files)
}

/// `.git`, or a folder tagged as a cache (<https://bford.info/cachedir/>), as cargo's target is.
fn is_cache(entry: &DirEntry) -> bool {
    entry.file_name() == ".git"
        || entry.file_type().is_dir() && entry.path().join("CACHEDIR.TAG").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn names(folder: &Path, skip_caches: bool, except: &HashSet<Identity>) -> Vec<String> {
        let files = walk(folder, skip_caches, except).unwrap();
        let names = files.iter().map(|file| file.path.strip_prefix(folder));
        names.map(|name| shown(name.unwrap())).collect()
    }

    fn folder_with(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    #[test]
    fn every_file_at_any_depth_is_found_and_links_are_followed_to_files_only() {
        let folder = folder_with(&["b/c/deep", ".hidden", "b/.git/x", "z"]);
        let root = folder.path();
        symlink("z", root.join("link")).unwrap();
        symlink("b", root.join("to-folder")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let expected = [".hidden", "b/.git/x", "b/c/deep", "dangling", "link", "loop", "z"];
        assert_eq!(names(root, false, &HashSet::new()), expected);
    }

    #[test]
    fn the_default_folder_leaves_out_caches_and_what_is_our_own_is_never_a_task() {
        let files = ["a", "fog.db", ".git/x", "target/CACHEDIR.TAG", "target/y", "src/b"];
        let folder = folder_with(&files);
        let root = folder.path();
        fs::hard_link(root.join("fog.db"), root.join("src/same")).unwrap();
        let own = identities([root.join("fog.db").as_path(), &root.join("fog.b3")]);
        assert_eq!(names(root, true, &own), ["a", "src/b"]);
        assert_eq!(names(&root.join("target"), true, &own), ["CACHEDIR.TAG", "y"]);
    }

    #[test]
    fn a_changed_file_is_another_task_and_the_way_to_it_does_not_matter() {
        let folder = folder_with(&["a"]);
        let key = |path: &Path| walk(path, false, &HashSet::new()).unwrap()[0].key();
        let first = key(folder.path());
        assert_eq!(first, key(&folder.path().join(".")));
        fs::write(folder.path().join("a"), "longer than before").unwrap();
        assert_ne!(first, key(folder.path()));
    }

    #[test]
    fn what_is_no_folder_is_refused_with_its_name() {
        let folder = folder_with(&["file"]);
        let file = check_folder(&folder.path().join("file")).unwrap_err();
        assert!(file.to_string().ends_with("file is not a folder"));
        let none = check_folder(&folder.path().join("none")).unwrap_err();
        assert!(format!("{none:#}").contains("none: No such file"));
    }
}
