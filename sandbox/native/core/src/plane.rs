//! The data plane: Host header → deployment → a fresh instance for each request. Requests never pass through JavaScript.
use crate::{
    account::{Account, CallTime, SHORT_UNSURE_NS, spent_ns},
    batch::{Batch, Handle, Party, Work, poll_once},
    body::{Answer, Counted, Patience},
    cause::Cause,
    elsewhere::Elsewhere,
    engine,
    gate::{Gate, Pass, Refused, Room},
    hop::Hop,
    guest::{Guest, HOST_BYTES_MIN, RANDOM_BYTES_MAX, State, linker},
    headers::{keep_to_host, leave_at_hop},
    limits::{Limits, OutgoingPlace},
    log::{Log, Outlet, Sink, Stream, Tap, TapStream},
    outgoing::{Dialler, Outgoing, Way, trust},
    onward::HOP_TO,
    peers::Peers,
    replay::Given,
    residents::{Resident, Residents},
    serve::{Client, host_of},
    shelf::{Instance, Shelf},
    stacks::{Frames, Stacks},
    task::Tasks,
    wipe,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, HeaderName, HeaderValue},
};
use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use tokio_rustls::rustls::ClientConfig;
use wasmtime::{
    Engine, Error, Result,
    component::Linker,
};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_http::p2::{
    bindings::http::types::{ErrorCode, Scheme},
    body::HyperOutgoingBody,
};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The client's address, whatever it says of itself.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HERE: HeaderName = HeaderName::from_static("godwit-here");
/// Of a request's headers, those that do not count as its own.
const HEADERS_OURS: u64 = 1;
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
/// What is over now mostly fits a second later: a queue's wait is that long.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");
const ANY_HOST: &str = "*";

pub struct Load {
    pub id: String,
    pub hosts: Vec<String>,
    /// Name of its code's cache entry.
    pub code: String,
    pub limits: Limits,
    pub concurrency: u32,
    /// Of the memory that all instances share, the most that one may have.
    pub instance_memory_bytes_max: u64,
    /// Share of the CPU among those that want more than there is.
    pub cpu_weight: u32,
    /// One instance serves many requests.
    pub reuse: bool,
    pub outgoing: Vec<OutgoingPlace>,
    pub environment: Vec<(String, String)>,
    /// How long its trial may take; none for what a runner before this one has tried.
    pub trial: Option<Duration>,
}

pub struct Deployment {
    id: Arc<str>,
    pub(crate) tenant: u64,
    hosts: Vec<String>,
    /// Names its component's code.
    code: String,
    /// Its component while that is mapped.
    resident: Mutex<Weak<Resident>>,
    pub(crate) limits: Limits,
    /// What the gate, which it may share with what was loaded before it, gets when this is published.
    pub(crate) room: Room,
    pub cpu_weight: u32,
    pub reuse: bool,
    pub(crate) trial: Option<Duration>,
    pub(crate) environment: Arc<[(String, String)]>,
    pub(crate) way: Option<Arc<Way>>,
    pub shelf: Shelf,
    pub gate: Arc<Gate>,
    pub account: Arc<Account>,
    pub log: Arc<Log>,
}

