//! A share of the cases, for several machines: `slice:m/n`, as cargo-nextest writes it.

use std::str::FromStr;

/// Every n-th case, beginning with the m-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Which share, from one.
    pub share: usize,
    /// Of how many.
    pub shares: usize,
}

/// Why a partition could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no partition: write slice:m/n with 1 <= m <= n, for example slice:2/8")]
pub struct PartitionParseError(String);

impl Partition {
    /// Whether the case at this place of the list, from zero, belongs to the share.
    pub fn takes(&self, index: usize) -> bool {
        index % self.shares == self.share - 1
    }
}

impl FromStr for Partition {
    type Err = PartitionParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (share, shares) = text.strip_prefix("slice:")?.split_once('/')?;
            let (share, shares) = (share.parse().ok()?, shares.parse().ok()?);
            (1 <= share && share <= shares).then_some(Partition { share, shares })
        };
        parse().ok_or_else(|| PartitionParseError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_a_partition_take_every_case_once() {
        for index in 0..20 {
            let takers = (1..=3)
                .filter(|share| {
                    let partition: Partition = format!("slice:{share}/3").parse().unwrap();
                    partition.takes(index)
                })
                .count();
            assert_eq!(takers, 1);
        }
    }

    #[test]
    fn a_partition_that_makes_no_sense_is_refused() {
        for text in ["slice:0/3", "slice:4/3", "3/3", "slice:1", "slice:a/b", ""] {
            assert!(text.parse::<Partition>().is_err(), "{text}");
        }
    }
}
