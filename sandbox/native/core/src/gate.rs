//! Admission: how many instances of a deployment run at once, and how much memory they may hold together.
//!
//! A replica is a reservation of memory for all its concurrent instances. Each instance enters with what instances of this
//! deployment lately needed, and may grow as long as the sum stays within the reservation. Whoever does not fit waits in a
//! bounded queue, first come first served. An instance may always run alone with all of the memory that one may have. What the
//! host keeps for an instance counts like its own memory. A deployment has one gate for as long as it is loaded: what a reload
//! replaces still counts until it has ended.
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::oneshot;

/// How much room there is.
#[derive(Clone, Debug)]
pub struct Room {
    pub concurrency: u32,
    pub memory_bytes_max: u64,
    /// Of it, the most that one instance may have.
    pub instance_bytes_max: u64,
    /// What every instance needs from the start.
    pub memory_bytes_min: u64,
    pub queue_length_max: usize,
    pub queue_wait: Duration,
}

pub struct Gate {
    state: Mutex<State>,
}

struct State {
    room: Room,
    running: u32,
    reserved: u64,
    /// What an instance is expected to need: the largest of late, slowly forgotten.
    expected: u64,
    waiting: VecDeque<oneshot::Sender<Pass>>,
}

/// The right of one instance to run. Dropped, it lets the next one in.
pub struct Pass {
    gate: Arc<Gate>,
    reserved: u64,
    used: u64,
    /// The one that tries a load is beside concurrency and reservation: others may have all of both, for longer than a trial may take.
    /// It has the memory of one instance of what is to be loaded.
    trial_bytes_max: Option<u64>,
    is_resting: bool,
}

#[derive(Debug, PartialEq)]
pub enum Refused {
    QueueFull,
    WaitedTooLong,
}

impl Room {
    /// Until it is known what an instance needs, each is to have its share.
    fn share(&self) -> u64 {
        (self.memory_bytes_max / u64::from(self.concurrency.max(1))).max(self.memory_bytes_min).min(self.instance_bytes_max)
    }
}

impl Gate {
    pub fn new(room: Room) -> Arc<Gate> {
        let state = State { expected: room.share(), room, running: 0, reserved: 0, waiting: VecDeque::new() };
        Arc::new(Gate { state: Mutex::new(state) })
    }

    /// For one task, or for tests: one instance, nobody waits.
    pub fn of_one(memory_bytes_max: u64) -> Arc<Gate> {
        let room = Room { concurrency: 1, memory_bytes_max, instance_bytes_max: memory_bytes_max, memory_bytes_min: 0, queue_length_max: 0, queue_wait: Duration::ZERO };
        Gate::new(room)
    }

    /// Other limits, for those that enter from now on and for those that grow.
    pub fn resize(self: &Arc<Gate>, room: Room) {
        let admitted = {
            let mut state = self.state.lock().unwrap();
            state.expected = room.share();
            state.room = room;
            self.admit_waiting(&mut state)
        };
        hand_out(admitted);
    }

    /// What every instance needs from the start, once that is known.
    pub fn begin_with(&self, memory_bytes_min: u64) {
        let mut state = self.state.lock().unwrap();
        state.room.memory_bytes_min = memory_bytes_min;
        state.expected = state.expected.max(memory_bytes_min).min(state.room.instance_bytes_max);
    }

