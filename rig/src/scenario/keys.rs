//! Reads one TOML table key by key, complains of each bad value at its place, and of every key
//! that nobody asked for. Owns the form of values; never their meaning.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::error::{Complaints, advice};

/// A word of the file with its place.
pub(super) type Word = Spanned<String>;

/// A table that is being read.
pub(super) struct Keys<'i> {
    table: DeTable<'i>,
    span: Range<usize>,
    /// What the table is, for messages: `a node`, `a \`pay\` step`.
    pub(super) what: String,
    asked: Vec<&'static str>,
}

impl<'i> Keys<'i> {
    pub(super) fn new(table: Spanned<DeTable<'i>>, what: impl Into<String>) -> Self {
        Keys {
            span: table.span(),
            table: table.into_inner(),
            what: what.into(),
            asked: Vec::new(),
        }
    }

    /// As [`Keys::new`] for a value that has to be a table.
    pub(super) fn of(
        value: Spanned<DeValue<'i>>,
        what: impl Into<String>,
        complaints: &mut Complaints<'_>,
    ) -> Option<Self> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some(Keys::new(Spanned::new(span, table), what)),
            other => {
                let what = what.into();
                let kind = other.type_str();
                complaints.lost_entry_at(span, format!("{what} is a table, not {kind}"));
                None
            }
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        self.asked.push(key);
        self.table.remove(key)
    }

    /// The value of a key that may be left out.
    pub(super) fn optional<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        complaints: &mut Complaints<'_>,
    ) -> Option<Spanned<T>> {
        let value = self.take(key)?;
        let span = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(read) => Some(Spanned::new(span, read)),
            Err(error) => {
                let place = error.span().unwrap_or(span);
                complaints.lost_entry_at(place, format!("`{key}`: {}", error.message()));
                None
            }
        }
    }

    /// The value of a key that has to be there; `hint` says what it is for.
    pub(super) fn required<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        hint: &str,
        complaints: &mut Complaints<'_>,
    ) -> Option<Spanned<T>> {
        if !self.table.contains_key(key) {
            self.asked.push(key);
            let message = format!("{} needs `{key}`: {hint}", self.what);
            complaints.lost_entry_at(self.span.clone(), message);
            return None;
        }
        self.optional(key, complaints)
    }

    /// Two names, for `between`.
    pub(super) fn pair(&mut self, complaints: &mut Complaints<'_>) -> Option<[Word; 2]> {
        let names: Spanned<Vec<Word>> =
            self.required("between", "the two nodes, as [\"A\", \"B\"]", complaints)?;
        let span = names.span();
        match <[Word; 2]>::try_from(names.into_inner()) {
            Ok(pair) => Some(pair),
            Err(_) => {
                let message = "`between` takes two nodes, as [\"A\", \"B\"]";
                complaints.lost_entry_at(span, message);
                None
            }
        }
    }

    /// The tables of an array of tables (`[[key]]`); none if it is left out.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        what: &str,
        complaints: &mut Complaints<'_>,
    ) -> Vec<Keys<'i>> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(items) => items
                .into_iter()
                .filter_map(|item| Keys::of(item, what, complaints))
                .collect(),
            _ => {
                let message = format!("write [[{key}]] before {what}, once for each");
                complaints.lost_entry_at(span, message);
                Vec::new()
            }
        }
    }

    /// The table of a key; an absent one gives nothing.
    pub(super) fn table(
        &mut self,
        key: &'static str,
        what: &str,
        complaints: &mut Complaints<'_>,
    ) -> Option<Keys<'i>> {
        let value = self.take(key)?;
        Keys::of(value, what, complaints)
    }

    /// All that is left, for tables whose keys are names of the user's choice.
    pub(super) fn entries(self) -> Vec<(Word, Spanned<DeValue<'i>>)> {
        self.table
            .into_iter()
            .map(|(key, value)| {
                (
                    Spanned::new(key.span(), key.into_inner().into_owned()),
                    value,
                )
            })
            .collect()
    }

    /// Complains of every key that was not asked for.
    pub(super) fn finish(self, complaints: &mut Complaints<'_>) {
        for (key, _) in self.table {
            let name = key.get_ref();
            let known = advice(name, self.asked.iter().copied());
            complaints.at(
                key.span(),
                format!("`{name}` is no key of {}{known}", self.what),
            );
        }
    }
}
