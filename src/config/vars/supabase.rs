//! The project and the plan.

use crate::config::choices::Vsn;
use crate::config::numbers::{Count, CountOrZero};
use crate::config::places::ProjectUrl;
use crate::config::plan::Plan;
use crate::config::secret::{PublicKey, Secret};
use crate::config::var::{About, Group, Var};

/// The project.
pub static SUPABASE_URL: Var<ProjectUrl> = Var::new(
    Group::Supabase,
    "SUPABASE_URL",
    "The Supabase project. Without it and a key, crossfade is a pure, observable proxy.",
)
.example("https://abcdefgh.supabase.co");

/// The sidecar's own key.
pub static SUPABASE_KEY: Var<Secret> = Var::new(
    Group::Supabase,
    "SUPABASE_KEY",
    "The sidecar's own key (service_role or secret), for its private topics. Never given to a client.",
)
.example("sb_secret_...")
.secret();

/// Another name of the sidecar's own key.
pub static SUPABASE_SERVICE_ROLE_KEY: Var<Secret> =
    Var::new(Group::Supabase, "SUPABASE_SERVICE_ROLE_KEY", "Read when SUPABASE_KEY is not set.")
        .example("sb_secret_...")
        .secret();

/// The key of native sessions.
pub static SUPABASE_ANON_KEY: Var<PublicKey> = Var::new(
    Group::Supabase,
    "SUPABASE_ANON_KEY",
    "The public key of native and cold sessions. A service_role or secret key is refused here.",
)
.example("sb_publishable_...")
.secret();

/// The serializer version.
pub static REALTIME_VSN: Var<Vsn> = Var::new(
    Group::Supabase,
    "CROSSFADE_REALTIME_VSN",
    "Version of the Realtime protocol that the sidecar speaks.",
)
.default("2.0.0");

/// The plan.
pub static PLAN: Var<Plan> = Var::new(
    Group::Supabase,
    "CROSSFADE_PLAN",
    "The plan, whose limits the governor keeps. What custom does not tell is Team's; see docs/quota.md.",
)
.default("free")
.example("custom:5000,joins=2500,channels=100,payload=3MiB,included=20000000,price=2.50");

/// Pods that share the budget.
pub static PODS: Var<Count> =
    Var::new(Group::Supabase, "CROSSFADE_PODS", "How many pods share the plan's message budget.")
        .unit("pods")
        .default("1");

/// Subscribers of our topics.
pub static READERS: Var<CountOrZero> = Var::new(
    Group::Supabase,
    "CROSSFADE_READERS",
    "Subscribers of each pod's topics besides its own read-back: each is one delivery of every broadcast.",
)
.unit("subscribers")
.default("0");

/// In the order of the table.
pub(super) static ALL: &[&About] = &[
    &SUPABASE_URL.about,
    &SUPABASE_KEY.about,
    &SUPABASE_SERVICE_ROLE_KEY.about,
    &SUPABASE_ANON_KEY.about,
    &REALTIME_VSN.about,
    &PLAN.about,
    &PODS.about,
    &READERS.about,
];
