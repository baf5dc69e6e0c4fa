//! Rules between variables. Each looks at the variables that it needs and says nothing when one of them is
//! wrong by itself, so that one mistake is reported once.

use std::net::SocketAddr;

use super::choices::{MirrorFormat, RolloutLane, Table};
use super::numbers::Percent;
use super::reader::{Problem, Reader, problem};
use super::var::About;
use super::vars;

/// A rule: the problem, if there is one.
pub(super) type Check = fn(&Reader<'_>) -> Option<Problem>;

/// Every rule.
pub(super) const ALL: &[Check] = &[
    a_project_needs_a_key,
    a_key_needs_a_project,
    a_rollout_needs_a_project,
    a_table_needs_a_project,
    events_need_a_project,
    native_needs_a_public_key,
    cold_needs_to_know_who_gets_in,
    cold_needs_a_source_and_a_public_key,
    a_window_fits_the_pod,
    a_message_fits_the_buffer,
    a_spool_has_room,
    a_spool_key_needs_a_spool,
    settling_ends_before_the_grace,
    listeners_are_apart,
    a_public_admin_needs_a_token,
];

fn has_key(r: &Reader<'_>) -> bool {
    r.is_set(&vars::SUPABASE_KEY.about) || r.is_set(&vars::SUPABASE_SERVICE_ROLE_KEY.about)
}

fn rolls_out(r: &Reader<'_>) -> Option<RolloutLane> {
    let percent = r.right(&vars::ROLLOUT_PERCENT)?;
    if percent > Percent::ZERO { r.right(&vars::ROLLOUT_LANE) } else { None }
}

fn broken(about: &About, what: &str) -> Option<Problem> {
    Some(problem(about, what.to_owned()))
}

fn a_project_needs_a_key(r: &Reader<'_>) -> Option<Problem> {
    if !r.is_set(&vars::SUPABASE_URL.about) || has_key(r) {
        return None;
    }
    broken(&vars::SUPABASE_KEY.about, "is required with SUPABASE_URL")
}

fn a_key_needs_a_project(r: &Reader<'_>) -> Option<Problem> {
    if r.is_set(&vars::SUPABASE_URL.about) || !has_key(r) {
        return None;
    }
    broken(&vars::SUPABASE_URL.about, "is required with a key")
}

fn a_table_needs_a_project(r: &Reader<'_>) -> Option<Problem> {
    if r.right(&vars::TABLE)? == Table::Off || r.is_set(&vars::SUPABASE_URL.about) || has_key(r) {
        return None;
    }
    broken(&vars::SUPABASE_URL.about, "and a key are required while CROSSFADE_TABLE is not off")
}

fn events_need_a_project(r: &Reader<'_>) -> Option<Problem> {
    let messages = r.right(&vars::MIRROR_FORMAT)? == MirrorFormat::Messages;
    if messages || r.is_set(&vars::SUPABASE_URL.about) || has_key(r) {
        return None;
    }
    broken(&vars::SUPABASE_URL.about, "and a key are required while CROSSFADE_MIRROR_FORMAT is not messages")
}

fn a_rollout_needs_a_project(r: &Reader<'_>) -> Option<Problem> {
    rolls_out(r)?;
    if r.is_set(&vars::SUPABASE_URL.about) || has_key(r) {
        return None;
    }
    broken(&vars::SUPABASE_URL.about, "and a key are required while CROSSFADE_ROLLOUT_PERCENT is above 0")
}

fn native_needs_a_public_key(r: &Reader<'_>) -> Option<Problem> {
    if rolls_out(r)? != RolloutLane::Native || r.is_set(&vars::SUPABASE_ANON_KEY.about) {
        return None;
    }
    broken(&vars::SUPABASE_ANON_KEY.about, "is required with CROSSFADE_ROLLOUT_LANE=native")
}

fn cold_needs_to_know_who_gets_in(r: &Reader<'_>) -> Option<Problem> {
    if rolls_out(r)? != RolloutLane::Cold || r.is_set(&vars::COLD_AUTH.about) {
        return None;
    }
    broken(&vars::COLD_AUTH.about, "is required with CROSSFADE_ROLLOUT_LANE=cold")
}

/// The sidecar's own key is never used for a client, so the anon key opens the socket whoever joins.
fn cold_needs_a_source_and_a_public_key(r: &Reader<'_>) -> Option<Problem> {
    if !r.is_set(&vars::COLD_AUTH.about) {
        return None;
    }
    let needed = [&vars::COLD_SOURCE.about, &vars::SUPABASE_URL.about, &vars::SUPABASE_ANON_KEY.about];
    let missing = needed.into_iter().find(|about| !r.is_set(about))?;
    broken(missing, "is required with CROSSFADE_COLD_AUTH")
}

fn a_window_fits_the_pod(r: &Reader<'_>) -> Option<Problem> {
    if r.right(&vars::WINDOW_SESSION)? <= r.right(&vars::WINDOW_POD)? {
        return None;
    }
    broken(&vars::WINDOW_SESSION.about, "is larger than CROSSFADE_WINDOW_POD")
}

fn a_message_fits_the_buffer(r: &Reader<'_>) -> Option<Problem> {
    if r.right(&vars::MESSAGE_MAX)? <= r.right(&vars::BUFFER)? {
        return None;
    }
    broken(&vars::MESSAGE_MAX.about, "is larger than CROSSFADE_BUFFER")
}

fn a_spool_has_room(r: &Reader<'_>) -> Option<Problem> {
    if r.right(&vars::SPOOL_MAX)?.0 >= 1 << 20 {
        return None;
    }
    broken(&vars::SPOOL_MAX.about, "is less than 1MiB")
}

fn a_spool_key_needs_a_spool(r: &Reader<'_>) -> Option<Problem> {
    if !r.is_set(&vars::SPOOL_KEY.about) || r.is_set(&vars::SPOOL_DIR.about) {
        return None;
    }
    broken(&vars::SPOOL_DIR.about, "is required with CROSSFADE_SPOOL_KEY")
}

fn settling_ends_before_the_grace(r: &Reader<'_>) -> Option<Problem> {
    if r.right(&vars::DRAIN_SETTLE)? < r.right(&vars::DRAIN_GRACE)?.0 {
        return None;
    }
    broken(&vars::DRAIN_SETTLE.about, "is not shorter than CROSSFADE_DRAIN_GRACE")
}

fn listeners_are_apart(r: &Reader<'_>) -> Option<Problem> {
    let listen = r.right(&vars::LISTEN)?;
    let metrics = r.right(&vars::METRICS_LISTEN)?;
    let admin = r.right(&vars::ADMIN_LISTEN)?;
    if clash(listen, metrics) {
        return broken(&vars::METRICS_LISTEN.about, "takes the port of CROSSFADE_LISTEN");
    }
    if clash(listen, admin) {
        return broken(&vars::ADMIN_LISTEN.about, "takes the port of CROSSFADE_LISTEN");
    }
    if clash(metrics, admin) {
        return broken(&vars::ADMIN_LISTEN.about, "takes the port of CROSSFADE_METRICS_LISTEN");
    }
    None
}

fn a_public_admin_needs_a_token(r: &Reader<'_>) -> Option<Problem> {
    let tokens = [&vars::ADMIN_TOKEN.about, &vars::ADMIN_VIEW_TOKEN.about];
    if r.right(&vars::ADMIN_LISTEN)?.ip().is_loopback() || tokens.iter().any(|token| r.is_set(token)) {
        return None;
    }
    broken(&vars::ADMIN_TOKEN.about, "is required where CROSSFADE_ADMIN_LISTEN is no loopback address")
}

/// Port 0 asks the system for a free port each time.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && overlap
}
