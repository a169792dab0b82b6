//! What goes wrong in a case: crashes, cuts, channels closed by force, reorganisations, cheating peers; each
//! as words in a plan too.

use std::fmt;

use super::chain::Fate;
use super::crash::Image;
use super::world::World;

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
    /// A user closes a channel by force.
    Close {
        /// Whose user.
        node: usize,
        /// Whose channel.
        pair: [usize; 2],
        /// After how many actions.
        at: u64,
        /// A block is mined before the flow's next phase; else when the flow is over.
        is_mined: bool,
    },
    /// The chain's last blocks are replaced.
    Reorg {
        /// How many of them.
        depth: u32,
        /// What becomes of their transactions.
        fate: Fate,
        /// After how many actions.
        at: u64,
    },
    /// A node publishes a commitment that it has revoked, takes from it what it can, and is never seen again.
    Cheat {
        /// Which.
        node: usize,
        /// Whose channel.
        pair: [usize; 2],
        /// The commitment's number.
        number: u64,
        /// The others see no block before the cheater's second stages are in one.
        is_late: bool,
        /// After how many actions.
        at: u64,
    },
}

impl Fault {
    /// After how many actions.
    pub fn at(&self) -> u64 {
        match self {
            Fault::Crash { at, .. }
            | Fault::Cut { at, .. }
            | Fault::Close { at, .. }
            | Fault::Reorg { at, .. }
            | Fault::Cheat { at, .. } => *at,
        }
    }

    /// A fault as [`fmt::Display`] writes it: its kind, and the words after the `=`.
    pub(super) fn read(kind: &str, words: &str) -> Option<Fault> {
        match kind {
            "crash" => crash(words),
            "cut" => cut(words),
            "close" => close(words),
            "reorg" => reorg(words),
            "cheat" => cheat(words),
            _ => None,
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
            Fault::Close {
                node,
                pair,
                is_mined,
                ..
            } => self.close_by_force(*node, *pair, *is_mined),
            Fault::Reorg { depth, fate, .. } => self.reorganise(*depth, *fate),
            Fault::Cheat {
                node,
                pair,
                number,
                is_late,
                ..
            } => self.cheat(*node, *pair, *number, *is_late),
        }
    }
}

fn letter(node: usize) -> char {
    ('A'..).nth(node).unwrap_or('?')
}

/// A flag's word, if it is set.
fn flag(word: &'static str, is_set: bool) -> &'static str {
    if is_set { word } else { "" }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = |pair: &[usize; 2]| format!("{}-{}", letter(pair[0]), letter(pair[1]));
        match self {
            Fault::Crash { node, at, image } => write!(f, "crash={}@{at}{image}", letter(*node)),
            Fault::Cut { pair: ends, at } => write!(f, "cut={}@{at}", pair(ends)),
            Fault::Close {
                node,
                pair: ends,
                at,
                is_mined,
            } => {
                let mined = flag(":mined", *is_mined);
                write!(f, "close={}:{}@{at}{mined}", letter(*node), pair(ends))
            }
            Fault::Reorg { depth, fate, at } => {
                let fate = match fate {
                    Fate::Kept => "kept",
                    Fate::Lost => "lost",
                    Fate::Rivals => "rivals",
                };
                write!(f, "reorg={depth}:{fate}@{at}")
            }
            Fault::Cheat {
                node,
                pair: ends,
                number,
                is_late,
                at,
            } => {
                let late = flag(":late", *is_late);
                let (node, ends) = (letter(*node), pair(ends));
                write!(f, "cheat={node}:{ends}:{number}@{at}{late}")
            }
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.kept.is_empty() {
            let kept: Vec<String> = self.kept.iter().map(usize::to_string).collect();
            write!(f, ":keep={}", kept.join("."))?;
        }
        let flags = [
            flag(":arrive", self.messages_arrive),
            flag(":acks", self.acks_lost),
            flag(":payments", self.payments_lost),
        ];
        write!(f, "{}", flags.concat())
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
    let (ends, at) = words.split_once('@')?;
    Some(Fault::Cut {
        pair: pair(ends)?,
        at: at.parse().ok()?,
    })
}

fn close(words: &str) -> Option<Fault> {
    let (place, at) = words.split_once('@')?;
    let (node, ends) = place.split_once(':')?;
    let (at, is_mined) = with_flag(at, ":mined");
    Some(Fault::Close {
        node: number(node)?,
        pair: pair(ends)?,
        at: at.parse().ok()?,
        is_mined,
    })
}

fn reorg(words: &str) -> Option<Fault> {
    let (what, at) = words.split_once('@')?;
    let (depth, fate) = what.split_once(':')?;
    let fate = match fate {
        "kept" => Fate::Kept,
        "lost" => Fate::Lost,
        "rivals" => Fate::Rivals,
        _ => return None,
    };
    Some(Fault::Reorg {
        depth: depth.parse().ok()?,
        fate,
        at: at.parse().ok()?,
    })
}

fn cheat(words: &str) -> Option<Fault> {
    let (place, at) = words.split_once('@')?;
    let (node, place) = place.split_once(':')?;
    let (ends, commitment) = place.split_once(':')?;
    let (at, is_late) = with_flag(at, ":late");
    Some(Fault::Cheat {
        node: number(node)?,
        pair: pair(ends)?,
        number: commitment.parse().ok()?,
        is_late,
        at: at.parse().ok()?,
    })
}

fn with_flag<'a>(words: &'a str, flag: &str) -> (&'a str, bool) {
    match words.strip_suffix(flag) {
        Some(rest) => (rest, true),
        None => (words, false),
    }
}

fn pair(words: &str) -> Option<[usize; 2]> {
    let (one, other) = words.split_once('-')?;
    Some([number(one)?, number(other)?])
}

fn number(letter: &str) -> Option<usize> {
    let mut letters = letter.chars();
    let first = letters.next()?;
    let number = ('A'..='Z').position(|known| known == first)?;
    letters.next().is_none().then_some(number)
}