#[derive(Debug)]
pub struct LoadError(pub &'static str, pub String);

pub struct Plane {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
    pub(crate) stacks: Stacks,
    pub residents: Residents,
    pub tasks: Tasks,
    hosts: RwLock<HashMap<String, Arc<Deployment>>>,
    deployments: Mutex<HashMap<String, Arc<Deployment>>>,
    /// Hosts of deployments that have a runner of their own behind this one.
    hops: RwLock<HashMap<String, Arc<Hop>>>,
    has_hops: AtomicBool,
    /// Hosts that other machines serve, and those machines.
    pub elsewhere: Arc<Elsewhere>,
    pub peers: Peers,
    /// With requests' bodies, once the ingress has begun.
    pub patience: OnceLock<Patience>,
    sink: Arc<dyn Sink>,
    dialler: Option<Arc<dyn Dialler>>,
    trust: Mutex<Option<Arc<ClientConfig>>>,
    tenants: AtomicU64,
    request_ids: AtomicU64,
}

/// What this machine has for a host: in this process, or in a runner behind it, under its name there.
pub(crate) enum Local {
    Shared(Arc<Deployment>),
    Own(Arc<Hop>, String),
}

impl Local {
    /// Requests that are under way or wait.
    pub fn load(&self) -> usize {
        match self {
            Local::Shared(deployment) => {
                let (running, waiting) = deployment.gate.load();
                running as usize + waiting
            }
            Local::Own(hop, _) => hop.under_way(),
        }
    }
}

/// One request while it runs.
pub struct Call {
    pub deployment: Arc<Deployment>,
    tap: Arc<Tap>,
    time: Arc<CallTime>,
    is_head: bool,
    patience: Patience,
    cause: Mutex<Option<Cause>>,
}

impl Call {
    /// The first cause is the one that counts; it goes to the tenant's log with its code.
    pub fn fail(&self, cause: Cause) {
        self.fail_with(cause, "");
    }
    fn fail_with(&self, cause: Cause, detail: &str) {
        let mut first = self.cause.lock().unwrap();
        if first.is_some() {
            return;
        }
        *first = Some(cause);
        drop(first);
        self.deployment.account.errors.fetch_add(1, Relaxed);
        self.tap.finish();
        let space = if detail.is_empty() { "" } else { ": " };
        self.tap.system(&format!("{}{space}{detail}", cause.code()));
    }
    pub fn cause(&self) -> Option<Cause> {
        *self.cause.lock().unwrap()
    }
}

impl Plane {
    /// Without a dialler no request gets out.
    pub fn new(sink: Arc<dyn Sink>, dialler: Option<Arc<dyn Dialler>>) -> Result<Arc<Plane>> {
        let engine = engine::pooling()?;
        let linker = linker(&engine)?;
        let stacks = Stacks::find(&engine, engine::SLOTS as usize)?;
        let mut seed = [0u8; 8];
        // SAFETY: `seed` is valid for writes of its length.
        unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
        Ok(Arc::new(Plane {
            engine,
            linker,
            stacks,
            residents: Residents::default(),
            tasks: Tasks::default(),
            hosts: RwLock::default(),
            deployments: Mutex::default(),
            hops: RwLock::default(),
            has_hops: AtomicBool::new(false),
            elsewhere: Arc::new(Elsewhere::new()),
            peers: Peers::new(dialler.clone()),
            patience: OnceLock::new(),
            sink,
            dialler,
            trust: Mutex::default(),
            tenants: AtomicU64::new(0),
            request_ids: AtomicU64::new(u64::from_le_bytes(seed)),
        }))
    }

    /// Certificates that outgoing requests trust beside the public ones, for what is loaded from now on: for tests.
    pub fn trust_also(&self, roots: Vec<Vec<u8>>) -> Result<()> {
        *self.trust.lock().unwrap() = Some(trust(roots)?);
        Ok(())
    }

    fn way(&self, id: &str, places: &Arc<[OutgoingPlace]>, limits: &Limits) -> Result<Option<Arc<Way>>> {
        let Some(dialler) = self.dialler.clone().filter(|_| !places.is_empty()) else { return Ok(None) };
        let mut trusted = self.trust.lock().unwrap();
        let trusted = match &*trusted {
            Some(trusted) => trusted.clone(),
            None => trusted.insert(trust(vec![])?).clone(),
        };
        Ok(Some(Way::new(id, places.clone(), dialler, trusted, limits)))
    }

    /// Everything but its routes, which `publish` gives it when the trial went well.
    pub fn prepare(&self, load: Load) -> Result<Deployment, LoadError> {
        let failed = |error: Error| LoadError("load_failed", format!("{error:#}"));
        // What was tried before may stay a name until it is asked.
        let resident = load.trial.is_some().then(|| self.residents.load(&self.engine, &self.linker, &load.code)).transpose()?;
        let memory_bytes_min = resident.as_ref().map_or(0, |resident| resident.memory_bytes_min);

        let Load { id, hosts, code, limits, concurrency, instance_memory_bytes_max, cpu_weight, reuse, outgoing, environment, trial } = load;
        let outgoing: Arc<[OutgoingPlace]> = outgoing.into();
        let way = self.way(&id, &outgoing, &limits).map_err(failed)?;
        let before = self.deployments.lock().unwrap().get(&id).cloned();
        let id: Arc<str> = id.into();
        let account = before.as_ref().map_or_else(Arc::default, |before| before.account.clone());
        let log = Log::new(id.clone(), account.clone(), self.sink.clone(), limits.log_bytes_per_second_max);
        let queue_wait = Duration::from_millis(limits.queue_wait_ms_max);
        let room = Room {
            concurrency,
            memory_bytes_max: limits.memory_bytes_max,
            instance_bytes_max: instance_memory_bytes_max.min(limits.memory_bytes_max),
            memory_bytes_min: memory_bytes_min + HOST_BYTES_MIN,
            queue_length_max: limits.queue_length_max as usize,
            queue_wait,
        };
        let gate = before.as_ref().map_or_else(|| Gate::new(room.clone()), |before| before.gate.clone());
        let tenant = before.as_ref().map_or_else(|| self.tenants.fetch_add(1, Relaxed), |before| before.tenant);
        let (environment, shelf) = (environment.into(), Shelf::default());
        let resident = Mutex::new(resident.as_ref().map_or_else(Weak::new, Arc::downgrade));
        Ok(Deployment { id, tenant, hosts, code, resident, limits, room, cpu_weight, reuse, trial, environment, way, shelf, gate, account, log })
    }

    pub fn publish(&self, deployment: Arc<Deployment>) -> Result<(), LoadError> {
        let mut deployments = self.deployments.lock().unwrap();
        let mut hosts = self.hosts.write().unwrap();
        for host in &deployment.hosts {
            let hop = self.hops.read().unwrap().get(host).is_some_and(|other| *other.id != *deployment.id);
            if hop || hosts.get(host).is_some_and(|other| other.id != deployment.id) {
                return Err(LoadError("host_in_use", format!("Host {host} belongs to another deployment")));
            }
        }
        deployment.gate.resize(deployment.room.clone());
        let before = deployments.insert(deployment.id.to_string(), deployment.clone());
        for host in before.iter().flat_map(|before| &before.hosts) {
            hosts.remove(host);
        }
        for host in &deployment.hosts {
            hosts.insert(host.clone(), deployment.clone());
        }
        self.remove_hop(&deployment.id);
        drop(hosts);
        self.elsewhere.changed();
        Ok(())
    }

    /// Requests for these hosts go to the deployment's own runner from now on.
    pub fn hop(&self, id: String, hosts: Vec<String>, requests_max: u32) -> Result<(), LoadError> {
        let Some(dialler) = self.dialler.clone() else { return Err(LoadError("load_failed", "Nobody dials for this runner".into())) };
        let taken = |host: &String| {
            self.hosts.read().unwrap().get(host).is_some_and(|other| *other.id != *id)
                || self.hops.read().unwrap().get(host).is_some_and(|other| other.id != id)
        };
        if let Some(host) = hosts.iter().find(|host| taken(host)) {
            return Err(LoadError("host_in_use", format!("Host {host} belongs to another deployment")));
        }
        let hop = Arc::new(Hop::new(id.clone(), requests_max, dialler));
        {
            // At once: between the two no request would find it.
            let mut hops = self.hops.write().unwrap();
            hops.retain(|_, other| other.id != id);
            hops.extend(hosts.into_iter().map(|host| (host, hop.clone())));
            self.has_hops.store(!hops.is_empty(), Relaxed);
        }
        self.unload_here(&id);
        self.elsewhere.changed();
        Ok(())
    }

    fn remove_hop(&self, id: &str) {
        let mut hops = self.hops.write().unwrap();
        hops.retain(|_, hop| hop.id != id);
        self.has_hops.store(!hops.is_empty(), Relaxed);
    }

    /// Connections that were kept and that nobody will use again.
    pub(crate) fn forget_idle(&self) {
        self.peers.forget_idle();
        let hops: Vec<Arc<Hop>> = self.hops.read().unwrap().values().cloned().collect();
        for hop in hops {
            hop.forget_idle();
        }
    }

    fn hop_of(&self, request: &Request<Incoming>) -> Option<(Arc<Hop>, String)> {
        if !self.has_hops.load(Relaxed) {
            return None;
        }
        let host = host_of(request)?;
        self.hops.read().unwrap().get(&host).cloned().map(|hop| (hop, host))
    }

    pub fn unload(&self, id: &str) {
        self.remove_hop(id);
        self.unload_here(id);
    }

    fn unload_here(&self, id: &str) {
        let Some(deployment) = self.deployments.lock().unwrap().remove(id) else { return };
        let mut hosts = self.hosts.write().unwrap();
        for host in &deployment.hosts {
            hosts.remove(host);
        }
    }

    pub fn deployments(&self) -> Vec<(String, Arc<Deployment>)> {
        self.deployments.lock().unwrap().iter().map(|(id, deployment)| (id.clone(), deployment.clone())).collect()
    }

    fn route(&self, host: &str) -> Option<Arc<Deployment>> {
        let hosts = self.hosts.read().unwrap();
        hosts.get(host).or_else(|| hosts.get(ANY_HOST)).cloned()
    }

    /// splitmix64 of a counter with a random start: unique in a runner, without a system call.
    pub(crate) fn request_id(&self) -> String {
        let mut x = self.request_ids.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        format!("{:016x}", x ^ (x >> 31))
    }

    /// As it was told before it came here; it is a label, and no secret.
    pub(crate) fn told_request_id(&self, request: &Request<Incoming>) -> String {
        let told = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| is_request_id(id));
        told.map_or_else(|| self.request_id(), String::from)
    }

    /// `client`: where the request comes from; none when the headers say so already.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        batch: &Arc<Batch>,
        mut request: Request<Incoming>,
        client: Option<&Client>,
    ) -> Result<Response<Answer>, Infallible> {
        let request_id = match client {
            Some(client) => {
                request.headers_mut().insert(FORWARDED_FOR, client.address.clone());
                self.request_id()
            }
            // The client has it from the ingress before this one.
            None => self.told_request_id(&request),
        };
        // Whoever looks after this machine asks its own replicas.
        let is_meant_here = || client.is_some_and(|client| client.is_own) && request.headers().contains_key(HERE);
        if self.elsewhere.diverts() && !is_meant_here() {
            if let Some(host) = host_of(&request).filter(|host| self.elsewhere.is_diverted(host)) {
                return Ok(match self.pass_on(batch, host, request, &request_id).await {
                    Ok(response) if response.headers().contains_key(REQUEST_ID) => response,
                    Ok(response) => identified(response, request_id),
                    Err(cause) => identified(problem(cause, &request_id), request_id),
                });
            }
        }
        if let Some((hop, host)) = self.hop_of(&request) {
            // In a box, as with `pass_on`.
            let forwarded = Box::pin(hop.forward(&host, request.map(Given::Fresh), &request_id));
            return Ok(match forwarded.await {
                Ok(response) => response.map(|body| Answer::Passed(Box::new(body))),
                Err(cause) => identified(problem(cause, &request_id), request_id),
            });
        }
        // Who is behind the shared ingress is told by that which revision is meant.
        let meant = if client.is_none() { request.headers_mut().remove(HOP_TO) } else { None };
        let response = match self.serve(batch, request, meant, &request_id).await {
            Ok(response) => response,
            Err(cause) => problem(cause, &request_id),
        };
        Ok(identified(response, request_id))
    }

    async fn serve(
        self: &Arc<Self>,
        batch: &Arc<Batch>,
        request: Request<Incoming>,
        meant: Option<HeaderValue>,
        request_id: &str,
    ) -> Result<Response<Answer>, Cause> {
        // There is nothing behind us that a tunnel could lead to, and nobody to whom a request may be shown as it came.
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(Cause::MethodRefused);
        }
        let host = host_of(&request).ok_or(Cause::HostMissing)?;
        let of_revision = meant.and_then(|meant| self.hosts.read().unwrap().get(meant.to_str().ok()?).cloned());
        match of_revision.or_else(|| self.route(&host)) {
            Some(deployment) => self.serve_by(batch, deployment, request.map(Given::Fresh), request_id).await,
            None => self.pass_on(batch, host, request, request_id).await,
        }
    }

    /// In a box: it has much to remember, and what is answered here is not to carry that.
    fn pass_on(
        self: &Arc<Self>,
        batch: &Arc<Batch>,
        host: String,
        request: Request<Incoming>,
        request_id: &str,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Answer>, Cause>> + Send>> {
        Box::pin(self.clone().pass(batch.clone(), host, request, request_id.into()))
    }

    /// By the name of a revision, if there is one of that name.
    pub(crate) fn local(&self, to: Option<&str>, host: &str) -> Option<Local> {
        let hosts = self.hosts.read().unwrap();
        let hops = self.hops.read().unwrap();
        to.into_iter().chain([host]).find_map(|name| {
            let shared = hosts.get(name).cloned().map(Local::Shared);
            shared.or_else(|| hops.get(name).cloned().map(|hop| Local::Own(hop, name.into())))
        })
    }

    pub(crate) async fn serve_local(
        self: &Arc<Self>,
        batch: &Arc<Batch>,
        local: Local,
        request: Request<Given>,
        request_id: &str,
    ) -> Result<Response<Answer>, Cause> {
        match local {
            Local::Shared(deployment) => self.serve_by(batch, deployment, request, request_id).await,
            Local::Own(hop, name) => hop.forward(&name, request, request_id).await.map(|response| response.map(|body| Answer::Passed(Box::new(body)))),
        }
    }

    async fn serve_by(
        self: &Arc<Self>,
        batch: &Arc<Batch>,
        deployment: Arc<Deployment>,
        mut request: Request<Given>,
        request_id: &str,
    ) -> Result<Response<Answer>, Cause> {
        deployment.account.requests.fetch_add(1, Relaxed);
        let tap = Tap::new(deployment.log.clone(), request_id.to_string());
        let time = Arc::new(CallTime::new(deployment.limits.cpu_time_ms_max));
        let call = Arc::new(Call { deployment, tap, time, is_head: request.method() == Method::HEAD, patience: self.patience.get().copied().unwrap_or_default(), cause: Mutex::new(None) });
        let limits = &call.deployment.limits;

        let header_bytes = request.uri().path_and_query().map_or(0, |path| path.as_str().len())
            + request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
        if header_bytes as u64 > limits.header_bytes_max || request.headers().len() as u64 > limits.header_count_max + HEADERS_OURS {
            return Err(refuse(&call, Cause::HeaderTooLarge));
        }
        if request.body().size_hint().lower() > limits.request_body_bytes_max {
            return Err(refuse(&call, Cause::BodyTooLarge));
        }
        leave_at_hop(request.headers_mut());
        if let Ok(value) = HeaderValue::from_str(request_id) {
            request.headers_mut().insert(REQUEST_ID, value);
        }
        let instance = self.instance(&call).await?;
        let (sender, receiver) = oneshot::channel();
        start(batch, call.clone(), boxed(call, instance, request, sender), receiver).await
    }

    /// One that waits for a request, or the makings of a fresh one.
    async fn instance(self: &Arc<Self>, call: &Call) -> Result<Instance, Cause> {
        let deployment = &call.deployment;
        if let Some(instance) = deployment.shelf.take() {
            instance.outlet.as_ref().inspect(|outlet| outlet.aim(call.tap.clone()));
            return Ok(instance);
        }
        let pass = match deployment.gate.enter().await {
            Ok(pass) => pass,
            Err(Refused::QueueFull) => return Err(refuse(call, Cause::QueueFull)),
            Err(Refused::WaitedTooLong) => return Err(refuse(call, Cause::WaitedTooLong)),
        };
        let resident = self.resident(deployment).await.map_err(|error| self.lose(call, &error))?;
        let outlet = deployment.reuse.then(|| Outlet::new(call.tap.clone()));
        let guest = deployment.guest(self, resident.frames, &call.tap, outlet.clone(), pass).map_err(|_| Cause::Overloaded)?;
        Ok(Instance { guest, resident, proxy: None, outlet })
    }

    /// Its component, mapped again if it is not: a third of a millisecond for a small one, so never on this thread.
    pub(crate) async fn resident(self: &Arc<Self>, deployment: &Arc<Deployment>) -> Result<Arc<Resident>, LoadError> {
        let known = deployment.resident.lock().unwrap().upgrade();
        if let Some(resident) = known {
            self.residents.touch(&resident);
            return Ok(resident);
        }
        let (plane, deployment) = (self.clone(), deployment.clone());
        let mapped = tokio::task::spawn_blocking(move || {
            let resident = plane.residents.get(&plane.engine, &plane.linker, &deployment.code)?;
            deployment.gate.begin_with(resident.memory_bytes_min + HOST_BYTES_MIN);
            *deployment.resident.lock().unwrap() = Arc::downgrade(&resident);
            Ok(resident)
        });
        mapped.await.unwrap_or_else(|error| Err(LoadError("load_failed", error.to_string())))
    }

    /// Its code is not there any more, or not what it was: the agent is told, which compiles it again.
    fn lose(&self, call: &Call, error: &LoadError) -> Cause {
        let deployment = &call.deployment;
        let is_present = self.deployments.lock().unwrap().get(&*deployment.id).is_some_and(|present| Arc::ptr_eq(present, deployment));
        if is_present {
            self.unload(&deployment.id);
            self.sink.lost(&deployment.id, error);
        }
        refuse(call, Cause::Overloaded)
    }
}

