//! The user's cache of built programs. Owns its layout, the lock that lets one set-up build at a
//! time, and the way a finished binary gets in: whole, or not at all. It builds nothing.
//!
//! ```text
//! <cache>/bitcoind/<version>/bitcoind    <cache>/electrs/<version>/electrs
//! <cache>/log/<part>.log                 the output of the last build
//! <cache>/scratch/<part>-<pid>/          a build under way; exists only while the lock is held
//! <cache>/lock                           names the process that holds it
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;

use super::error::SetupError;
use super::machine::Machine;
use super::part::PartKind;
use super::progress::{LINE_INTERVAL, Progress};

/// Longer than two builds take on a slow machine.
const LOCK_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// The cache folder. Making one up touches no file.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// The right to build; dropping it, or dying, gives it up.
pub struct CacheLock {
    cache: Cache,
    // Held for its lock only.
    _file: File,
}

/// A folder for one build, removed when dropped. One left by a killed build is removed by the next
/// to take the lock.
pub struct Scratch {
    folder: PathBuf,
}

impl Cache {
    /// `$DEADBOLT_CACHE`, else `$XDG_CACHE_HOME/deadbolt`, else `~/.cache/deadbolt`.
    ///
    /// # Errors
    /// `NoCacheFolder` when none of the variables is set.
    pub fn of(machine: &Machine) -> Result<Self, SetupError> {
        let folder = if let Some(chosen) = machine.variable("DEADBOLT_CACHE") {
            std::path::absolute(chosen).map_err(file_error("use", Path::new(chosen)))?
        } else if let Some(folder) = machine.variable("XDG_CACHE_HOME").map(Path::new)
            // The XDG rules have a relative path ignored.
            && folder.is_absolute()
        {
            folder.join("deadbolt")
        } else {
            let home = machine.variable("HOME").ok_or(SetupError::NoCacheFolder)?;
            Path::new(home).join(".cache/deadbolt")
        };
        Ok(Self { folder })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a part of that version key belongs.
    pub fn binary(&self, kind: PartKind, key: &str) -> PathBuf {
        self.folder.join(kind.name()).join(key).join(kind.name())
    }

    /// The cached binaries of a part whose version key ends as given, newest key first.
    pub fn binaries(&self, kind: PartKind, key_end: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.folder.join(kind.name())) else {
            return Vec::new();
        };
        let mut keys: Vec<_> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|key| key.ends_with(key_end))
            .collect();
        keys.sort_by(|a, b| b.cmp(a));
        let paths = keys.iter().map(|key| self.binary(kind, key));
        paths.filter(|path| path.is_file()).collect()
    }

    /// A fresh log file for one stage, and its path.
    pub fn create_log(&self, name: &str) -> Result<(PathBuf, File), SetupError> {
        let folder = self.folder.join("log");
        create_folder(&folder)?;
        let path = folder.join(format!("{name}.log"));
        let file = File::create(&path).map_err(file_error("write", &path))?;
        Ok((path, file))
    }

    /// Takes the lock, waiting for another set-up to end if there is one, and removes what dead
    /// builds left behind.
    pub fn lock(&self, progress: &dyn Progress) -> Result<CacheLock, SetupError> {
        self.lock_within(progress, LOCK_LIMIT)
    }

    fn lock_within(
        &self,
        progress: &dyn Progress,
        limit: Duration,
    ) -> Result<CacheLock, SetupError> {
        create_folder(&self.folder)?;
        let path = self.folder.join("lock");
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(file_error("open", &path))?;
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => wait_for_lock(&file, &path, progress, limit)?,
            Err(TryLockError::Error(error)) => return Err(file_error("lock", &path)(error)),
        }
        // The name is a courtesy to those who wait; the lock does not depend on it.
        let _ = file
            .set_len(0)
            .and_then(|()| write!(file, "{}", std::process::id()));
        let lock = CacheLock {
            cache: self.clone(),
            _file: file,
        };
        lock.clear_scratch(progress);
        Ok(lock)
    }

    fn scratch_folder(&self) -> PathBuf {
        self.folder.join("scratch")
    }
}

impl CacheLock {
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// An empty folder on the cache's own file system, so that a rename out of it is atomic.
    ///
    /// # Errors
    /// A file error, or `NoSpace` when fewer than `needed_mib` MiB are free.
    pub fn scratch(&self, kind: PartKind, needed_mib: u64) -> Result<Scratch, SetupError> {
        let name = format!("{}-{}", kind.name(), std::process::id());
        let folder = self.cache.scratch_folder().join(name);
        create_folder(&folder)?;
        let scratch = Scratch { folder };
        match free_mib(&scratch.folder) {
            Some(free_mib) if free_mib < needed_mib => Err(SetupError::NoSpace {
                folder: self.cache.folder.clone(),
                free_mib,
                needed_mib,
            }),
            _ => Ok(scratch),
        }
    }

    /// Moves a built binary to its place. After a crash at any moment the place holds the old
    /// binary, the new one or none.
    pub fn publish(&self, binary: &Path, kind: PartKind, key: &str) -> Result<PathBuf, SetupError> {
        let place = self.cache.binary(kind, key);
        if let Some(folder) = place.parent() {
            create_folder(folder)?;
        }
        // The contents first: a name must not survive a power cut that its contents did not.
        File::open(binary)
            .and_then(|file| file.sync_all())
            .map_err(file_error("sync", binary))?;
        fs::rename(binary, &place).map_err(file_error("create", &place))?;
        Ok(place)
    }

