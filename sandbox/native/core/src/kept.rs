//! Connections that rest between two requests. The one that was used last is used next, so what is too many grows old at the bottom.
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// One is used again within this, well before the other end gives it up.
pub const IDLE_MAX: Duration = Duration::from_secs(10);

/// In the order in which they were kept.
#[derive(Debug)]
pub struct Kept<T>(Mutex<Vec<(T, Instant)>>);

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept(Mutex::default())
    }
}

impl<T> Kept<T> {
    /// There are as many as requests at once, so whoever bounds those bounds this.
    pub fn keep(&self, one: T, now: Instant) {
        self.0.lock().unwrap().push((one, now));
    }

    pub fn take(&self, now: Instant) -> Option<T> {
        let mut kept = self.0.lock().unwrap();
        let (one, since) = kept.pop()?;
        if now.duration_since(since) < IDLE_MAX {
            return Some(one);
        }
        // Those below it are older.
        let ended = std::mem::take(&mut *kept);
        drop(kept);
        drop(ended);
        None
    }

    /// Whether `take` would find one.
    pub fn has(&self, now: Instant) -> bool {
        self.0.lock().unwrap().last().is_some_and(|(_, since)| now.duration_since(*since) < IDLE_MAX)
    }

    pub fn forget_idle(&self, now: Instant) {
        let mut kept = self.0.lock().unwrap();
        let idle = kept.iter().take_while(|(_, since)| now.duration_since(*since) >= IDLE_MAX).count();
        let ended: Vec<_> = kept.drain(..idle).collect();
        drop(kept);
        drop(ended);
    }

    pub fn clear(&self) {
        let ended = std::mem::take(&mut *self.0.lock().unwrap());
        drop(ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_kept_is_used_next_and_one_that_rested_too_long_by_nobody() {
        let (kept, begun) = (Kept::default(), Instant::now());
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert!(!kept.has(begun) && kept.take(begun).is_none());
        for second in [0, 1, 5] {
            kept.keep(second, after(second));
        }
        assert_eq!(kept.take(after(6)), Some(5));
        assert!(kept.has(after(10)));
        // That of second 1 is too old, and so what lies below it.
        assert!(!kept.has(after(11)));
        assert_eq!(kept.take(after(11)), None);
        assert_eq!(kept.take(after(1)), None);
    }

    #[test]
    fn what_nobody_asks_for_is_given_up_and_what_is_younger_stays() {
        let (kept, begun) = (Kept::default(), Instant::now());
        let after = |seconds| begun + Duration::from_secs(seconds);
        for second in [0, 3, 8] {
            kept.keep(second, after(second));
        }
        kept.forget_idle(after(9));
        assert_eq!(kept.0.lock().unwrap().len(), 3);
        kept.forget_idle(after(13));
        assert_eq!(kept.0.lock().unwrap().len(), 1);
        assert_eq!(kept.take(after(13)), Some(8));
        kept.keep(1, after(13));
        kept.clear();
        assert!(!kept.has(after(13)));
    }
}
