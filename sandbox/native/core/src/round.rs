//! What a thread of the ingress answers in one round goes out together, when it has nothing else to do.
//!
//! A client that sleeps is woken by what is sent to it, and whoever sends pays for that: with the answers of a round in a row, once
//! and not for each. A round ends when its thread is about to wait, or with so many answers. Only little is kept, and only of
//! threads that called `begin`; what the kernel does not take at once is left to the connection.
use std::{
    cell::{Cell, RefCell},
    os::fd::RawFd,
    sync::{Arc, Mutex},
    task::{Context, Waker},
};

const ANSWERS_MAX: usize = 16;
/// Of one connection. More goes out at once.
const BYTES_MAX: usize = 4 << 10;

thread_local! {
    static HAS_ROUNDS: Cell<bool> = const { Cell::new(false) };
    static ROUND: RefCell<Vec<Arc<Mutex<Kept>>>> = const { RefCell::new(Vec::new()) };
}

/// What of one connection waits for the end of a round.
pub struct Held {
    descriptor: RawFd,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    descriptor: Option<RawFd>,
    bytes: Vec<u8>,
    /// Some of it the kernel did not take.
    is_stalled: bool,
    connection: Option<Waker>,
}

/// Of this thread. `end` is to be called before it waits.
pub fn begin() {
    HAS_ROUNDS.set(true);
}

pub fn end() {
    let mut round = ROUND.take();
    for kept in round.drain(..) {
        kept.lock().unwrap().send();
    }
    // Its room is used again; nobody was added meanwhile.
    ROUND.set(round);
}

impl Held {
    /// `descriptor` is valid until this is dropped.
    pub fn new(descriptor: RawFd) -> Held {
        Held { descriptor, kept: Arc::default() }
    }

    /// False when it must go out in another way, after what is here.
    pub fn keep<'a>(&self, parts: impl Iterator<Item = &'a [u8]> + Clone, cx: &Context<'_>) -> bool {
        if !HAS_ROUNDS.get() {
            return false;
        }
        let bytes: usize = parts.clone().map(<[u8]>::len).sum();
        let mut kept = self.kept.lock().unwrap();
        if kept.is_stalled || kept.bytes.len() + bytes > BYTES_MAX {
            return false;
        }
        parts.for_each(|part| kept.bytes.extend_from_slice(part));
        if !kept.connection.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            kept.connection = Some(cx.waker().clone());
        }
        let is_new = kept.descriptor.replace(self.descriptor).is_none();
        drop(kept);
        if is_new && ROUND.with_borrow_mut(|round| { round.push(self.kept.clone()); round.len() >= ANSWERS_MAX }) {
            end();
        }
        true
    }

    pub fn is_stalled(&self) -> bool {
        self.kept.lock().unwrap().is_stalled
    }

    /// For who sends it himself now.
    pub fn take(&self) -> Vec<u8> {
        let mut kept = self.kept.lock().unwrap();
        kept.is_stalled = false;
        std::mem::take(&mut kept.bytes)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut kept = self.kept.lock().unwrap();
        kept.send();
        // Nothing is left to send by a number that may soon be another's.
        kept.bytes = Vec::new();
    }
}

impl Kept {
    fn send(&mut self) {
        let Some(descriptor) = self.descriptor.take().filter(|_| !self.bytes.is_empty() && !self.is_stalled) else { return };
        // SAFETY: `Held` outlives its descriptor's use: it is dropped first, and leaves no bytes.
        let sent = unsafe { libc::send(descriptor, self.bytes.as_ptr().cast(), self.bytes.len(), libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
        let is_full = sent < 0 && matches!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EAGAIN | libc::EINTR));
        // Of an error that lasts, whoever reads next is told.
        if sent == self.bytes.len() as isize || (sent < 0 && !is_full) {
            // The room is used again, so what was in it goes by hand.
            self.bytes.fill(0);
            self.bytes.clear();
        } else {
            self.bytes.drain(..sent.max(0) as usize);
            self.is_stalled = true;
            self.connection.take().inspect(Waker::wake_by_ref);
        }
    }
}
