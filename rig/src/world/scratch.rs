//! The folder of one case: where it lives, what is in it, and that it goes away again. Copies a node's data
//! without looking into it; knows but one folder there, the one to delete when a node has to forget.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use node_bin::api::PAYMENT_RECORDS;

use super::rig_fault::RigFault;

/// In memory: a case's data should cost nothing.
const MEMORY_ROOT: &str = "/dev/shm";

/// The path of a Unix socket has to fit into 107 bytes.
const LONGEST_SOCKET_PATH_BYTES: usize = 107;

/// What a killed rig left behind can be read for so long, then the next rig removes it.
const LEFTOVERS_KEPT: Duration = Duration::from_secs(3_600);

static NEXT_CASE: AtomicU64 = AtomicU64::new(1);

/// `/dev/shm/deadbolt-<pid>`, or the same in the folder for temporary files. Removes what rigs
/// that are long dead left there.
pub(super) fn default_root() -> PathBuf {
    let memory = Path::new(MEMORY_ROOT);
    let parent = match memory.is_dir() {
        true => memory.to_path_buf(),
        false => std::env::temp_dir(),
    };
    remove_leftovers(&parent);
    parent.join(format!("deadbolt-{}", std::process::id()))
}

fn remove_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix("deadbolt-"));
        let Some(pid) = owner.and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        let age = entry.metadata().and_then(|data| data.modified());
        let old = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFTOVERS_KEPT));
        let is_ours = entry.path().join(MARK).exists();
        if old && is_ours && !Path::new("/proc").join(pid.to_string()).exists() {
            // Somebody else may be removing it too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Tells a rig's folder from anything else of that name.
const MARK: &str = "cases-of-deadbolt";

/// The folder of one case: `trace.jsonl`, `nodes/<name>/` with configurations, outputs and data,
/// and `stored/<node>-<life>-before|after` with the data around each kill. Removed when dropped.
#[derive(Debug)]
pub struct CaseScratch {
    path: PathBuf,
}

impl CaseScratch {
    /// A new folder below `root`.
    pub(super) fn create(root: &Path) -> Result<Self, RigFault> {
        let path = root.join(format!("c{}", NEXT_CASE.fetch_add(1, Ordering::Relaxed)));
        let fault = |error: std::io::Error| RigFault::folder(&path, &error);
        fs::create_dir_all(path.join("nodes")).map_err(fault)?;
        fs::create_dir(path.join("stored")).map_err(fault)?;
        fs::write(root.join(MARK), "").map_err(fault)?;
        Ok(CaseScratch { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Copies everything in it, but for sockets, to `destination`, which is created.
    ///
    /// # Errors
    /// When the destination cannot be written: its disk is full, for example.
    pub fn keep(&self, destination: &Path) -> std::io::Result<()> {
        copy_folder(&self.path, destination)
    }

    pub(super) fn trace(&self) -> PathBuf {
        self.path.join("trace.jsonl")
    }

    pub(super) fn node(&self, name: &str) -> PathBuf {
        self.path.join("nodes").join(name)
    }

    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.node(name).join("data")
    }

    /// A socket of its own for each life, so that a killed process's is in nobody's way.
    pub(super) fn socket(&self, name: &str, life: u32) -> Result<PathBuf, RigFault> {
        let path = self.path.join(format!("{name}.{life}"));
        match path.as_os_str().len() <= LONGEST_SOCKET_PATH_BYTES {
            true => Ok(path),
            false => Err(RigFault::Folder {
                message: format!(
                    "too long for a Unix socket ({LONGEST_SOCKET_PATH_BYTES} bytes): \
                     choose a shorter scratch folder"
                ),
                path,
            }),
        }
    }

    /// Keeps a copy of a node's data under a name.
    pub(super) fn save(&self, node: &str, name: &str) -> Result<(), RigFault> {
        let saved = self.saved(node, name);
        copy_folder(&self.data(node), &saved).map_err(|error| RigFault::folder(&saved, &error))
    }

    /// Puts such a copy in the place of what the node has now.
    pub(super) fn put_back(&self, node: &str, name: &str) -> Result<(), RigFault> {
        let data = self.data(node);
        let fault = |error: std::io::Error| RigFault::folder(&data, &error);
        fs::remove_dir_all(&data).map_err(fault)?;
        copy_folder(&self.saved(node, name), &data).map_err(fault)
    }

    /// Deletes a unified node's records of payments, if it has any.
    pub(super) fn forget_payments(&self, node: &str) -> Result<(), RigFault> {
        let records = self.data(node).join(PAYMENT_RECORDS);
        match fs::remove_dir_all(&records) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(RigFault::folder(&records, &error))
            }
            _ => Ok(()),
        }
    }

    fn saved(&self, node: &str, name: &str) -> PathBuf {
        self.path.join("stored").join(format!("{node}={name}"))
    }

    /// Copies a node's data as it is now.
    pub(super) fn snapshot(&self, name: &str, life: u32, when: &str) -> Result<(), RigFault> {
        let stored = self
            .path
            .join("stored")
            .join(format!("{name}-{life}-{when}"));
        copy_folder(&self.data(name), &stored).map_err(|error| RigFault::folder(&stored, &error))
    }
}

impl Drop for CaseScratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed as a leftover later.
        let _ = fs::remove_dir_all(&self.path);
        if let Some(root) = self.path.parent() {
            // Succeeds for nobody but the last case of a rig.
            let is_last = fs::read_dir(root).is_ok_and(|entries| entries.count() == 1);
            if is_last && fs::remove_file(root.join(MARK)).is_ok() {
                let _ = fs::remove_dir(root);
            }
        }
    }
}

