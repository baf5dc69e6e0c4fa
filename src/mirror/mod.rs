//! mirror (essay follows)
pub mod classify;
pub mod event_type;
pub mod frequency;
pub mod redact;
pub mod rules;
mod secret_names;
mod secret_spans;

#[cfg(test)]
mod tests;
