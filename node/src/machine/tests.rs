//! The machine's tests: golden scripts (`golden`), and properties against a naive model (`naive`).

mod arbitrary;
mod captures;
mod codec;
mod golden;
mod naive;
mod rules;
