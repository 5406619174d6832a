//! The list of digests, byte for byte as `b3sum` prints it, so that `b3sum --check` reads it.

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

use crate::shown;

/// One line: the digest, two spaces, the path. A path with a backslash or a line feed is written
/// with both escaped, and the line says so with a backslash in front.
pub(crate) fn line(digest: &str, path: &Path) -> String {
    let path = path.to_string_lossy();
    if path.contains(['\\', '\n']) {
        let escaped = path.replace('\\', "\\\\").replace('\n', "\\n");
        format!("\\{digest}  {escaped}\n")
    } else {
        format!("{digest}  {path}\n")
    }
}

/// Writes the list; who reads the file sees the old one or the whole new one.
pub(crate) fn write<'a>(
    output: &Path,
    digests: impl IntoIterator<Item = (&'a str, &'a Path)>,
) -> Result<()> {
    let context = || format!("cannot write the digests to {}", shown(output));
    // Beside its destination, because only within one file system a rename is atomic.
    let folder = match output.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    // As any file that a program writes, and not only for its owner as a temporary one.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let file = builder.prefix(".quickstart-").permissions(permissions);
    let mut file = BufWriter::new(file.tempfile_in(folder).with_context(context)?);
    for (digest, path) in digests {
        file.write_all(line(digest, path).as_bytes()).with_context(context)?;
    }
    let file = file.into_inner().with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    file.persist(output).with_context(context)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn only_backslashes_and_line_feeds_are_escaped() {
        let cases = [
            ("dir/a b\t.txt", "00  dir/a b\t.txt\n"),
            ("a\\b", "\\00  a\\\\b\n"),
            ("a\nb", "\\00  a\\nb\n"),
            ("\\n\n", "\\00  \\\\n\\n\n"),
        ];
        for (path, expected) in cases {
            assert_eq!(line("00", Path::new(path)), expected);
        }
        let broken = Path::new(OsStr::from_bytes(b"caf\xe9"));
        assert_eq!(line("00", broken), "00  caf\u{fffd}\n");
    }

    #[test]
    fn a_list_replaces_the_old_one_and_leaves_nothing_else_behind() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("list.b3");
        for digest in ["01", "02"] {
            write(&output, [(digest, Path::new("a")), (digest, Path::new("b"))]).unwrap();
            let expected = format!("{digest}  a\n{digest}  b\n");
            assert_eq!(std::fs::read_to_string(&output).unwrap(), expected);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = write(&folder.path().join("none/list.b3"), []).unwrap_err();
        assert!(error.to_string().contains("none/list.b3"));
    }
}
