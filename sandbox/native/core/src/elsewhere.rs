//! Requests for what other machines run: by host, which machines have a replica, and getting one answer from one of them.
//!
//! The agent says which they are and how much of the requests each revision takes; which of two is less loaded is found out here. A
//! request goes to another replica only if nobody can have begun it, or if it asks only and is repeatable. While there is no replica
//! that can take it, it waits, so many for so long. What came by a hop is answered here or not at all: nothing hops twice.
use crate::{
    batch::Batch,
    body::Answer,
    cause::Cause,
    headers::keep_to_host,
    line::{self, Passing},
    onward::{HOP_LOAD, HOP_MISSED, HOP_TO, Onward},
    peers::Peer,
    plane::{Plane, identified, problem},
    replay::Given,
    serve::host_of,
};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderValue, VIA},
};
use serde::Deserialize;
use std::{
    collections::HashMap,
    convert::Infallible,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};
use tokio::{
    sync::{TryAcquireError, watch},
    time::timeout,
};

/// A replica that was lost is elsewhere within five seconds (design 4.2); one that moves, sooner.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// Requests that wait for a replica, of all hosts and of one.
const WAITING_MAX: usize = 2_048;
const WAITING_OF_HOST_MAX: usize = 512;
/// Looked again after so long, also when nothing is heard: a peer that could not be reached may be by now.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(400);
/// A machine that has begun no answer for so long may have stopped without a word: who may be asked beside it is.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Times that one request which may be begun twice is.
const BROKEN_MAX: u32 = 4;

const BY_US: HeaderValue = HeaderValue::from_static("1.1 godwit");

/// What the agent says of some hosts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Places {
    pub hosts: Vec<String>,
    /// Whether it holds even where this machine has a replica: its own is not the first choice, or there are two revisions.
    pub diverts: bool,
    pub parts: Vec<Part>,
}

/// One revision.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Of the requests, per mille.
    pub weight: u32,
    /// The host by which machines know it; none: the request's own.
    pub to: Option<String>,
    /// Whether this machine has a replica of it that is to take requests.
    pub here: bool,
    pub peers: Vec<Candidate>,
}

#[derive(Deserialize)]
#[serde(from = "String")]
pub struct Candidate {
    id: String,
    /// As it said last.
    load: AtomicU32,
}

impl From<String> for Candidate {
    fn from(id: String) -> Candidate {
        Candidate { id, load: AtomicU32::new(0) }
    }
}

pub struct Elsewhere {
    hosts: RwLock<HashMap<String, Arc<Places>>>,
    diverting: AtomicUsize,
    diverts: AtomicBool,
    changes: watch::Sender<()>,
    waiting: Mutex<Waiting>,
    draws: AtomicUsize,
}

#[derive(Default)]
struct Waiting {
    all: usize,
    of_host: HashMap<String, usize>,
}

impl Elsewhere {
    pub fn new() -> Elsewhere {
        Elsewhere {
            hosts: RwLock::default(),
            diverting: AtomicUsize::new(0),
            diverts: AtomicBool::new(false),
            changes: watch::channel(()).0,
            waiting: Mutex::default(),
            draws: AtomicUsize::new(0),
        }
    }

    pub fn change(&self, set: Vec<Places>, remove: &[String]) {
        {
            let mut hosts = self.hosts.write().unwrap();
            let mut diverting = self.diverting.load(Relaxed);
            for host in remove {
                diverting -= usize::from(hosts.remove(host).is_some_and(|before| before.diverts));
            }
            for mut places in set {
                let names = std::mem::take(&mut places.hosts);
                let places = Arc::new(places);
                for host in names {
                    diverting += usize::from(places.diverts);
                    diverting -= usize::from(hosts.insert(host, places.clone()).is_some_and(|before| before.diverts));
                }
            }
            self.diverting.store(diverting, Relaxed);
            self.diverts.store(diverting > 0, Relaxed);
        }
        self.changes.send_replace(());
    }

    /// Somebody who waits may find it now.
    pub fn changed(&self) {
        self.changes.send_replace(());
    }

    /// Whether a replica of this machine's own is not all that counts for some host. Asked for every request.
    pub fn diverts(&self) -> bool {
        self.diverts.load(Relaxed)
    }

    pub fn is_diverted(&self, host: &str) -> bool {
        self.get(host).is_some_and(|places| places.diverts)
    }

    fn get(&self, host: &str) -> Option<Arc<Places>> {
        self.hosts.read().unwrap().get(host).cloned()
    }

    /// Any number, evenly.
    fn draw(&self) -> usize {
        let mut x = self.draws.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed) as u64;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) as usize >> 1
    }

    fn wait(self: &Arc<Elsewhere>, host: &str) -> Option<Place> {
        let mut waiting = self.waiting.lock().unwrap();
        let of_host = waiting.of_host.get(host).copied().unwrap_or(0);
        if waiting.all >= WAITING_MAX || of_host >= WAITING_OF_HOST_MAX {
            return None;
        }
        waiting.all += 1;
        waiting.of_host.insert(host.into(), of_host + 1);
        Some(Place(self.clone(), host.into()))
    }
}

