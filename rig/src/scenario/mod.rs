//! Scenarios: what to do and what must come of it, as data.

mod check;
mod error;
mod keys;
mod library;
mod model;
mod overrides;
mod parse;
mod raw;
#[cfg(test)]
mod tests;

pub use check::{DEFAULT_KIND, LIVE_PREFIX};
pub use error::{Place, ScenarioError, ScenarioErrors};
pub use library::{Entry, LibraryError, find, find_all, library};
pub use model::{
    Bumped, Case, ChainKind, Channel, Expectation, ExpectedPayment, Node, NodeKind, Payment,
    PaymentKind, PaymentMoment, Persist, Plan, Race, Scenario, Step, StepKind, Verdict,
};
pub use overrides::{Override, OverrideError, Setting};
pub use parse::{load, parse};