    fn clear_scratch(&self, progress: &dyn Progress) {
        let folder = self.cache.scratch_folder();
        match fs::remove_dir_all(&folder) {
            Ok(()) => (),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            // Only space is lost: the next build's folder has another name.
            Err(error) => progress.note(&format!("cannot remove {}: {error}", folder.display())),
        }
    }
}

impl Scratch {
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next set-up to take the lock.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Free space for this user in MiB; `None` when the folder cannot be asked.
pub fn free_mib(folder: &Path) -> Option<u64> {
    let stat = statvfs(folder).ok()?;
    Some(stat.blocks_available() * stat.fragment_size() / (1024 * 1024))
}

/// Turns an I/O error into one that names the file and what was wanted of it.
pub fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SetupError {
    let path = path.to_owned();
    move |source| SetupError::File {
        action,
        path,
        source,
    }
}

fn create_folder(folder: &Path) -> Result<(), SetupError> {
    fs::create_dir_all(folder).map_err(file_error("create", folder))
}

fn wait_for_lock(
    file: &File,
    path: &Path,
    progress: &dyn Progress,
    limit: Duration,
) -> Result<(), SetupError> {
    let holder = fs::read_to_string(path)
        .ok()
        .filter(|holder| !holder.is_empty())
        .unwrap_or_else(|| "unknown".to_owned());
    progress.step("another deadbolt setup is running, waiting");
    // A clone shares the lock, so what the thread takes is ours.
    let waiting = file.try_clone().map_err(file_error("lock", path))?;
    let (sender, locked) = mpsc::channel();
    thread::spawn(move || sender.send(waiting.lock()));
    let began = Instant::now();
    while began.elapsed() < limit {
        let left = limit.saturating_sub(began.elapsed());
        match locked.recv_timeout(left.min(LINE_INTERVAL)) {
            Ok(result) => return result.map_err(file_error("lock", path)),
            Err(RecvTimeoutError::Timeout) => {
                progress.advance(0, None, &format!("for process {holder}"));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Err(SetupError::LockTimeout {
        path: path.to_owned(),
        holder,
        waited: began.elapsed(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::progress::SilentProgress;
    use super::*;

    fn cache_with(variables: &[(&str, &str)]) -> Result<Cache, SetupError> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        Cache::of(&Machine::new(
            variables,
            false,
            PathBuf::new(),
            PathBuf::new(),
        ))
    }

    #[test]
    fn the_cache_folder_follows_its_variables_in_order() {
        let own = ("DEADBOLT_CACHE", "/own");
        let xdg = ("XDG_CACHE_HOME", "/xdg");
        let home = ("HOME", "/home/me");
        let folder = |variables: &[_]| cache_with(variables).unwrap().folder;
        assert_eq!(folder(&[own, xdg, home]), Path::new("/own"));
        assert_eq!(folder(&[xdg, home]), Path::new("/xdg/deadbolt"));
        assert_eq!(folder(&[home]), Path::new("/home/me/.cache/deadbolt"));
        assert_eq!(
            folder(&[("XDG_CACHE_HOME", "relative"), home]),
            Path::new("/home/me/.cache/deadbolt")
        );
        assert!(matches!(cache_with(&[]), Err(SetupError::NoCacheFolder)));
    }

    #[test]
    fn leftover_scratch_folders_of_dead_builds_are_removed_by_the_next_lock() {
        let folder = tempfile::tempdir().unwrap();
        let dead = folder.path().join("scratch/bitcoind-1/build");
        fs::create_dir_all(&dead).unwrap();
        fs::write(dead.join("half"), "half a binary").unwrap();
        let cache = Cache {
            folder: folder.path().to_owned(),
        };
        let lock = cache.lock(&SilentProgress).unwrap();
        assert!(!cache.scratch_folder().exists());
        let scratch = lock.scratch(PartKind::Electrs, 0).unwrap();
        assert!(scratch.folder().is_dir());
        let path = scratch.folder().to_owned();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn waiting_for_the_lock_is_bounded_and_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache {
            folder: folder.path().to_owned(),
        };
        let _held = cache.lock(&SilentProgress).unwrap();
        let error = cache
            .lock_within(&SilentProgress, Duration::from_millis(50))
            .err()
            .unwrap();
        let text = error.to_string();
        assert!(
            text.contains(&format!("process {}", std::process::id())),
            "{text}"
        );
    }

    #[test]
    fn a_build_without_enough_space_is_refused_before_it_starts() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache {
            folder: folder.path().to_owned(),
        };
        let lock = cache.lock(&SilentProgress).unwrap();
        let refused = lock.scratch(PartKind::Bitcoind, u64::MAX);
        assert!(matches!(refused, Err(SetupError::NoSpace { .. })));
    }

    #[test]
    fn a_cache_that_cannot_be_made_is_reported_with_its_path() {
        let cache = Cache {
            folder: PathBuf::from("/dev/null/cache"),
        };
        let text = cache.lock(&SilentProgress).err().unwrap().to_string();
        assert!(text.contains("/dev/null/cache") && text.contains("DEADBOLT_CACHE"));
    }
}