impl Deployment {
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn party(&self, time: Arc<CallTime>) -> Party {
        Party { tenant: self.tenant, weight: self.cpu_weight, account: self.account.clone(), time }
    }

    pub(crate) fn guest(&self, plane: &Plane, frames: Frames, tap: &Arc<Tap>, outlet: Option<Arc<Outlet>>, pass: Pass) -> Result<Guest> {
        let (environment, tap) = (self.environment.clone(), tap.clone());
        let wasi = move || {
            let outlet = outlet.unwrap_or_else(|| Outlet::new(tap));
            WasiCtx::builder()
                .max_random_size(RANDOM_BYTES_MAX)
                .stdout(TapStream(outlet.clone(), Stream::Stdout))
                .stderr(TapStream(outlet, Stream::Stderr))
                .envs(&environment)
                .build()
        };
        Guest::new(&plane.engine, &self.limits, self.account.clone(), pass, wasi, Outgoing(self.way.clone()), (plane.stacks, frames))
    }
}

type Sender = oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>;
type Receiver = oneshot::Receiver<Result<Response<HyperOutgoingBody>, ErrorCode>>;

/// Not where it is waited for, which would keep the room of it, 4 KiB, beside the box.
#[inline(never)]
fn boxed(call: Arc<Call>, instance: Instance, request: Request<Given>, sender: Sender) -> Work {
    Box::pin(run(call, instance, request, sender))
}

