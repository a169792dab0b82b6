//! What is wrong with a scenario file, and where. Owns places in the text and the list of
//! complaints; never decides what is wrong.

use std::fmt;
use std::ops::Range;

/// Where in a file, both counted from one; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Place {
    /// The place of a byte offset; one past the end for an offset outside the text.
    fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// One thing that is wrong, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioError {
    /// The file as the user knows it.
    pub file: String,
    /// Where; `None` if the file could not be read at all.
    pub place: Option<Place>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(Place { line, column }) => {
                write!(f, "{}:{line}:{column}: {}", self.file, self.message)
            }
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Everything that is wrong with one scenario file, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioErrors(pub Vec<ScenarioError>);

impl fmt::Display for ScenarioErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.0 {
            writeln!(f, "{error}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 error; nothing was started"),
            count => write!(f, "{count} errors; nothing was started"),
        }
    }
}

/// Collects what is wrong with one file while it is read and checked.
pub(super) struct Complaints<'t> {
    file: &'t str,
    text: &'t str,
    found: Vec<ScenarioError>,
    entry_lost: bool,
}

impl<'t> Complaints<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        Complaints {
            file,
            text,
            found: Vec::new(),
            entry_lost: false,
        }
    }

    /// Something is wrong at these bytes.
    pub(super) fn at(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.found.push(ScenarioError {
            file: self.file.to_owned(),
            place: Some(Place::of(self.text, span.start)),
            message: message.into(),
        });
    }

    /// Something is wrong at these bytes, and the entry around them could not be read: checking
    /// the rest against it would only complain about what follows from that.
    pub(super) fn lost_entry_at(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.entry_lost = true;
        self.at(span, message);
    }

    /// How many there are so far.
    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    /// Whether some entry could not be read.
    pub(super) fn entry_lost(&self) -> bool {
        self.entry_lost
    }

    /// The value if nothing was wrong, else all that was.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, ScenarioErrors> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => {
                self.found.sort_by_key(|error| error.place);
                Err(ScenarioErrors(self.found))
            }
        }
    }
}

/// `; did you mean ...?` if one of the known words is near, else the list of them.
pub(super) fn advice<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    // Short names are near to all others by their length alone: those are listed instead.
    let near = match word.chars().count() {
        ..4 => 0,
        count => count / 3,
    };
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= near)
        .min();
    match nearest {
        Some((_, candidate)) => format!("; did you mean `{candidate}`?"),
        _ if known.is_empty() => "; there are none".to_owned(),
        _ => format!("; there are: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a\nö = 1\n";
        assert_eq!(Place::of(text, 0), Place { line: 1, column: 1 });
        assert_eq!(Place::of(text, 5), Place { line: 2, column: 3 });
        assert_eq!(Place::of(text, 99), Place { line: 3, column: 1 });
    }

    #[test]
    fn advice_names_the_nearest_word_or_all_of_them() {
        assert_eq!(
            advice("capcity_sat", ["announce", "capacity_sat"]),
            "; did you mean `capacity_sat`?"
        );
        assert_eq!(advice("X", ["A", "B"]), "; there are: A, B");
        assert_eq!(advice("X", []), "; there are none");
    }
}
