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
    fn let_go(&self, now: Instant);
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
    fn let_go(&self, now: Instant) {
        let mut shared = self.lock().unwrap();
        if shared.since.is_some_and(|since| now.duration_since(since) >= STALLED_MAX) {
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
pub fn look(now: Instant) {
    let listed: Vec<Arc<dyn Looked>> = LISTED.lock().unwrap().values().cloned().collect();
    for held in listed {
        held.let_go(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client's answer holds; the test counts how many are still held.
    fn held() -> (Held<Arc<()>>, impl Fn() -> bool) {
        let inner = Arc::new(());
        let outer = Arc::downgrade(&inner);
        (Held::new(inner), move || outer.strong_count() > 0)
    }

    #[test]
    fn an_answer_whose_client_takes_nothing_more_is_let_go_and_is_cut_then() {
        let (held, is_held) = held();
        look(Instant::now() + STALLED_MAX / 2);
        assert!(is_held());
        // It asks, and gets something: its time begins again.
        held.ask(|held| (held.is_some(), true));
        look(Instant::now() + STALLED_MAX - Duration::from_secs(1));
        assert!(is_held());
        look(Instant::now() + STALLED_MAX);
        assert!(!is_held());
        assert!(held.ask(|held| (held.is_none(), true)) && held.look(|held| held.is_none()) && held.take().is_none());
    }

    #[test]
    fn one_whose_guest_takes_its_time_is_never_let_go() {
        let (held, is_held) = held();
        held.ask(|_| ((), false));
        look(Instant::now() + 100 * STALLED_MAX);
        assert!(is_held());
    }

    #[test]
    fn what_ends_by_itself_is_listed_no_more() {
        let (held, is_held) = held();
        let number = held.number;
        assert!(LISTED.lock().unwrap().contains_key(&number));
        drop(held);
        assert!(!is_held() && !LISTED.lock().unwrap().contains_key(&number));
    }
}
