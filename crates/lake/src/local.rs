//! Durable create-if-absent on a local file system.
//!
//! `object_store` writes to a staging file and links it to its name, which is atomic, but it never syncs: after a power loss a
//! committed name may hold nothing. Here the staged bytes are synced before the link and the folder after it, so that what
//! `create` acknowledged stays. Staging names are the ones that `object_store` hides from its listings: `<name>#<digits>`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

static STAGED: AtomicU64 = AtomicU64::new(0);

/// Creates `root/path` with `bytes`, or fails with [`io::ErrorKind::AlreadyExists`].
pub(crate) fn create(root: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = target.parent().unwrap_or(root);
    let new_folders = missing(root, folder);
    fs::create_dir_all(folder)?;
    // The link below decides; this only spares the writing of bytes that have lost already.
    if target.try_exists()? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let (file, staged) = stage(target)?;
    let outcome = write(file, bytes).and_then(|()| fs::hard_link(&staged, target));
    // What cannot be removed is reported by `orphans` and harms nobody.
    let _ = fs::remove_file(&staged);
    outcome?;
    sync_folder(folder)?;
    new_folders.iter().filter_map(|folder| folder.parent()).try_for_each(sync_folder)
}

fn write(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folders from `folder` up to `root` that do not exist yet.
fn missing(root: &Path, folder: &Path) -> Vec<PathBuf> {
    folder.ancestors().take_while(|ancestor| ancestor.starts_with(root) && !ancestor.exists()).map(Path::to_path_buf).collect()
}

fn stage(target: &Path) -> io::Result<(File, PathBuf)> {
    loop {
        let number = STAGED.fetch_add(1, Ordering::Relaxed);
        let mut staged = target.as_os_str().to_owned();
        staged.push(format!("#{}{number:06}", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&staged) {
            Ok(file) => return Ok((file, PathBuf::from(staged))),
            // Left behind by a process that had the same id.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Staging files that no process finished, relative to `root`, sorted.
pub(crate) fn staged(root: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if is_staging_name(&entry.file_name().to_string_lossy()) {
                let path = entry.path();
                found.push(path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned());
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn is_staging_name(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}
