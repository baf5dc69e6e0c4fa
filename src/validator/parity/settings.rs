//! How much is compared.

use std::time::Duration;

use crate::mirror::rules::glob::Glob;

/// What is compared, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Sampled sessions at once.
    pub users: usize,
    /// Topics that are watched in one window.
    pub topics: usize,
    /// Questions a minute.
    pub probes_per_minute: u32,
    /// The length of a window.
    pub window: Duration,
    /// Only topics that fit one of these; all, when there is none.
    pub only: Vec<Glob>,
}

impl Default for Settings {
    fn default() -> Self {
        let window = Duration::from_secs(60);
        Self { users: 50, topics: 200, probes_per_minute: 30, window, only: Vec::new() }
    }
}
