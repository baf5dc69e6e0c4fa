//! Every variable, declared once, a file for each group. The table in `docs/configuration.md` is these files in
//! another form; a test compares them.

mod breaker;
mod cold;
mod drain;
mod hot;
mod inject;
mod mirror;
mod operations;
mod protection;
mod rollout;
mod service;
mod spool;
mod supabase;
mod tls;

pub use breaker::*;
pub use cold::*;
pub use drain::*;
pub use hot::*;
pub use inject::*;
pub use mirror::*;
pub use operations::*;
pub use protection::*;
pub use rollout::*;
pub use service::*;
pub use spool::*;
pub use supabase::*;
pub use tls::*;

use super::var::About;

/// Every variable, in the order of the tables.
pub fn all() -> impl Iterator<Item = &'static About> {
    let groups = [
        service::ALL,
        tls::ALL,
        supabase::ALL,
        rollout::ALL,
        cold::ALL,
        mirror::ALL,
        spool::ALL,
        hot::ALL,
        breaker::ALL,
        protection::ALL,
        drain::ALL,
        operations::ALL,
        inject::ALL,
    ];
    groups.into_iter().flatten().copied()
}
