//! A case in words: which flow, which world, which faults. Written by the explorer, read back for a replay.

use std::fmt;
use std::str::FromStr;

use super::fault::Fault;
use super::flows::start;
use super::setup::SetupError;
use super::world::{Persistence, Schedule, World};

/// A case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The flow's name.
    pub flow: String,
    /// When writes are durable.
    pub persistence: Persistence,
    /// What happens next.
    pub schedule: Schedule,
    /// Keys and dice.
    pub seed: u64,
    /// Faults in order.
    pub faults: Vec<Fault>,
}

/// A plan that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a plan is `FLOW sync|async fixed|random seed=N [crash=NODE@N[:keep=N.N][:arrive][:acks][:payments]] [cut=NODE-NODE@N] [close=NODE:NODE-NODE@N[:mined]] [reorg=DEPTH:kept|lost|rivals@N] [cheat=NODE:NODE-NODE:NUMBER@N[:late]]`: {0} is not understood"
)]
pub struct PlanError(String);

impl Plan {
    /// Without faults.
    pub fn new(flow: &str, persistence: Persistence, schedule: Schedule, seed: u64) -> Self {
        Plan {
            flow: flow.to_owned(),
            persistence,
            schedule,
            seed,
            faults: Vec::new(),
        }
    }

    /// With one more fault.
    pub fn and(&self, fault: Fault) -> Plan {
        let mut plan = self.clone();
        plan.faults.push(fault);
        plan
    }

    /// A world about to play it, before its first fault.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: there is no such flow, or its world does not come about.
    pub fn start(&self) -> Result<World, SetupError> {
        let mut world = start(&self.flow, self.seed)?;
        world.persistence = self.persistence;
        world.schedule = self.schedule;
        Ok(world)
    }

    /// Plays it all, to rest.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: there is no such flow, or its world does not come about.
    pub fn replay(&self, trace: bool) -> Result<World, SetupError> {
        let mut world = self.start()?;
        world.trace = trace.then(Vec::new);
        for fault in &self.faults {
            while world.actions < fault.at() && world.advance() {}
            world.suffer(fault);
        }
        world.run_to_rest();
        Ok(world)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let persistence = match self.persistence {
            Persistence::Synchronous => "sync",
            Persistence::Asynchronous => "async",
        };
        let schedule = match self.schedule {
            Schedule::Fixed => "fixed",
            Schedule::Random => "random",
        };
        write!(
            f,
            "{} {persistence} {schedule} seed={}",
            self.flow, self.seed
        )?;
        for fault in &self.faults {
            write!(f, " {fault}")?;
        }
        Ok(())
    }
}

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let mut words = text.split_whitespace();
        let flow = words.next().ok_or_else(|| PlanError(text.to_owned()))?;
        let mut plan = Plan::new(flow, Persistence::Synchronous, Schedule::Fixed, 0);
        for word in words {
            let unknown = || PlanError(word.to_owned());
            match word {
                "sync" => plan.persistence = Persistence::Synchronous,
                "async" => plan.persistence = Persistence::Asynchronous,
                "fixed" => plan.schedule = Schedule::Fixed,
                "random" => plan.schedule = Schedule::Random,
                _ => match word.split_once('=').ok_or_else(unknown)? {
                    ("seed", number) => plan.seed = number.parse().map_err(|_| unknown())?,
                    (kind, rest) => {
                        plan.faults
                            .push(Fault::read(kind, rest).ok_or_else(unknown)?);
                    }
                },
            }
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::chain::Fate;
    use crate::sim::crash::Image;

    #[test]
    fn a_printed_plan_is_read_back_as_itself() {
        let plan = Plan::new("mpp", Persistence::Asynchronous, Schedule::Random, 7)
            .and(Fault::Crash {
                node: 3,
                at: 120,
                image: Image {
                    kept: vec![0, 2],
                    messages_arrive: true,
                    acks_lost: true,
                    payments_lost: true,
                },
            })
            .and(Fault::Cut {
                pair: [0, 1],
                at: 130,
            })
            .and(Fault::Crash {
                node: 0,
                at: 131,
                image: Image::default(),
            })
            .and(Fault::Close {
                node: 1,
                pair: [1, 3],
                at: 140,
                is_mined: true,
            })
            .and(Fault::Reorg {
                depth: 6,
                fate: Fate::Rivals,
                at: 150,
            })
            .and(Fault::Cheat {
                node: 0,
                pair: [0, 2],
                number: 3,
                is_late: true,
                at: 160,
            });
        let text = "mpp async random seed=7 crash=D@120:keep=0.2:arrive:acks:payments cut=A-B@130 crash=A@131 close=B:B-D@140:mined reorg=6:rivals@150 cheat=A:A-C:3@160:late";
        assert_eq!(plan.to_string(), text);
        assert_eq!(text.parse(), Ok(plan));
        assert!("mpp crash=1@2".parse::<Plan>().is_err());
    }
}
