//! The cache as programs and doors use it: the production entry store with its Moka tier, and (in time) the router
//! and `DistributedCache`. The only module that knows Moka.

pub mod store;
