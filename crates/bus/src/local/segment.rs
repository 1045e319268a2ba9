//! Segment files and their names.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nocturne_wire::Offset;

/// A segment's path: its first offset in 20 digits, so that names sort as offsets do.
pub(crate) fn path(folder: &Path, first: Offset) -> PathBuf {
    folder.join(format!("{:020}.log", first.0))
}

/// First offsets of the segments in a folder, ascending. Other files are left alone.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<Offset>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(folder)? {
        firsts.extend(entry?.file_name().to_str().and_then(parse));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

fn parse(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    let valid = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| digits.parse().ok().map(Offset))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_are_listed_and_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["00000000000000000020.log", "00000000000000000003.log", "00000000000000000003-17.corrupt", "3.log", "x"] {
            fs::write(folder.path().join(name), "").expect("written");
        }
        assert_eq!(list(folder.path()).expect("readable"), [Offset(3), Offset(20)]);
    }
}
