//! How a command ends, as a number.

use crate::explore::Tally;

/// Every case passed, or the command did what it was asked.
pub const EXIT_PASS: u8 = 0;
/// At least one case failed. Comes before everything else that went wrong beside it.
pub const EXIT_FAIL: u8 = 1;
/// No case failed, and at least one could not be judged.
pub const EXIT_NOT_RUN: u8 = 2;
/// bitcoind or electrs is missing and could not be built.
pub const EXIT_SET_UP: u8 = 96;
/// The command line, a scenario or a plan is wrong; nothing was started.
pub const EXIT_USAGE: u8 = 97;
/// The rig itself went wrong, or `judge` came to another result than the run did.
pub const EXIT_RIG_FAULT: u8 = 100;
/// Stopped by the user.
pub const EXIT_INTERRUPTED: u8 = 130;

/// The same for `--help`.
pub(super) const EXIT_CODES_HELP: &str = "\
Exit codes:
    0  all cases passed
    1  a case failed
    2  no case failed, and at least one could not be judged
   96  set-up: bitcoind or electrs is missing and cannot be built
   97  the command line, a scenario or a plan is wrong; nothing was started
  100  the rig itself went wrong, or `judge` came to another result than the run
  130  interrupted";

/// The exit code of these totals: a failure outweighs a rig fault, that a case that was not judged.
pub(super) fn exit_code_of(tally: &Tally) -> u8 {
    if tally.fail > 0 {
        EXIT_FAIL
    } else if tally.rig_fault > 0 {
        EXIT_RIG_FAULT
    } else if tally.not_run > 0 {
        EXIT_NOT_RUN
    } else {
        EXIT_PASS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_outweighs_a_rig_fault_and_that_a_case_that_was_not_judged() {
        for (pass, fail, rig_fault, not_run, code) in [
            (9, 0, 0, 0, EXIT_PASS),
            (9, 1, 1, 1, EXIT_FAIL),
            (9, 0, 1, 1, EXIT_RIG_FAULT),
            (9, 0, 0, 1, EXIT_NOT_RUN),
        ] {
            let tally = Tally {
                pass,
                fail,
                not_run,
                rig_fault,
                ..Tally::default()
            };
            assert_eq!(exit_code_of(&tally), code);
        }
    }
}