/// Copies files and folders; a file that vanishes meanwhile (a living node's) is left out.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_file() {
            match fs::copy(entry.path(), &target) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied?),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_folder_is_kept_by_copy_and_removed_when_dropped() {
        let root = bitcoind::tempfile::tempdir().unwrap();
        let scratch = CaseScratch::create(root.path()).unwrap();
        fs::create_dir_all(scratch.data("A").join("monitors")).unwrap();
        fs::write(scratch.data("A").join("monitors/one"), "kept").unwrap();
        let socket = scratch.socket("A", 0).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        scratch.snapshot("A", 0, "before").unwrap();
        let kept = root.path().join("kept");
        scratch.keep(&kept).unwrap();
        let path = scratch.path().to_path_buf();
        drop(scratch);
        assert!(!path.exists());
        for file in [
            "nodes/A/data/monitors/one",
            "stored/A-0-before/monitors/one",
        ] {
            assert_eq!(fs::read_to_string(kept.join(file)).unwrap(), "kept");
        }
        assert!(!kept.join("A.0").exists(), "a socket is not evidence");
    }

    #[test]
    fn a_node_that_forgets_loses_its_payments_and_nothing_else() {
        let root = bitcoind::tempfile::tempdir().unwrap();
        let scratch = CaseScratch::create(root.path()).unwrap();
        scratch.forget_payments("B").unwrap();
        let data = scratch.data("A");
        for file in ["names.json", "store/monitors/one", "store/payments/one"] {
            fs::create_dir_all(data.join(file).parent().unwrap()).unwrap();
            fs::write(data.join(file), "kept").unwrap();
        }
        scratch.forget_payments("A").unwrap();
        assert!(!data.join("store/payments").exists());
        for file in ["names.json", "store/monitors/one"] {
            assert_eq!(fs::read_to_string(data.join(file)).unwrap(), "kept");
        }
    }

    #[test]
    fn a_scratch_folder_too_deep_for_sockets_is_refused_with_advice() {
        let root = bitcoind::tempfile::tempdir().unwrap();
        let scratch = CaseScratch::create(&root.path().join("d".repeat(120))).unwrap();
        let fault = scratch.socket("A", 0).unwrap_err();
        assert!(
            fault.to_string().contains("shorter scratch folder"),
            "{fault}"
        );
    }

    #[test]
    fn a_root_that_cannot_be_written_is_named() {
        let root = bitcoind::tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let fault = CaseScratch::create(&file).unwrap_err();
        assert!(fault.to_string().contains("file"), "{fault}");
    }
}
