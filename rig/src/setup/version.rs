//! Versions as programs print them. Owns reading one out of free text and comparing two; it never
//! runs anything.

use std::fmt;

/// A release number of bitcoind or electrs. Missing components are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl Version {
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// The first word of `text` that reads as a version: `v0.10.10`, `29.1.knots20250903`,
    /// `v31.99.0-unk`. A single number is not one: programs print years and counts too.
    pub fn first_in(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(Self::from_word)
    }

    fn from_word(word: &str) -> Option<Self> {
        let word = word.strip_prefix('v').unwrap_or(word);
        let mut numbers = word.split('.').map_while(|component| {
            let end = component
                .find(|character: char| !character.is_ascii_digit())
                .unwrap_or(component.len());
            component[..end].parse::<u32>().ok()
        });
        let (major, minor) = (numbers.next()?, numbers.next()?);
        Some(Self::new(major, minor, numbers.next().unwrap_or(0)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_each_program_prints() {
        let cases = [
            (
                "Bitcoin Core daemon version v31.99.0-unk",
                Some((31, 99, 0)),
            ),
            ("Bitcoin Core version v28.1.0", Some((28, 1, 0))),
            (
                "Bitcoin Knots daemon version v29.1.knots20250903",
                Some((29, 1, 0)),
            ),
            ("v0.10.10", Some((0, 10, 10))),
            ("electrs 0.9.14", Some((0, 9, 14))),
            ("Copyright (C) 2009-2026 The developers", None),
            ("", None),
            ("v99999999999999.1", None),
        ];
        for (text, wanted) in cases {
            let wanted = wanted.map(|(major, minor, patch)| Version::new(major, minor, patch));
            assert_eq!(Version::first_in(text), wanted, "{text}");
        }
    }

    #[test]
    fn versions_compare_as_numbers_and_not_as_text() {
        assert!(Version::new(0, 10, 10) > Version::new(0, 9, 14));
    }
}