/// The guest's whole life. Every way out of it says so in `call` before the answer's channel closes.
async fn run(call: Arc<Call>, mut instance: Instance, request: Request<Given>, sender: Sender) {
    let limits = &call.deployment.limits;
    let wall_time = Duration::from_millis(limits.wall_time_ms_max);
    let result = tokio::time::timeout(wall_time, call.time.within(handle(&call, &mut instance, request, sender))).await;
    call.tap.finish();
    match result {
        Ok(Some(Ok(()))) if call.deployment.reuse => call.deployment.shelf.put(instance),
        Ok(Some(Ok(()))) => {}
        Ok(None) => call.fail_with(Cause::CpuTimeLimit, &format!("more than {} ms of CPU time", limits.cpu_time_ms_max)),
        Ok(Some(Err(error))) => {
            wipe::signal_stack();
            let cause = Cause::of(&error, instance.guest.store.data().meter.refused);
            call.fail_with(cause, &format!("{error:?}"));
        }
        Err(_) => call.fail_with(Cause::WallTimeLimit, &format!("still running after {} ms", limits.wall_time_ms_max)),
    }
}

async fn handle(call: &Arc<Call>, instance: &mut Instance, request: Request<Given>, sender: Sender) -> Result<()> {
    use wasmtime_wasi_http::WasiHttpView;
    let limits = &call.deployment.limits;
    let store = &mut instance.guest.store;
    let request = if request.body().is_end_stream() {
        let request = request.map(|body| body.map_err(wasmtime_wasi_http::Error::Hyper));
        store.data_mut().http().new_incoming_request(Scheme::Http, request)?
    } else {
        let request = request.map(|body| Counted::new(body, limits.request_body_bytes_max, call.patience, call.clone()));
        store.data_mut().http().new_incoming_request(Scheme::Http, request)?
    };
    let out = store.data_mut().http().new_response_outparam(sender)?;
    let proxy = match instance.proxy.take() {
        Some(proxy) => proxy,
        None => instance.resident.pre.instantiate_async(&mut *store).await?,
    };
    let result = proxy.wasi_http_incoming_handler().call_handle(store, request, out).await;
    instance.proxy = Some(proxy);
    result
}

