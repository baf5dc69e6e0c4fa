//! `crossfade inject`: the admission webhook that adds the sidecar to pods whose manifests somebody else owns.
//!
//! **Problem.** A webhook stands in the way of every pod that is created. One that is slow, gone or wrong keeps
//! workloads from starting, which is worse than any missing sidecar; and one that adds privileged containers on a
//! pod's own word hands out privileges.
//!
//! **Decision.** [`patch()`] is a pure function from a Pod and a template to a [`Verdict`]; [`answer`] puts it into
//! `AdmissionReview` v1. Every pod is let in. A pod that would be worse off with a sidecar gets none ([`Reason`]),
//! and learns it three times: as a warning of the request, as the annotation `crossfade.dev/not-injected`, and in the
//! log. What is added is not made here: it is `sidecar.json` ([`Template`]), rendered by the chart's own templates,
//! so that there is one description of the sidecar. A pod may change only what the list of annotations allows.
//!
//! **Redirect.** The container with NET_ADMIN is added only on the path `/mutate/redirect`. The API server calls it
//! for namespaces that an administrator has labelled, by the webhook's `namespaceSelector`; so this process needs no
//! permission, and no pod can ask for it ([`Namespace`]).
//!
//! **What is left alone.** Containers of the pod, their ports and probes; `enableServiceLinks`, since the service may
//! read those variables and the pod is not ours; a longer grace period. Ports that no container declares cannot be seen.
//!
//! **Figures.** What became of each question, and when the certificate expires, on a listener of their own: an API
//! server that cannot reach the webhook lets pods in without a word, so somebody has to watch.
//!
//! **Limits.** Bodies of 1 MiB; [`server`] has the rest. It does not look at what exists: a Secret that the template
//! names and the namespace lacks keeps the pod waiting, as it would by hand.

mod files;
mod metrics;
mod patch;
mod pod;
mod refuse;
mod review;
pub mod server;
mod template;
#[cfg(test)]
mod tests;

pub use files::{LiveTemplate, TemplateLook, TemplateWatch};
pub use metrics::metrics_markdown;
pub use patch::{Op, Verdict, patch};
pub use refuse::{Reason, Refusal};
pub use review::{Answer, Outcome, ReviewError, answer};
pub use template::{Template, TemplateError};

/// What the administrator of a pod's namespace allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// Containers without privileges.
    Plain,
    /// The redirect, too.
    MayRedirect,
}