/// Of one that waits.
struct Place(Arc<Elsewhere>, String);
impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock().unwrap();
        waiting.all -= 1;
        if let Some(count) = waiting.of_host.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                waiting.of_host.remove(&self.1);
            }
        }
    }
}

impl Places {
    /// The revision that a request drew, to which it keeps, and then those that can take its place.
    fn from(&self, draw: usize) -> impl Iterator<Item = &Part> + Clone {
        let all: usize = self.parts.iter().map(|part| part.weight as usize).sum();
        let mut left = draw.checked_rem(all).unwrap_or(0);
        let drawn = self.parts.iter().position(|part| {
            let weight = part.weight as usize;
            let is_it = left < weight;
            left = left.saturating_sub(weight);
            is_it
        });
        let count = self.parts.len();
        (0..count).map(move |n| &self.parts[(drawn.unwrap_or(0) + n) % count])
    }
}

enum Sent {
    Answered(Response<Passing>),
    /// Nobody has begun it.
    NotBegun,
    /// Somebody may have.
    Broken,
}

impl Plane {
    /// Answers a request for a host that this machine does not, or not alone, serve.
    pub(crate) async fn pass(self: Arc<Self>, batch: Arc<Batch>, host: String, request: Request<Incoming>, request_id: String) -> Result<Response<Answer>, Cause> {
        let elsewhere = &self.elsewhere;
        let draw = elsewhere.draw();
        // One that its own replica is to answer stays as it is.
        let first = elsewhere.get(&host).ok_or(Cause::HostUnknown)?;
        if let Some(local) = first.from(draw).next().filter(|part| part.here).and_then(|part| self.local(part.to.as_deref(), &host)) {
            return self.serve_local(&batch, local, request.map(Given::Fresh), &request_id).await;
        }
        let mut changes = elsewhere.changes.subscribe();
        let passed = Onward::new(request.map(Given::Fresh), &host, &request_id)?;
        let (begun, mut place, mut tried, mut broken, mut pause) = (Instant::now(), None, Vec::new(), 0, LOOK_AGAIN);
        loop {
            changes.mark_unchanged();
            let Some(places) = elsewhere.get(&host) else { return Err(Cause::HostUnknown) };
            let parts = places.from(draw);
            if let Some((part, peer, candidate)) = parts.clone().find_map(|part| self.choose(part, &tried)) {
                match self.send_or_another(part, (&peer, candidate), &passed, &mut tried).await? {
                    Sent::Answered(response) => {
                        self.peers.counts.passed.fetch_add(1, Relaxed);
                        return Ok(response.map(|body| Answer::Passed(Box::new(body))));
                    }
                    Sent::Broken if passed.source.is_broken() => return Err(Cause::BodyMalformed),
                    Sent::Broken if !passed.is_repeatable || broken >= BROKEN_MAX => {
                        self.peers.counts.broken.fetch_add(1, Relaxed);
                        return Err(Cause::HopBroken);
                    }
                    Sent::Broken => broken += 1,
                    Sent::NotBegun => {}
                }
                self.peers.counts.again.fetch_add(1, Relaxed);
                tried.push(peer.id.clone());
                if passed.source.replay().is_none() {
                    return Err(Cause::NoReplica);
                }
                continue;
            }
            // Nobody else can take it now. This machine may: it has what it is about to give up, or what was loaded this moment.
            if let Some(local) = parts.clone().find_map(|part| self.local(part.to.as_deref(), &host)) {
                let Some(body) = passed.source.given() else { return Err(Cause::NoReplica) };
                return self.serve_local(&batch, local, passed.whole(body), &request_id).await;
            }
            if place.is_none() {
                self.peers.counts.waited.fetch_add(1, Relaxed);
                place = elsewhere.wait(&host);
            }
            let left = WAIT_MAX.saturating_sub(begun.elapsed());
            if place.is_none() || left.is_zero() {
                return Err(Cause::NoReplica);
            }
            let is_changed = timeout(left.min(pause), changes.changed()).await.is_ok();
            pause = if is_changed { LOOK_AGAIN } else { (pause * 2).min(LOOK_AGAIN_MAX) };
            tried.clear();
        }
    }

