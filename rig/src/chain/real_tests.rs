//! Tests on a real bitcoind and a real electrs.

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bitcoin::{Amount, ScriptBuf, WPubkeyHash, hashes::Hash};
use bitcoind::tempfile::TempDir;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, BufReader, Interest};

use super::*;

/// Set in the child rig of the SIGKILL test: the folder to work in.
const CHILD_RIG_FOLDER: &str = "DEADBOLT_TEST_CHILD_RIG_FOLDER";

/// Where the real parts are: the one place that knows.
fn parts() -> (PathBuf, PathBuf) {
    let parts = crate::setup::ensure(&crate::setup::SilentProgress).unwrap();
    (parts.bitcoind.path, parts.electrs.path)
}

async fn pair(folder: &TempDir) -> ChainPair {
    let (bitcoind, electrs) = parts();
    ChainPair::start(&bitcoind, &electrs, folder.path())
        .await
        .unwrap()
}

fn folder() -> TempDir {
    bitcoind::tempfile::tempdir().unwrap()
}

/// A script of nobody's, different for each number.
fn script(number: u8) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([number; 20]))
}

/// Whether a process exists that is more than an unreaped name.
fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

#[tokio::test]
async fn a_fresh_pair_mines_and_funds() {
    let folder = folder();
    let pair = pair(&folder).await;
    let before = pair.tip().await.unwrap();
    let outputs = [
        (script(1), Amount::from_sat(70_000)),
        (script(2), Amount::from_sat(80_000)),
    ];
    let funding = pair.fund(&outputs).await.unwrap();
    assert_eq!(pair.mempool().await.unwrap(), [funding.compute_txid()]);
    let empty = pair.mine_empty(2).await.unwrap();
    assert_eq!(pair.block(empty[1]).await.unwrap().txdata.len(), 1);
    let hashes = pair.mine(1).await.unwrap();
    assert!(pair.mempool().await.unwrap().is_empty());
    let blocks = pair
        .blocks(before.height + 1..=before.height + 3)
        .await
        .unwrap();
    assert_eq!(blocks.len(), 3);
    assert_eq!(blocks[2].block_hash(), hashes[0]);
    assert_eq!(blocks[2].txdata[1], funding);
    assert_eq!(
        pair.tip().await.unwrap(),
        Tip {
            height: before.height + 3,
            hash: hashes[0]
        }
    );
}

#[tokio::test]
async fn many_fundings_in_one_block_never_run_out_of_unspent_chain() {
    let folder = folder();
    let pair = pair(&folder).await;
    for number in 0..60 {
        pair.fund(&[(script(number), Amount::from_sat(100_000_000))])
            .await
            .unwrap();
    }
    pair.mine(1).await.unwrap();
    assert!(pair.mempool().await.unwrap().is_empty());
}

#[tokio::test]
async fn electrs_agrees_on_the_tip_after_fifty_blocks_and_on_the_history_of_a_funded_script() {
    let folder = folder();
    let pair = pair(&folder).await;
    let funding = pair
        .fund(&[(script(1), Amount::from_sat(70_000))])
        .await
        .unwrap();
    pair.mine(1).await.unwrap();
    let height = pair.tip().await.unwrap().height;
    pair.mine(49).await.unwrap();
    assert_eq!(pair.electrs_synced().await.unwrap(), height + 49);
    let expected = vec![(funding.compute_txid(), height as i32)];
    assert_eq!(pair.history(&script(1)).await.unwrap(), expected);
    let both = pair.histories(&[script(2), script(1)]).await.unwrap();
    assert_eq!(both, [vec![], expected]);
}

#[tokio::test]
async fn electrs_lives_through_blocks_that_are_taken_off_as_soon_as_they_are_mined() {
    let folder = folder();
    let pair = pair(&folder).await;
    for _ in 0..40 {
        let first = pair.mine(2).await.unwrap()[0];
        pair.invalidate(first).await.unwrap();
        pair.mine_empty(3).await.unwrap();
    }
    let tip = pair.tip().await.unwrap().height;
    assert_eq!(pair.electrs_synced().await.unwrap(), tip);
}

