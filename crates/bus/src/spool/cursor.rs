//! How far a topic of the spool was delivered, in a small file. It spares a restart from sending a segment twice; without it, or with
//! a damaged one, everything that is there is sent again.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use nocturne_wire::Offset;

use crate::local::disk::sync_folder;

#[derive(Debug)]
pub(crate) struct Cursor {
    file: PathBuf,
    id: String,
    delivered: Offset,
}

impl Cursor {
    /// Reads a topic's cursor; one of another log, or outside what is there, counts as none.
    pub(crate) fn open(folder: &Path, id: &str, range: &Range<Offset>) -> io::Result<Self> {
        let file = folder.join("delivered");
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => String::new(),
            Err(error) => return Err(error),
        };
        let offset = parse(&text, id).filter(|offset| (range.start..=range.end).contains(offset));
        if offset.is_none() && file.exists() {
            // It must not come to be believed later, when the log has grown beyond it.
            fs::remove_file(&file)?;
            sync_folder(folder)?;
        }
        Ok(Self { file, id: id.to_owned(), delivered: offset.unwrap_or(range.start) })
    }

    pub(crate) const fn delivered(&self) -> Offset {
        self.delivered
    }

    /// Writes it when it moved. It is no promise, so it is not synced.
    pub(crate) fn save(&mut self, delivered: Offset) -> io::Result<()> {
        if delivered == self.delivered {
            return Ok(());
        }
        let draft = self.file.with_extension("draft");
        fs::write(&draft, format!("{} {delivered}\n", self.id))?;
        fs::rename(&draft, &self.file)?;
        self.delivered = delivered;
        Ok(())
    }
}

/// `<topic id> <offset>` and a line's end: a torn file has none.
fn parse(text: &str, id: &str) -> Option<Offset> {
    let (written, offset) = text.strip_suffix('\n')?.split_once(' ')?;
    (written == id).then(|| offset.parse().ok().map(Offset))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_a_foreign_or_damaged_one_counts_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let open =
            |id, range: Range<u64>| Cursor::open(folder.path(), id, &(Offset(range.start)..Offset(range.end))).expect("opens");
        open("a", 3..10).save(Offset(7)).expect("saved");
        assert_eq!(open("a", 3..10).delivered(), Offset(7));
        assert_eq!(open("a", 3..7).delivered(), Offset(7));
        assert_eq!(open("a", 8..10).delivered(), Offset(8));
        assert_eq!(open("a", 3..10).delivered(), Offset(3), "what was not believed once is forgotten");
        open("a", 3..10).save(Offset(9)).expect("saved");
        assert_eq!(open("a", 0..6).delivered(), Offset(0));
        assert_eq!(open("b", 3..10).delivered(), Offset(3));
        for damaged in ["", "a", "a 7", "a x\n", "a -1\n"] {
            fs::write(folder.path().join("delivered"), damaged).expect("written");
            assert_eq!(open("a", 3..10).delivered(), Offset(3), "{damaged:?}");
        }
        fs::write(folder.path().join("delivered"), [0xff, 0xfe]).expect("written");
        assert_eq!(open("a", 3..10).delivered(), Offset(3));
    }
}
