//! A small file store with lightning-persister's `FilesystemStore` layout and order of steps: a temporary file is
//! written, synced and renamed, and the folder is synced. Owns how bytes become durable; knows no record.
//! It is our own so that a crash can be put between two of the steps.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use lightning::io;
use lightning::util::persist::{
    KVSTORE_NAMESPACE_KEY_ALPHABET, KVSTORE_NAMESPACE_KEY_MAX_LEN, KVStoreSync,
};

/// What temporary files end in; whoever lists keys passes them over.
const TEMPORARY: &str = "tmp";

/// How far a write has come when the next step is about to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The temporary file has its bytes.
    Written,
    /// They are on the disk.
    Synced,
    /// The file has its name; the folder is not synced yet.
    Renamed,
}

impl Stage {
    /// As in a point's name.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Written => "written",
            Stage::Synced => "synced",
            Stage::Renamed => "renamed",
        }
    }
}

/// Files under one folder.
pub struct FileStore {
    folder: PathBuf,
    temporary_files: AtomicUsize,
}

impl FileStore {
    /// Stores under this folder.
    pub fn new(folder: PathBuf) -> Self {
        FileStore {
            folder,
            temporary_files: AtomicUsize::new(0),
        }
    }

    fn folder_of(&self, primary: &str, secondary: &str) -> io::Result<PathBuf> {
        if primary.is_empty() && !secondary.is_empty() {
            return Err(invalid("a secondary namespace without a primary one"));
        }
        let mut folder = self.folder.clone();
        for part in [primary, secondary] {
            if !part.is_empty() {
                folder.push(checked(part)?);
            }
        }
        Ok(folder)
    }

    fn file_of(&self, primary: &str, secondary: &str, key: &str) -> io::Result<PathBuf> {
        if key.is_empty() {
            return Err(invalid("an empty key"));
        }
        Ok(self.folder_of(primary, secondary)?.join(checked(key)?))
    }

    /// Makes a record durable, and says between the steps how far it is. An error from there ends
    /// the write where it stands.
    pub fn write_in_stages(
        &self,
        (primary, secondary, key): (&str, &str, &str),
        bytes: &[u8],
        passed: &mut dyn FnMut(Stage) -> io::Result<()>,
    ) -> io::Result<()> {
        let file = self.file_of(primary, secondary, key)?;
        let folder = self.folder_of(primary, secondary)?;
        make_folder(&folder)?;
        let number = self.temporary_files.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!("{key}.{number}.{TEMPORARY}"));
        {
            let mut writer = File::create(&temporary)?;
            writer.write_all(bytes)?;
            passed(Stage::Written)?;
            writer.sync_all()?;
        }
        passed(Stage::Synced)?;
        fs::rename(&temporary, &file)?;
        passed(Stage::Renamed)?;
        sync_folder(&folder)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

fn checked(part: &str) -> io::Result<&str> {
    let known = part
        .chars()
        .all(|character| KVSTORE_NAMESPACE_KEY_ALPHABET.contains(character));
    if known && part.len() <= KVSTORE_NAMESPACE_KEY_MAX_LEN {
        return Ok(part);
    }
    Err(invalid("a name with characters that no store takes"))
}

/// Makes a folder and those above it that are missing, each of them durable in the one above.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above)?;
        match fs::create_dir(folder) {
            Ok(()) => sync_folder(above)?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()?;
    Ok(())
}

impl KVStoreSync for FileStore {
    fn read(&self, primary: &str, secondary: &str, key: &str) -> io::Result<Vec<u8>> {
        Ok(fs::read(self.file_of(primary, secondary, key)?)?)
    }

    fn write(&self, primary: &str, secondary: &str, key: &str, bytes: Vec<u8>) -> io::Result<()> {
        self.write_in_stages((primary, secondary, key), &bytes, &mut |_| Ok(()))
    }