    pub async fn enter(self: &Arc<Gate>) -> Result<Pass, Refused> {
        let (receiver, queue_wait) = {
            let mut state = self.state.lock().unwrap();
            if state.waiting.is_empty() {
                if let Some(pass) = self.admit(&mut state) {
                    return Ok(pass);
                }
            }
            if state.waiting.len() >= state.room.queue_length_max {
                state.waiting.retain(|sender| !sender.is_closed());
                if state.waiting.len() >= state.room.queue_length_max {
                    return Err(Refused::QueueFull);
                }
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back(sender);
            (receiver, state.room.queue_wait)
        };
        match tokio::time::timeout(queue_wait, receiver).await {
            Ok(Ok(pass)) => Ok(pass),
            _ => Err(Refused::WaitedTooLong),
        }
    }

    /// For the one instance that a load tries, however many serve already.
    pub fn enter_trial(self: &Arc<Gate>, bytes_max: u64) -> Pass {
        Pass { gate: self.clone(), reserved: 0, used: 0, trial_bytes_max: Some(bytes_max), is_resting: false }
    }

    /// (running, waiting)
    pub fn load(&self) -> (u32, usize) {
        let state = self.state.lock().unwrap();
        (state.running, state.waiting.iter().filter(|sender| !sender.is_closed()).count())
    }

    fn admit(self: &Arc<Gate>, state: &mut State) -> Option<Pass> {
        let fits = state.reserved + state.expected <= state.room.memory_bytes_max || state.running == 0;
        if state.running >= state.room.concurrency || !fits {
            return None;
        }
        let left = state.room.memory_bytes_max.saturating_sub(state.reserved);
        let reserved = state.expected.min(left);
        state.running += 1;
        state.reserved += reserved;
        Some(Pass { gate: self.clone(), reserved, used: 0, trial_bytes_max: None, is_resting: false })
    }

    fn admit_waiting(self: &Arc<Gate>, state: &mut State) -> Vec<(oneshot::Sender<Pass>, Pass)> {
        let mut admitted = Vec::new();
        while let Some(sender) = state.waiting.pop_front() {
            if sender.is_closed() {
                continue;
            }
            let Some(pass) = self.admit(state) else {
                state.waiting.push_front(sender);
                break;
            };
            admitted.push((sender, pass));
        }
        admitted
    }

    fn leave(self: &Arc<Gate>, pass: &Pass) {
        let admitted = {
            let mut state = self.state.lock().unwrap();
            state.reserved -= pass.reserved;
            if pass.trial_bytes_max.is_none() {
                state.running -= u32::from(!pass.is_resting);
                state.expected = pass.used.max(state.expected - state.expected / 64).max(state.room.memory_bytes_min).min(state.room.instance_bytes_max);
            }
            self.admit_waiting(&mut state)
        };
        hand_out(admitted);
    }
}

/// Outside of the lock: a pass that nobody takes any more comes back through its own drop.
fn hand_out(admitted: Vec<(oneshot::Sender<Pass>, Pass)>) {
    for (sender, pass) in admitted {
        _ = sender.send(pass);
    }
}

impl Pass {
    /// Asks for `bytes` more memory. Refused when the deployment's reservation, or what one instance may have, would be exceeded.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let Some(used) = self.used.checked_add(bytes) else { return false };
        if used > self.reserved {
            let mut state = self.gate.state.lock().unwrap();
            let more = used - self.reserved;
            let fits = match self.trial_bytes_max {
                Some(bytes_max) => used <= bytes_max,
                None => used <= state.room.instance_bytes_max && state.reserved + more <= state.room.memory_bytes_max,
            };
            if !fits {
                return false;
            }
            state.reserved += more;
            self.reserved = used;
        }
        self.used = used;
        true
    }

    /// Gives back what it grew by.
    pub fn shrink(&mut self, bytes: u64) {
        self.used -= bytes.min(self.used);
    }

    pub fn used(&self) -> u64 {
        self.used
    }

    /// Its instance waits for its next request: it keeps its memory and gives up its place. False when somebody else waits for either.
    pub fn rest(&mut self) -> bool {
        let mut state = self.gate.state.lock().unwrap();
        if state.waiting.iter().any(|sender| !sender.is_closed()) {
            return false;
        }
        state.running -= 1;
        self.is_resting = true;
        true
    }

    /// False when there are as many running as may be.
    pub fn wake(&mut self) -> bool {
        let mut state = self.gate.state.lock().unwrap();
        if state.running >= state.room.concurrency {
            return false;
        }
        state.running += 1;
        self.is_resting = false;
        true
    }

