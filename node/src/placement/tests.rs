//! The planner's tests: a small world that does what plans say, a checker that shares no code with the planner,
//! properties over random clusters, and golden plans.

mod checker;
mod golden;
mod preflight;
mod properties;
mod world;
