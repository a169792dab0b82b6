//! Scenarios: what to do and what must come of it, as data.

mod model;

pub use model::{
    Case, ChainKind, Channel, Expectation, ExpectedPayment, Node, NodeKind, Payment, PaymentKind,
    PaymentMoment, Plan, Scenario, Step, StepKind, Verdict,
};