    /// The less loaded of two that can be tried, by chance.
    fn choose<'a>(&self, part: &'a Part, tried: &[String]) -> Option<Choice<'a>> {
        let usable = |candidate: &'a Candidate| {
            let peer = self.peers.get(&candidate.id).filter(|peer| !tried.contains(&peer.id) && (peer.rests().is_none() || peer.has_kept()))?;
            Some((part, peer, candidate))
        };
        let (count, draw) = (part.peers.len(), self.elsewhere.draw());
        if count > 2 {
            // Two of many, without a look at the others.
            let first = draw % count;
            let second = (first + 1 + draw / count % (count - 1)) % count;
            if let (Some(a), Some(b)) = (usable(&part.peers[first]), usable(&part.peers[second])) {
                return Some(lighter(a, b));
            }
        }
        // From anywhere among them, so that of equals it is not always the same.
        let mut found = (0..count).filter_map(|n| usable(&part.peers[(draw % count + n) % count]));
        let first = found.next()?;
        Some(found.fold(first, lighter))
    }

    /// One that is silent for long is asked no more than beside another, and the first of the two answers. The guest of the other ends.
    async fn send_or_another(&self, part: &Part, (peer, candidate): (&Arc<Peer>, &Candidate), passed: &Onward, tried: &mut Vec<String>) -> Result<Sent, Cause> {
        let mut first = pin!(self.send(peer, candidate, part.to.as_deref(), passed));
        if !passed.is_repeatable {
            return first.await;
        }
        let answers = peer.answers();
        if let Ok(sent) = timeout(SILENCE_MAX, first.as_mut()).await {
            return sent;
        }
        if peer.answers() != answers {
            return first.await;
        }
        tried.push(peer.id.clone());
        let Some((_, other, beside)) = self.choose(part, tried) else { return first.await };
        self.peers.counts.again.fetch_add(1, Relaxed);
        tried.push(other.id.clone());
        let mut second = Box::pin(self.send(&other, beside, part.to.as_deref(), passed));
        let (sent, is_first) = poll_fn(|cx| match first.as_mut().poll(cx) {
            Poll::Pending => second.as_mut().poll(cx).map(|sent| (sent, false)),
            ready => ready.map(|sent| (sent, true)),
        })
        .await;
        match sent {
            Ok(Sent::Answered(_)) => sent,
            _ if is_first => second.await,
            _ => first.await,
        }
    }

    async fn send(&self, peer: &Arc<Peer>, candidate: &Candidate, to: Option<&str>, passed: &Onward) -> Result<Sent, Cause> {
        let permit = match peer.places().clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Ok(Sent::NotBegun),
            Err(TryAcquireError::NoPermits) => match timeout(WAIT_MAX, peer.places().clone().acquire_owned()).await {
                Ok(Ok(permit)) => permit,
                _ => return Err(Cause::QueueFull),
            },
        };
        loop {
            let Some((mut line, is_kept)) = self.peers.line(peer).await else { return Ok(Sent::NotBegun) };
            let Some(body) = passed.source.replay() else { return Ok(Sent::Broken) };
            let mut response = match line.send(passed.request(body, to)).await {
                line::Sent::Answered(response) => response,
                // Where a kept one had ended, another may do.
                line::Sent::Not if is_kept => continue,
                line::Sent::Not => return Ok(Sent::NotBegun),
                line::Sent::Broken => return Ok(Sent::Broken),
            };
            peer.begins_answer();
            if is_kept {
                peer.answered();
            }
            let headers = response.headers_mut();
            let load = headers.remove(HOP_LOAD).and_then(|load| load.to_str().ok()?.parse().ok());
            candidate.load.store(load.unwrap_or(0), Relaxed);
            let is_missed = headers.remove(HOP_MISSED).is_some() && response.status() == StatusCode::MISDIRECTED_REQUEST;
            response.headers_mut().remove(CONNECTION);
            response.headers_mut().append(VIA, BY_US);
            keep_to_host(response.headers_mut());
            let response = response.map(|body| Passing::new(body, line, peer.clone(), permit));
            return Ok(if is_missed { Sent::NotBegun } else { Sent::Answered(response) });
        }
    }
}

type Choice<'a> = (&'a Part, Arc<Peer>, &'a Candidate);
fn lighter<'a>(a: Choice<'a>, b: Choice<'a>) -> Choice<'a> {
    let load = |(_, peer, candidate): &Choice| peer.under_way() + candidate.load.load(Relaxed) as usize;
    if load(&b) < load(&a) { b } else { a }
}

// ---- The other end ---------------------------------------------------------------------------------------------------------

impl Plane {
    /// Answers what came by a hop, with what is here or not at all.
    pub(crate) async fn answer_peer(self: &Arc<Self>, batch: &Arc<Batch>, mut request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        let to = request.headers_mut().remove(HOP_TO);
        let request_id = self.told_request_id(&request);
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Ok(identified(problem(Cause::MethodRefused, &request_id), request_id));
        }
        let host = host_of(&request);
        let Some(local) = host.and_then(|host| self.local(to.as_ref().and_then(|to| to.to_str().ok()), &host)) else {
            let mut missed = Response::new(Answer::Whole(None));
            *missed.status_mut() = StatusCode::MISDIRECTED_REQUEST;
            missed.headers_mut().insert(HOP_MISSED, HeaderValue::from_static("1"));
            return Ok(missed);
        };
        self.peers.counts.served.fetch_add(1, Relaxed);
        let load = local.load();
        let mut response = match self.serve_local(batch, local, request.map(Given::Fresh), &request_id).await {
            Ok(response) => response,
            Err(cause) => problem(cause, &request_id),
        };
        // A guest has no say in these.
        response.headers_mut().remove(HOP_MISSED);
        response.headers_mut().insert(HOP_LOAD, load.into());
        Ok(identified(response, request_id))
    }
}
