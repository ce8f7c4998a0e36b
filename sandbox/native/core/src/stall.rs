//! Answers on their way through whose client takes nothing more: what they hold is given back.
//!
//! Nobody polls such an answer, so it cannot see to that itself: what each holds is listed, and the list is looked through now and then.
use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// An answer whose client asks for no more of it for so long. One that is slow asks again when what was buffered has gone.
const STALLED_MAX: Duration = Duration::from_secs(60);

static NUMBERS: AtomicU64 = AtomicU64::new(0);
static LISTED: LazyLock<Mutex<HashMap<u64, Arc<dyn Looked>>>> = LazyLock::new(Mutex::default);

trait Looked: Send + Sync {
    /// Drops what is held, if it has stalled.
    fn let_go(&self);
}

/// What an answer holds as long as its client takes it.
pub struct Held<T: Send + 'static> {
    number: u64,
    shared: Arc<Mutex<Shared<T>>>,
}

struct Shared<T> {
    held: Option<T>,
    /// Since when it is the client's turn; none while more is waited for.
    since: Option<Instant>,
}

impl<T: Send> Looked for Mutex<Shared<T>> {
    fn let_go(&self) {
        let mut shared = self.lock().unwrap();
        if shared.since.is_some_and(|since| since.elapsed() >= STALLED_MAX) {
            let held = shared.held.take();
            drop(shared);
            drop(held);
        }
    }
}

impl<T: Send + 'static> Held<T> {
    pub fn new(held: T) -> Held<T> {
        let shared = Arc::new(Mutex::new(Shared { held: Some(held), since: Some(Instant::now()) }));
        let number = NUMBERS.fetch_add(1, Relaxed);
        LISTED.lock().unwrap().insert(number, shared.clone());
        Held { number, shared }
    }

    /// None once it was let go.
    pub fn look<R>(&self, at: impl FnOnce(Option<&T>) -> R) -> R {
        at(self.shared.lock().unwrap().held.as_ref())
    }

    /// The client asks for more. `poll` says whether it is its turn again after that: it got something, or the end.
    pub fn ask<R>(&self, poll: impl FnOnce(Option<&mut T>) -> (R, bool)) -> R {
        let mut shared = self.shared.lock().unwrap();
        let (result, is_clients) = poll(shared.held.as_mut());
        shared.since = is_clients.then(Instant::now);
        result
    }

    pub fn take(&self) -> Option<T> {
        self.shared.lock().unwrap().held.take()
    }
}

impl<T: Send> Drop for Held<T> {
    fn drop(&mut self) {
        let listed = LISTED.lock().unwrap().remove(&self.number);
        drop(listed);
    }
}

/// Lets go what has stalled.
pub fn look() {
    let listed: Vec<Arc<dyn Looked>> = LISTED.lock().unwrap().values().cloned().collect();
    for held in listed {
        held.let_go();
    }
}