/// The first slice runs right here; most guests need no other.
async fn start(
    batch: &Arc<Batch>,
    call: Arc<Call>,
    mut work: Work,
    mut receiver: Receiver,
) -> Result<Response<Answer>, Cause> {
    let begun = Instant::now();
    let polled = poll_once(&mut work);
    let spent_ns = spent_ns(begun);
    call.deployment.account.spent_inline(spent_ns);
    call.time.spend(spent_ns.min(SHORT_UNSURE_NS));
    let (handle, result) = match polled {
        Poll::Ready(()) => (None, receiver.try_recv().ok()),
        Poll::Pending => {
            let handle = batch.spawn(call.deployment.party(call.time.clone()), work);
            (Some(handle), receiver.await.ok())
        }
    };
    respond(call, handle, result)
}

fn respond(
    call: Arc<Call>,
    handle: Option<Handle>,
    result: Option<Result<Response<HyperOutgoingBody>, ErrorCode>>,
) -> Result<Response<Answer>, Cause> {
    // A body that went over its limit, did not come, or broke off, is the client's fault, whatever the guest made of it.
    if let Some(cause @ (Cause::BodyTooLarge | Cause::BodyMalformed | Cause::BodyTooSlow)) = call.cause() {
        return Err(cause);
    }
    match result {
        Some(Ok(response)) => {
            let (mut parts, body) = response.into_parts();
            let header_bytes = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() as u64;
            let limits = &call.deployment.limits;
            if header_bytes > limits.header_bytes_max || parts.headers.len() as u64 > limits.header_count_max {
                call.fail_with(Cause::AnswerTooLarge, &format!("{} headers of {header_bytes} bytes", parts.headers.len()));
                return Err(Cause::AnswerTooLarge);
            }
            keep_to_host(&mut parts.headers);
            if !(200..600).contains(&parts.status.as_u16()) {
                call.fail_with(Cause::GuestError, &format!("{} is no status of an answer", parts.status.as_u16()));
                return Err(Cause::GuestError);
            }
            let bytes_max = call.deployment.limits.response_body_bytes_max;
            let answer = Answer::gather(body, handle, call.clone(), bytes_max).map_err(|cause| refuse(&call, cause))?;
            if call.is_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
                return Ok(without_body(parts, answer, call.is_head));
            }
            if !answer.is_as_announced(&parts.headers) {
                call.fail_with(Cause::GuestError, "the body is not as long as its content-length");
                return Err(Cause::GuestError);
            }
            Ok(Response::from_parts(parts, answer))
        }
        Some(Err(error)) => {
            call.fail_with(Cause::GuestError, &format!("{error:?}"));
            Err(Cause::GuestError)
        }
        None => Err(call.cause().unwrap_or_else(|| refuse(&call, Cause::NoAnswer))),
    }
}

/// HTTP/1 would leave it out by itself, HTTP/2 would send it. What a GET would have had in length, a HEAD says.
fn without_body(mut parts: hyper::http::response::Parts, answer: Answer, is_head: bool) -> Response<Answer> {
    if !is_head {
        parts.headers.remove(CONTENT_LENGTH);
    } else if let (Answer::Whole(Some(bytes)), false) = (&answer, parts.headers.contains_key(CONTENT_LENGTH)) {
        parts.headers.insert(CONTENT_LENGTH, bytes.len().into());
    }
    Response::from_parts(parts, Answer::Whole(None))
}

fn refuse(call: &Call, cause: Cause) -> Cause {
    call.fail(cause);
    cause
}

fn is_request_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

pub(crate) fn identified(mut response: Response<Answer>, request_id: String) -> Response<Answer> {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(request_id)) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

pub(crate) fn problem(cause: Cause, request_id: &str) -> Response<Answer> {
    let status = cause.status();
    let code = cause.code();
    let body = format!("{{\"status\":{},\"code\":\"{code}\",\"requestId\":\"{request_id}\"}}\n", status.as_u16());
    let mut response = Response::new(Answer::Whole(Some(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PROBLEM);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    response
}
