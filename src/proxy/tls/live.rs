//! What rustls uses now, and the files that it comes from.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::UnixTime;

use super::files::{Digest, Named, Snapshot, TlsProblem};

/// How often files are read again.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Something made of files.
pub(super) struct Built<T> {
    pub(super) value: T,
    /// The end of the first certificate to end, in Unix seconds.
    pub(super) expires: Option<u64>,
    /// What does not keep it from being used where there is nothing better.
    pub(super) warnings: Vec<TlsProblem>,
}

pub(super) type Build<T> =
    Box<dyn Fn(&Snapshot, UnixTime) -> Result<Built<T>, Vec<TlsProblem>> + Send + Sync>;

/// The settings of one side, replaced when their files change. Reading them is one atomic load.
pub struct Live<T> {
    slot: ArcSwap<T>,
    expires: AtomicU64,
    warnings: Vec<TlsProblem>,
    watch: Option<Mutex<Watch<T>>>,
}

struct Watch<T> {
    files: Vec<Named>,
    build: Build<T>,
    applied: Digest,
    last: Digest,
    /// What was last said about content that cannot be used.
    told: Option<(Digest, Vec<TlsProblem>)>,
}

/// What a look at the files found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing to be done.
    Same,
    /// New content is in use for what follows.
    Applied,
    /// New content cannot be used; the last good one stays. Told once for each set of problems.
    Refused(Vec<TlsProblem>),
    /// The content that is in use is back.
    Restored,
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl<T> Live<T> {
    /// Settings that nothing changes.
    #[must_use]
    pub fn fixed(value: T) -> Arc<Self> {
        let slot = ArcSwap::from_pointee(value);
        Arc::new(Self { slot, expires: AtomicU64::new(0), warnings: Vec::new(), watch: None })
    }

    /// Reads the files for the first time.
    pub(super) fn open(
        files: Vec<Named>,
        build: Build<T>,
        now: UnixTime,
    ) -> Result<Arc<Self>, Vec<TlsProblem>> {
        let snapshot = Snapshot::take(&files);
        let Built { value, expires, warnings } = build(&snapshot, now)?;
        let digest = snapshot.digest();
        let watch = Watch { files, build, applied: digest, last: digest, told: None };
        Ok(Arc::new(Self {
            slot: ArcSwap::from_pointee(value),
            expires: AtomicU64::new(expires.unwrap_or(0)),
            warnings,
            watch: Some(Mutex::new(watch)),
        }))
    }

    /// What is in use now.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        self.slot.load_full()
    }

    /// The Unix second in which the first certificate in use expires; `None` where there is none.
    #[must_use]
    pub fn expires(&self) -> Option<u64> {
        Some(self.expires.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// What was wrong at the start and did not keep us from starting.
    #[must_use]
    pub fn warnings(&self) -> &[TlsProblem] {
        &self.warnings
    }

    /// Reads the files again. Blocks as long as the disk does.
    pub fn look(&self, now: UnixTime) -> Look {
        let Some(watch) = &self.watch else { return Look::Same };
        let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = Snapshot::take(&watch.files);
        let digest = snapshot.digest();
        let settled = std::mem::replace(&mut watch.last, digest) == digest;
        if digest == watch.applied {
            return if watch.told.take().is_some() { Look::Restored } else { Look::Same };
        }
        if !settled {
            return Look::Same;
        }
        let built = match (watch.build)(&snapshot, now) {
            Ok(built) if built.warnings.is_empty() => built,
            Ok(Built { warnings: problems, .. }) | Err(problems) => {
                let known = |(of, told): &(Digest, Vec<TlsProblem>)| *of == digest && same(told, &problems);
                if watch.told.as_ref().is_some_and(known) {
                    return Look::Same;
                }
                watch.told = Some((digest, problems.clone()));
                return Look::Refused(problems);
            }
        };
        self.slot.store(Arc::new(built.value));
        self.expires.store(built.expires.unwrap_or(0), Ordering::Relaxed);
        watch.applied = digest;
        watch.told = None;
        Look::Applied
    }
}

/// Whether nothing else is wrong than before. The age of a certificate, which grows, is no news.
fn same(told: &[TlsProblem], now: &[TlsProblem]) -> bool {
    told.iter().map(TlsProblem::kind).eq(now.iter().map(TlsProblem::kind))
}
