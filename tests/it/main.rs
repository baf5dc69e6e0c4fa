//! The real binary as processes: `run` between a service and its clients, `emulator` in Realtime's place.
//!
//! Service and clients live in the test process and keep their own logs; whether anything was lost, doubled or
//! reordered is decided by comparing these, never by crossfade's counters. Metrics only tell when to go on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its own functions included")]

mod admin;
mod admin_rollout;
mod closes;
mod cold;
mod configuration;
mod crowd;
mod denied;
mod drain;
mod drills;
mod emergency;
mod events;
mod faults;
mod flags;
mod graduation;
mod guards;
mod handover;
mod hostile;
mod http;
mod inflate;
mod kills;
mod kinds;
mod large;
mod looks;
#[path = "../../src/proxy/tls/made.rs"]
mod made;
mod memory;
mod metrics;
mod native;
mod notices;
mod open_sessions;
mod parity;
mod plan;
mod pods;
mod process;
mod raw;
#[path = "../../examples/readers/rust/reader.rs"]
#[expect(clippy::too_many_arguments, unreachable_pub, reason = "a file to be copied, not our library")]
mod reader;
mod reconcile;
mod redis;
mod remembered;
mod replay;
mod rotation;
#[path = "../../src/proxy/tests/shim.rs"]
#[expect(dead_code, reason = "only clients are secured here")]
mod shim;
#[path = "../../src/proxy/tests/shim_http2.rs"]
mod shim_http2;
mod spool;
mod stage;
mod subscriber;
mod table;
mod table_flags;
mod thousand;
mod tls;
mod tracing;
mod tracing_lanes;
mod types;
mod validator;
