//! A case in words: which flow, which world, which faults. Written by the explorer, read back for a replay.

use std::fmt;
use std::str::FromStr;

use super::crash::Image;
use super::flows::start;
use super::setup::SetupError;
use super::world::{Persistence, Schedule, World};

/// A fault, after so many actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A node dies.
    Crash {
        /// Which.
        node: usize,
        /// After how many actions.
        at: u64,
        /// What is left.
        image: Image,
    },
    /// A connection ends.
    Cut {
        /// Between whom.
        pair: [usize; 2],
        /// After how many actions.
        at: u64,
    },
}

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
    "a plan is `FLOW sync|async fixed|random seed=N [crash=NODE@N[:keep=N.N][:arrive][:acks][:payments]] [cut=NODE-NODE@N]`: {0} is not understood"
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
    pub fn start(&self) -> Result<World, SetupError> {
        let mut world = start(&self.flow, self.seed)?;
        world.persistence = self.persistence;
        world.schedule = self.schedule;
        Ok(world)
    }

    /// Plays it all, to rest.
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

impl Fault {
    /// After how many actions.
    pub fn at(&self) -> u64 {
        match self {
            Fault::Crash { at, .. } | Fault::Cut { at, .. } => *at,
        }
    }
}

impl World {
    /// A fault happens now.
    pub fn suffer(&mut self, fault: &Fault) {
        self.faults += 1;
        match fault {
            Fault::Crash { node, image, .. } => self.crash(*node, image),
            Fault::Cut { pair, .. } => {
                self.cut(pair[0], pair[1]);
                self.recovering = true;
            }
        }
    }
}

fn letter(node: usize) -> char {
    ('A'..).nth(node).unwrap_or('?')
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Crash { node, at, image } => {
                write!(f, "crash={}@{at}", letter(*node))?;
                if !image.kept.is_empty() {
                    let kept: Vec<String> = image.kept.iter().map(usize::to_string).collect();
                    write!(f, ":keep={}", kept.join("."))?;
                }
                if image.messages_arrive {
                    write!(f, ":arrive")?;
                }
                if image.acks_lost {
                    write!(f, ":acks")?;
                }
                if image.payments_lost {
                    write!(f, ":payments")?;
                }
                Ok(())
            }
            Fault::Cut { pair, at } => {
                write!(f, "cut={}-{}@{at}", letter(pair[0]), letter(pair[1]))
            }
        }
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
                    ("crash", rest) => plan.faults.push(crash(rest).ok_or_else(unknown)?),
                    ("cut", rest) => plan.faults.push(cut(rest).ok_or_else(unknown)?),
                    _ => return Err(unknown()),
                },
            }
        }
        Ok(plan)
    }
}

fn crash(words: &str) -> Option<Fault> {
    let mut words = words.split(':');
    let (node, at) = words.next()?.split_once('@')?;
    let mut image = Image::default();
    for word in words {
        match (word, word.split_once('=')) {
            ("arrive", _) => image.messages_arrive = true,
            ("acks", _) => image.acks_lost = true,
            ("payments", _) => image.payments_lost = true,
            (_, Some(("keep", numbers))) => {
                let kept: Result<_, _> = numbers.split('.').map(str::parse).collect();
                image.kept = kept.ok()?;
            }
            _ => return None,
        }
    }
    Some(Fault::Crash {
        node: number(node)?,
        at: at.parse().ok()?,
        image,
    })
}

fn cut(words: &str) -> Option<Fault> {
    let (pair, at) = words.split_once('@')?;
    let (one, other) = pair.split_once('-')?;
    Some(Fault::Cut {
        pair: [number(one)?, number(other)?],
        at: at.parse().ok()?,
    })
}

fn number(letter: &str) -> Option<usize> {
    let mut letters = letter.chars();
    let first = letters.next()?;
    let number = ('A'..='Z').position(|known| known == first)?;
    letters.next().is_none().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            });
        let text = "mpp async random seed=7 crash=D@120:keep=0.2:arrive:acks:payments cut=A-B@130 crash=A@131";
        assert_eq!(plan.to_string(), text);
        assert_eq!(text.parse(), Ok(plan));
        assert!("mpp crash=1@2".parse::<Plan>().is_err());
    }
}
