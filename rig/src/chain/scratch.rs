//! The data folder of a pair: in memory (`/dev/shm`) when there is room, else in the work folder.
//! Owns its creation and removal, and sweeps folders that a killed rig left behind. Never holds
//! evidence: logs live in the work folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::ChainError;

const MEMORY_ROOT: &str = "/dev/shm";

/// A pair needs some 60 MB over its life; containers often give /dev/shm only 64 MB in all.
const MEMORY_NEEDED_BYTES: u64 = 512 * 1024 * 1024;

const LOCK_NAME: &str = "lock";

/// A data folder that exists as long as this value.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    /// Held locked for life: a folder whose lock is free belongs to a rig that is gone.
    _lock: File,
}

impl Scratch {
    /// Creates a fresh folder in memory or under `work_dir`, after removing those of dead rigs.
    pub(super) fn create(work_dir: &Path) -> Result<Self, ChainError> {
        let root = match memory_root() {
            Some(root) => root,
            None => work_dir.join("data"),
        };
        Self::create_in(&root)
    }

    fn create_in(root: &Path) -> Result<Self, ChainError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("{}-{number}", std::process::id()));
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |error: std::io::Error| ChainError::from_io(&path, &error)
        };
        fs::create_dir_all(root).map_err(io(root))?;
        // Creating and sweeping exclude each other, or a sweeper could take a folder that has
        // been created but not yet locked.
        let root_lock_path = root.join("root.lock");
        let root_lock = File::create(&root_lock_path).map_err(io(&root_lock_path))?;
        root_lock.lock().map_err(io(&root_lock_path))?;
        sweep(root);
        fs::create_dir(&path).map_err(io(&path))?;
        let lock_path = path.join(LOCK_NAME);
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        lock.lock().map_err(io(&lock_path))?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover is swept by the next rig.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The folder in memory, when the machine has one with enough room.
fn memory_root() -> Option<PathBuf> {
    let stat = nix::sys::statvfs::statvfs(MEMORY_ROOT).ok()?;
    let free_bytes = stat.blocks_available().saturating_mul(stat.fragment_size());
    let root = Path::new(MEMORY_ROOT).join(format!("deadbolt-{}", nix::unistd::getuid()));
    let usable = free_bytes >= MEMORY_NEEDED_BYTES && fs::create_dir_all(&root).is_ok();
    usable.then_some(root)
}

/// Removes the folders whose owner is gone.
fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else {
        return;
    };
    for entry in entries.flatten() {
        let folder = entry.path();
        if !folder.is_dir() {
            continue;
        }
        let abandoned = match File::open(folder.join(LOCK_NAME)) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        if abandoned {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_dead_rigs_are_swept_and_those_of_living_ones_stay() {
        let root = bitcoind::tempfile::tempdir().unwrap();
        let living = Scratch::create_in(root.path()).unwrap();
        let dead = root.path().join("4194304-0");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK_NAME), "").unwrap();
        fs::write(dead.join("blk00000.dat"), "leftover").unwrap();
        let another = Scratch::create_in(root.path()).unwrap();
        assert!(!dead.exists());
        assert!(living.path().is_dir());
        assert!(another.path().is_dir());
    }

    #[test]
    fn a_folder_is_removed_with_its_owner() {
        let root = bitcoind::tempfile::tempdir().unwrap();
        let scratch = Scratch::create_in(root.path()).unwrap();
        let path = scratch.path().to_path_buf();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_an_error_that_names_it() {
        let root = bitcoind::tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Scratch::create_in(&file.join("data")).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }
}
