//! The deterministic simulator: whole clusters of the real core on one thread, from one seed.

pub mod check;
pub mod clock;
pub mod net;