    /// Whether no sharing could ever have given it this much.
    pub fn beyond_all(&self, bytes: u64) -> bool {
        let state = self.gate.state.lock().unwrap();
        self.used.saturating_add(bytes) > self.trial_bytes_max.unwrap_or(state.room.memory_bytes_max.min(state.room.instance_bytes_max))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.clone().leave(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(concurrency: u32, memory: u64, queue: usize) -> Arc<Gate> {
        Gate::new(room(concurrency, (0, memory), queue))
    }
    fn room(concurrency: u32, (memory_bytes_min, memory_bytes_max): (u64, u64), queue_length_max: usize) -> Room {
        let queue_wait = Duration::from_millis(50);
        Room { concurrency, memory_bytes_max, instance_bytes_max: memory_bytes_max, memory_bytes_min, queue_length_max, queue_wait }
    }
    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn instances_share_the_memory_of_the_deployment() {
        run(async {
            let gate = gate(10, 100, 0);
            let mut first = gate.enter().await.ok().unwrap();
            let mut second = gate.enter().await.ok().unwrap();
            assert!(first.grow(60));
            assert!(!second.grow(60));
            assert!(second.grow(40));
            drop(first);
            assert!(second.grow(60));
            assert!(!second.grow(1));
        });
    }

    #[test]
    fn who_would_not_fit_waits_instead_of_failing_later() {
        run(async {
            let gate = Gate::new(room(10, (60, 100), 1));
            let mut first = gate.enter().await.ok().unwrap();
            assert!(first.grow(60));
            assert_eq!(gate.enter().await.err(), Some(Refused::WaitedTooLong));
            drop(first);
            // Alone, more than is there may be expected.
            let alone = Gate::new(room(10, (600, 100), 1));
            assert!(!alone.enter().await.ok().unwrap().grow(600));
        });
    }

    #[test]
    fn one_instance_has_the_memory_of_one_replica_however_much_the_others_leave() {
        run(async {
            let gate = Gate::new(Room { instance_bytes_max: 40, ..room(10, (0, 100), 0) });
            let mut pass = gate.enter().await.ok().unwrap();
            assert!(pass.grow(40));
            assert!(!pass.grow(1));
            assert!(pass.beyond_all(1));
        });
    }

    #[test]
    fn a_reload_shares_the_room_with_what_it_replaces() {
        run(async {
            let gate = gate(2, 100, 1);
            let mut before = gate.enter().await.ok().unwrap();
            assert!(before.grow(80));
            gate.resize(room(1, (0, 100), 0));
            assert_eq!(gate.enter().await.err(), Some(Refused::QueueFull));
            let mut trial = gate.enter_trial(100);
            assert!(trial.grow(100));
            assert!(!trial.grow(1));
            drop((before, trial));
            assert_eq!(gate.load(), (0, 0));
            assert!(gate.enter().await.ok().unwrap().grow(100));
        });
    }

    #[test]
    fn an_instance_that_rests_keeps_its_memory_and_gives_up_its_place() {
        run(async {
            let gate = gate(1, 100, 1);
            let mut first = gate.enter().await.ok().unwrap();
            assert!(first.grow(60));
            assert!(first.rest());
            assert_eq!(gate.load(), (0, 0));
            let mut second = gate.enter().await.ok().unwrap();
            assert!(!first.wake());
            assert!(!second.grow(60));
            let waiting = tokio::spawn({
                let gate = gate.clone();
                async move { gate.enter().await.is_ok() }
            });
            tokio::task::yield_now().await;
            assert!(!second.rest());
            drop(second);
            assert!(waiting.await.unwrap());
            assert!(first.wake());
            drop(first);
            assert_eq!(gate.load(), (0, 0));
        });
    }

    #[test]
    fn a_full_queue_refuses_and_a_leaver_lets_the_next_one_in() {
        run(async {
            let gate = gate(1, 100, 1);
            let pass = gate.enter().await.ok().unwrap();
            let waiting = tokio::time::timeout(Duration::from_millis(5), gate.enter()).await;
            assert!(waiting.is_err());
            let waiter = tokio::spawn({
                let gate = gate.clone();
                async move { gate.enter().await }
            });
            tokio::task::yield_now().await;
            assert_eq!(gate.enter().await.err(), Some(Refused::QueueFull));
            drop(pass);
            let next = waiter.await.unwrap();
            assert!(next.is_ok());
            assert_eq!(gate.load(), (1, 0));
            assert_eq!(gate.enter().await.err(), Some(Refused::WaitedTooLong));
        });
    }
}