    fn remove(&self, primary: &str, secondary: &str, key: &str, lazy: bool) -> io::Result<()> {
        match fs::remove_file(self.file_of(primary, secondary, key)?) {
            Ok(()) if lazy => Ok(()),
            Ok(()) => sync_folder(&self.folder_of(primary, secondary)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self, primary: &str, secondary: &str) -> io::Result<Vec<String>> {
        let folder = self.folder_of(primary, secondary)?;
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut keys = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let temporary = Path::new(&name)
                .extension()
                .is_some_and(|extension| extension == TEMPORARY);
            if entry.file_type()?.is_file() && !temporary {
                keys.push(name);
            }
        }
        // What a folder lists has no order, and what follows from it must have one.
        keys.sort_unstable();
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use lightning_persister::fs_store::FilesystemStore;

    use super::*;

    fn store() -> (tempfile::TempDir, FileStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::new(folder.path().join("store"));
        (folder, store)
    }

    #[test]
    fn filesystem_store_reads_what_this_store_wrote_and_the_other_way_round() {
        let (folder, ours) = store();
        let theirs = FilesystemStore::new(folder.path().join("store"));
        for (primary, secondary, key) in [
            ("monitors", "", "ab01"),
            ("monitor_updates", "ab01", "7"),
            ("", "", "network_graph"),
        ] {
            ours.write(primary, secondary, key, b"ours".to_vec())
                .unwrap();
            assert_eq!(theirs.list(primary, secondary).unwrap(), [key]);
            assert_eq!(theirs.read(primary, secondary, key).unwrap(), b"ours");
            KVStoreSync::write(&theirs, primary, secondary, key, b"theirs".to_vec()).unwrap();
            assert_eq!(ours.read(primary, secondary, key).unwrap(), b"theirs");
            assert_eq!(ours.list(primary, secondary).unwrap(), [key]);
            ours.remove(primary, secondary, key, false).unwrap();
            assert!(theirs.list(primary, secondary).unwrap().is_empty());
        }
    }

    #[test]
    fn a_write_passes_its_stages_in_order_and_shows_its_key_only_after_the_rename() {
        let (_folder, store) = store();
        let mut stages = Vec::new();
        store
            .write_in_stages(("monitors", "", "ab"), b"bytes", &mut |stage| {
                stages.push((stage, store.list("monitors", "")?.len()));
                Ok(())
            })
            .unwrap();
        assert_eq!(
            stages,
            [(Stage::Written, 0), (Stage::Synced, 0), (Stage::Renamed, 1)]
        );
    }

    #[test]
    fn a_write_that_ends_half_way_leaves_the_record_before_it() {
        let (_folder, store) = store();
        store.write("monitors", "", "ab", b"old".to_vec()).unwrap();
        for end in [Stage::Written, Stage::Synced] {
            let ended = store.write_in_stages(("monitors", "", "ab"), b"new", &mut |stage| {
                if stage == end {
                    return Err(invalid("ended here"));
                }
                Ok(())
            });
            assert!(ended.is_err());
            assert_eq!(store.read("monitors", "", "ab").unwrap(), b"old");
            assert_eq!(store.list("monitors", "").unwrap(), ["ab"]);
        }
    }

    #[test]
    fn a_name_that_would_leave_the_folder_is_refused() {
        let (_folder, store) = store();
        for (primary, secondary, key) in [
            ("..", "", "a"),
            ("monitors", "../..", "a"),
            ("monitors", "", "a/b"),
            ("monitors", "", ""),
            ("", "x", "a"),
        ] {
            assert!(
                store
                    .write(primary, secondary, key, b"bytes".to_vec())
                    .is_err()
            );
        }
    }

    #[test]
    fn what_is_not_there_is_not_found_and_can_be_removed() {
        let (_folder, store) = store();
        let error = store.read("monitors", "", "ab").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        store.remove("monitors", "", "ab", false).unwrap();
    }
}
