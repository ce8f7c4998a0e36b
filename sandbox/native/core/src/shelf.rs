//! Instances that have served and wait to serve again, of deployments that asked for it (`reuse`).
//!
//! One serves one request at a time, and only ever its own deployment's. It keeps its memory reserved while it waits; one that
//! trapped, ran into a limit or keeps too many handles never gets here. The last one back is the first one out, so that those
//! that a burst needed grow old and go.
use crate::{guest::Guest, log::Outlet, residents::Resident};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use wasmtime_wasi_http::p2::bindings::Proxy;

/// Over all deployments, so that the others find slots.
const RESTING_MAX: usize = crate::engine::SLOTS as usize / 2;
const RESTING_TIME_MAX: Duration = Duration::from_secs(60);
static RESTING: AtomicUsize = AtomicUsize::new(0);

/// An instance, or what is about to become one.
pub struct Instance {
    pub guest: Guest,
    pub resident: Arc<Resident>,
    pub proxy: Option<Proxy>,
    /// None for one that serves a single request.
    pub outlet: Option<Arc<Outlet>>,
}

#[derive(Default)]
pub struct Shelf(Mutex<Vec<(Instance, Instant)>>);

impl Shelf {
    pub fn take(&self) -> Option<Instance> {
        let (mut instance, since) = self.0.lock().unwrap().pop()?;
        if instance.guest.wake() {
            RESTING.fetch_sub(1, Relaxed);
            return Some(instance);
        }
        self.0.lock().unwrap().push((instance, since));
        None
    }

    pub fn put(&self, mut instance: Instance) {
        if RESTING.fetch_add(1, Relaxed) < RESTING_MAX && instance.guest.rest() {
            self.0.lock().unwrap().push((instance, Instant::now()));
        } else {
            RESTING.fetch_sub(1, Relaxed);
        }
    }

    /// Called now and then: those go that nobody needed for long.
    pub fn sweep(&self) {
        let mut instances = self.0.lock().unwrap();
        let old = instances.iter().take_while(|(_, since)| since.elapsed() > RESTING_TIME_MAX).count();
        let gone: Vec<_> = instances.drain(..old).collect();
        drop(instances);
        RESTING.fetch_sub(gone.len(), Relaxed);
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        RESTING.fetch_sub(self.0.get_mut().map_or(0, |instances| instances.len()), Relaxed);
    }
}