#[tokio::test]
async fn a_reorg_is_followed_by_electrs() {
    let folder = folder();
    let pair = pair(&folder).await;
    let funding = pair
        .fund(&[(script(1), Amount::from_sat(70_000))])
        .await
        .unwrap();
    let first = pair.mine(3).await.unwrap()[0];
    let old = pair.tip().await.unwrap();
    pair.electrs_synced().await.unwrap();
    pair.invalidate(first).await.unwrap();
    assert_eq!(pair.mempool().await.unwrap(), [funding.compute_txid()]);
    pair.mine_empty(1).await.unwrap();
    assert_eq!(pair.electrs_synced().await.unwrap(), old.height - 2);
    pair.mine(3).await.unwrap();
    assert_eq!(pair.electrs_synced().await.unwrap(), old.height + 1);
    let expected = vec![(funding.compute_txid(), old.height as i32 - 1)];
    assert_eq!(pair.history(&script(1)).await.unwrap(), expected);
    pair.fund(&[(script(2), Amount::from_sat(70_000))])
        .await
        .unwrap();
    assert!(pair.is_damaged(), "a pool must not lease it out again");
}

#[tokio::test]
async fn a_killed_bitcoind_is_reported_as_died_with_its_last_log_lines() {
    let folder = folder();
    let pair = pair(&folder).await;
    kill(
        Pid::from_raw(pair.pid(ProcessName::Bitcoind).unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    let started = Instant::now();
    let error = pair.mine(1).await.unwrap_err();
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    let ChainError::ProcessDied {
        what,
        status,
        log_tail,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*what, ProcessName::Bitcoind);
    assert!(status.contains("SIGKILL"), "{status}");
    assert!(
        log_tail.iter().any(|line| line.contains("UpdateTip")),
        "{log_tail:?}"
    );
    assert!(matches!(pair.died().await, ChainError::ProcessDied { .. }));
    assert!(pair.is_damaged());
}

#[tokio::test]
async fn a_killed_electrs_is_reported_as_died() {
    let folder = folder();
    let pair = pair(&folder).await;
    kill(
        Pid::from_raw(pair.pid(ProcessName::Electrs).unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    pair.mine(1).await.unwrap();
    let error = pair.electrs_synced().await.unwrap_err();
    let ChainError::ProcessDied { what, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*what, ProcessName::Electrs);
    assert!(pair.histories(&[script(1)]).await.is_err());
}

/// A program that says why it cannot run, and ends.
fn broken_program(folder: &TempDir) -> PathBuf {
    let program = folder.path().join("broken");
    std::fs::write(
        &program,
        "#!/bin/sh\necho 'cannot run on this machine'\nexit 1\n",
    )
    .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&program, mode).unwrap();
    program
}

#[tokio::test]
async fn a_program_that_dies_at_start_is_reported_soon_with_its_words() {
    let folder = folder();
    let (bitcoind, electrs) = parts();
    let broken = broken_program(&folder);
    let pairs = [
        (&broken, &electrs, ProcessName::Bitcoind),
        (&bitcoind, &broken, ProcessName::Electrs),
    ];
    for (bitcoind, electrs, culprit) in pairs {
        let started = Instant::now();
        let error = ChainPair::start(bitcoind, electrs, folder.path())
            .await
            .err()
            .unwrap();
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{:?}",
            started.elapsed()
        );
        let ChainError::ProcessDied { what, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*what, culprit);
        assert!(
            error.to_string().contains("cannot run on this machine"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_refused_call_names_the_method_and_the_code() {
    let folder = folder();
    let pair = pair(&folder).await;
    let error = pair.blocks(5_000..=5_001).await.unwrap_err();
    let ChainError::Rpc { method, code, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((method.as_str(), *code), ("getblockhash", -8));
    let everything = Amount::from_sat(2_000_000_000_000_000);
    let error = pair.fund(&[(script(1), everything)]).await.unwrap_err();
    assert!(matches!(error, ChainError::OutOfCoins { .. }), "{error}");
}

#[tokio::test]
async fn both_processes_listen_on_loopback_only_and_end_with_the_pair() {
    let folder = folder();
    let pair = pair(&folder).await;
    let pids = [ProcessName::Bitcoind, ProcessName::Electrs].map(|what| pair.pid(what).unwrap());
    for pid in pids {
        let open = open_ports(pid);
        assert!(!open.is_empty());
        assert!(open.iter().all(|address| address != "00000000"), "{open:?}");
    }
    drop(pair);
    assert!(pids.iter().all(|&pid| !is_running(pid)));
}

/// The IPv4 addresses, in /proc's hex, that a process listens on.
fn open_ports(pid: i32) -> Vec<String> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten();
    let sockets: Vec<String> = links
        .filter_map(|link| std::fs::read_link(link.path()).ok())
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.replace(']', "")))
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let rows = table
        .lines()
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 9 && row[3] == "0A" && sockets.iter().any(|s| s == row[9]))
        .map(|row| row[1].split(':').next().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn the_pool_never_shares_a_pair_and_replaces_old_and_damaged_ones() {
    let folder = folder();
    let (bitcoind, electrs) = parts();
    let limits = PoolLimits {
        retire_after_blocks: 300,
        successor_after_blocks: 200,
    };
    let pool = ChainPool::with_limits(&bitcoind, &electrs, 2, folder.path(), limits);
    let (one, two) = tokio::join!(pool.lease(), pool.lease());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.rpc_url(), two.rpc_url());
    let third = tokio::time::timeout(Duration::from_millis(50), pool.lease()).await;
    assert!(third.is_err(), "both pairs are leased");
    drop(two);

    let url = one.rpc_url();
    one.fund(&[(script(1), Amount::from_sat(70_000))])
        .await
        .unwrap();
    drop(one);
    let again = pool.lease().await.unwrap();
    assert_eq!(again.rpc_url(), url, "a young pair serves case after case");
    assert!(
        again.mempool().await.unwrap().is_empty(),
        "each case starts with an empty mempool"
    );

    again.mine(200).await.unwrap();
    let pid = again.pid(ProcessName::Bitcoind).unwrap();
    drop(again);
    let (three, four) = tokio::join!(pool.lease(), pool.lease());
    let (three, four) = (three.unwrap(), four.unwrap());
    assert!(
        three.rpc_url() != url && four.rpc_url() != url,
        "an old pair is retired"
    );
    assert!(!is_running(pid));

    let damaged = three.rpc_url();
    three.mark_damaged();
    drop(three);
    let five = pool.lease().await.unwrap();
    assert_ne!(five.rpc_url(), damaged);
}

#[tokio::test]
async fn a_pair_that_died_on_the_shelf_is_not_leased() {
    let folder = folder();
    let (bitcoind, electrs) = parts();
    let pool = ChainPool::new(&bitcoind, &electrs, 1, folder.path());
    let lease = pool.lease().await.unwrap();
    let pid = lease.pid(ProcessName::Electrs).unwrap();
    drop(lease);
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let lease = pool.lease().await.unwrap();
    lease.mine(1).await.unwrap();
    assert!(lease.electrs_synced().await.is_ok());
}

/// Not a test of its own: the rig that the next test kills. Without the variable it does nothing.
#[tokio::test]
async fn child_rig_for_the_sigkill_test() {
    let Some(folder) = std::env::var_os(CHILD_RIG_FOLDER) else {
        return;
    };
    let (bitcoind, electrs) = parts();
    let pair = ChainPair::start(&bitcoind, &electrs, &PathBuf::from(folder))
        .await
        .unwrap();
    let pid = |what| pair.pid(what).unwrap();
    println!(
        "\npids {} {}",
        pid(ProcessName::Bitcoind),
        pid(ProcessName::Electrs)
    );
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_sigkill_of_the_rig_leaves_no_process_behind() {
    let folder = folder();
    let mut rig = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "chain::real_tests::child_rig_for_the_sigkill_test",
            "--nocapture",
        ])
        .env(CHILD_RIG_FOLDER, folder.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(rig.stdout.take().unwrap()).lines();
    let pids: Vec<i32> = loop {
        let line = lines
            .next_line()
            .await
            .unwrap()
            .expect("the child rig tells its pids");
        if let Some(pids) = line.strip_prefix("pids ") {
            break pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
        }
    };
    assert!(pids.len() == 2 && pids.iter().all(|&pid| is_running(pid)));
    let ends = pids.iter().map(|&pid| end_of(pid)).collect::<Vec<_>>();
    rig.start_kill().unwrap();
    rig.wait().await.unwrap();
    for end in ends {
        let ended = tokio::time::timeout(Duration::from_secs(10), end.readable()).await;
        ended.expect("it dies with the rig").unwrap().retain_ready();
    }
    assert!(pids.iter().all(|&pid| !is_running(pid)));
}

/// A file descriptor that becomes readable when a process, not our child, ends.
fn end_of(pid: i32) -> AsyncFd<OwnedFd> {
    // SAFETY: a plain system call without pointers; its result is checked before it is owned.
    let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
    assert!(fd >= 0, "no pidfd of {pid}");
    // SAFETY: the kernel has just made this descriptor for us alone.
    let owned = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    // SAFETY: the descriptor is owned by the returned value and stays open as long as it.
    unsafe { AsyncFd::register_with_interest(owned, Interest::READABLE) }.unwrap()
}
