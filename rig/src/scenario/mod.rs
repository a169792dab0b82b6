//! Scenarios: what to do and what must come of it, as data.

mod check;
mod error;
mod keys;
mod kinds;
mod library;
mod model;
mod parse;
mod raw;
#[cfg(test)]
mod tests;

pub use check::DEFAULT_KIND;
pub use error::{Place, ScenarioError, ScenarioErrors};
pub use kinds::{KindOverride, KindOverrideError, KindOverrides};
pub use library::{Entry, LibraryError, find, library};
pub use model::{
    Case, ChainKind, Channel, Expectation, ExpectedPayment, Node, NodeKind, Payment, PaymentKind,
    PaymentMoment, Plan, Scenario, Step, StepKind, Verdict,
};
pub use parse::{load, parse};
