//! Other machines, as the ingress knows them: by the keys under which their runners hop.
//!
//! A hop is HTTP/1.1 in TLS 1.3, in which both ends show a bare ed25519 key and take none but those in the table. Whose key that is,
//! and until when, the agent has found out (certificates are its business) before it put it there. A key that leaves the table takes
//! its connections along. Connections are dialled by the agent, kept and used again; requests of and to a peer are bounded, and so
//! are handshakes with whoever comes. What is refused is counted.
use crate::{
    hop::stream_of,
    kept::Kept,
    limits::OutgoingPlace,
    line::{Keeper, Line},
    outgoing::{Destination, Dialler, NotDialled},
    serve::key_of_client,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex, OnceLock, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector, client, server,
    rustls::{
        self, CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
        client::{AlwaysResolvesClientRawPublicKeys, Resumption, danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier}},
        crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key},
        pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
        server::{AlwaysResolvesServerRawPublicKeys, danger::{ClientCertVerified, ClientCertVerifier}},
        sign::CertifiedKey,
        version::TLS13,
    },
};

/// Requests that are under way to one peer at once, and connections that it has here: each is a socket and some 40 KiB.
const REQUESTS_MAX: usize = 256;
const CONNECTIONS_ACCEPTED_MAX: usize = 2 * REQUESTS_MAX;
/// Of addresses that nobody has proved a key from yet, and as many of those from which a peer did: a handshake costs a third of a
/// millisecond, and a place is taken until its time is over.
const HANDSHAKES_MAX: usize = 128;
/// Of one address: whoever connects and says nothing must not take all.
const HANDSHAKES_OF_CLIENT_MAX: usize = 16;
/// The addresses of one peer, the last ones. All of its handshakes are half of what there may be of peers.
const ADDRESSES_OF_PEER_MAX: usize = 4;
/// One that finds no place waits for so long.
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(1);
/// Of one handshake, from dialling to the last byte; a runner that is on its way up again needs a moment.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same where half of the places are taken: whoever is there answers within a few round trips.
const HANDSHAKE_TIMEOUT_CROWDED: Duration = Duration::from_secs(1);
/// A peer that could not be reached is left alone for so long, twice as long each time.
const REST_FIRST: Duration = Duration::from_millis(50);
const REST_MAX: Duration = Duration::from_secs(2);
/// Bytes that a peer does not acknowledge for so long: it is gone, whatever the ledger says.
const UNACKNOWLEDGED_MS_MAX: libc::c_uint = 3_000;
const WELCOME: [u8; 1] = *b"+";
const ALPN: &[u8] = b"godwit-hop/1";
/// RFC 8410: what stands before 32 bytes of an ed25519 key, public and private.
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PRIVATE_PREFIX: [u8; 16] = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

pub type Key = [u8; 32];

/// What became of hops, since the process began.
#[derive(Default)]
pub struct Counts {
    /// Answered by another machine.
    pub passed: AtomicU64,
    /// Answered here for another machine.
    pub served: AtomicU64,
    /// Sent again to another replica.
    pub again: AtomicU64,
    /// Waited for a replica.
    pub waited: AtomicU64,
    /// Broke off, and were not safe to send again.
    pub broken: AtomicU64,
    /// Of a peer without a key of the table.
    pub unknown_key: AtomicU64,
    /// No TLS, or no HTTP in it.
    pub malformed: AtomicU64,
    /// Did not get through its handshake in time.
    pub slow: AtomicU64,
    /// Came when there were as many as may be.
    pub too_many: AtomicU64,
    /// Dials that came to nothing.
    pub unreached: AtomicU64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    passed: u64,
    served: u64,
    again: u64,
    waited: u64,
    broken: u64,
    unknown_key: u64,
    malformed: u64,
    slow: u64,
    too_many: u64,
    unreached: u64,
}

impl Counts {
    pub fn now(&self) -> Counted {
        let Counts { passed, served, again, waited, broken, unknown_key, malformed, slow, too_many, unreached } = self;
        let [passed, served, again, waited, broken] = [passed, served, again, waited, broken].map(|count| count.load(Relaxed));
        let [unknown_key, malformed, slow, too_many, unreached] = [unknown_key, malformed, slow, too_many, unreached].map(|count| count.load(Relaxed));
        Counted { passed, served, again, waited, broken, unknown_key, malformed, slow, too_many, unreached }
    }
}

/// A machine by its id, and the key of its runner in hexadecimal.
#[derive(Deserialize)]
pub struct PeerKey {
    pub id: String,
    pub key: String,
}

pub struct Peers {
    dialler: Option<Arc<dyn Dialler>>,
    table: Arc<RwLock<Table>>,
    own: RwLock<Option<Own>>,
    /// Of strangers, and of those that a peer has come from.
    handshakes: [Semaphore; 2],
    /// Of each address that has some.
    handshakes_of: Mutex<HashMap<u64, Arc<Semaphore>>>,
    pub counts: Counts,
}

#[derive(Default, Debug)]
struct Table {
    by_id: HashMap<String, Arc<Peer>>,
    by_key: HashMap<Key, Arc<Peer>>,
    /// Where peers came from: the last of those behind one address.
    by_address: HashMap<u64, Arc<Peer>>,
}

/// This runner's own key.
struct Own {
    key: Arc<CertifiedKey>,
    acceptor: TlsAcceptor,
}

#[derive(Debug)]
pub struct Peer {
    pub id: String,
    key: Key,
    kept: Kept<Line>,
    places: Arc<Semaphore>,
    addresses: Mutex<VecDeque<u64>>,
    accepted: AtomicUsize,
    rest: Mutex<Rest>,
    /// Answers that began: while there are any, it is slow and not gone.
    answers: AtomicU64,
    gone: watch::Sender<bool>,
}

#[derive(Default, Debug)]
struct Rest {
    failures: u32,
    until: Option<Instant>,
}

impl Peers {
    pub fn new(dialler: Option<Arc<dyn Dialler>>) -> Peers {
        Peers { dialler, table: Arc::default(), own: RwLock::default(), handshakes: [const { HANDSHAKES_MAX }; 2].map(Semaphore::new), handshakes_of: Mutex::default(), counts: Counts::default() }
    }

    /// The key under which this runner hops, by its seed. Connections that there are go on.
    pub fn identify(&self, seed: &Key) -> Result<(), rustls::Error> {
        let pkcs8 = [&PRIVATE_PREFIX[..], &seed[..]].concat();
        let signer = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8))?;
        let public = signer.public_key().ok_or(rustls::Error::General("no public key".into()))?;
        let key = Arc::new(CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], signer));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(Known(self.table.clone())))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        *self.own.write().unwrap() = Some(Own { key, acceptor: TlsAcceptor::from(Arc::new(config)) });
        Ok(())
    }

    pub fn change(&self, set: Vec<PeerKey>, remove: &[String]) {
        let mut table = self.table.write().unwrap();
        for id in remove {
            table.remove(id);
        }
        for PeerKey { id, key } in set {
            let Some(key) = key_of_hex(&key) else { continue };
            // A key is one machine's.
            if table.by_key.contains_key(&key) {
                continue;
            }
            table.remove(&id);
            let peer = Arc::new(Peer::new(id.clone(), key));
            table.by_id.insert(id, peer.clone());
            table.by_key.insert(key, peer);
        }
    }

    /// Without a key of its own this machine has none.
    pub fn are_possible(&self) -> bool {
        self.own.read().unwrap().is_some()
    }

    pub fn get(&self, id: &str) -> Option<Arc<Peer>> {
        self.table.read().unwrap().by_id.get(id).cloned()
    }

    /// Connections that were kept and that nobody will use again.
    pub fn forget_idle(&self) {
        let peers: Vec<Arc<Peer>> = self.table.read().unwrap().by_id.values().cloned().collect();
        for peer in peers {
            peer.kept.forget_idle(Instant::now());
        }
    }

    /// Somebody who begins with TLS: a peer, once it has proved that; or nobody.
    pub async fn accept(&self, stream: TcpStream) -> Option<(server::TlsStream<TcpStream>, Arc<Peer>)> {
        let acceptor = self.own.read().unwrap().as_ref().map(|own| own.acceptor.clone());
        let address = key_of_client(stream.peer_addr().ok()?.ip());
        let is_met = self.table.read().unwrap().by_address.contains_key(&address);
        let (share, places) = (self.handshakes_of(address), &self.handshakes[usize::from(is_met)]);
        let permits = async { Some((share.semaphore.acquire().await.ok()?, places.acquire().await.ok()?)) };
        let (Some(acceptor), Ok(Some(_permits))) = (acceptor, timeout(HANDSHAKE_WAIT_MAX, permits).await) else {
            self.counts.too_many.fetch_add(1, Relaxed);
            return None;
        };
        let is_crowded = places.available_permits() < HANDSHAKES_MAX / 2;
        let time = if is_crowded { HANDSHAKE_TIMEOUT_CROWDED } else { HANDSHAKE_TIMEOUT };
        let refusal = match timeout(time, acceptor.accept(stream)).await {
            Ok(Ok(mut stream)) => {
                let key = stream.get_ref().1.peer_certificates().and_then(|shown| key_of(shown.first()?));
                let peer = key.and_then(|key| self.table.read().unwrap().by_key.get(&key).cloned());
                match peer {
                    Some(peer) if stream.get_ref().1.alpn_protocol() == Some(ALPN) => {
                        return match timeout(HANDSHAKE_TIMEOUT, welcome(&mut stream)).await {
                            Ok(Ok(())) => {
                                self.table.write().unwrap().meet(address, &peer);
                                Some((stream, peer))
                            }
                            _ => None,
                        };
                    }
                    // It has left the table meanwhile, or speaks something else.
                    _ => &self.counts.unknown_key,
                }
            }
            Ok(Err(error)) if is_unknown_key(&error) => &self.counts.unknown_key,
            Ok(Err(_)) => &self.counts.malformed,
            Err(_) => &self.counts.slow,
        };
        refusal.fetch_add(1, Relaxed);
        None
    }

    fn handshakes_of(&self, client: u64) -> Handshakes<'_> {
        let mut all = self.handshakes_of.lock().unwrap();
        let semaphore = all.entry(client).or_insert_with(|| Arc::new(Semaphore::new(HANDSHAKES_OF_CLIENT_MAX))).clone();
        Handshakes { peers: self, client, semaphore }
    }

    /// A connection that was kept, or a new one; and whether it was used before.
    pub async fn line(&self, peer: &Arc<Peer>) -> Option<(Line, bool)> {
        while let Some(mut line) = peer.kept.take(Instant::now()) {
            if line.is_usable().await {
                return Some((line, true));
            }
        }
        // It was chosen for what was kept, and that had ended.
        if peer.rests().is_some() {
            return None;
        }
        match timeout(HANDSHAKE_TIMEOUT, self.connect(peer)).await {
            Ok(Ok(line)) => {
                peer.answered();
                Some((line, false))
            }
            not_connected => {
                self.counts.unreached.fetch_add(1, Relaxed);
                // A limit of our own says nothing about it.
                if !matches!(not_connected, Ok(Err(Some(NotDialled::TooMany)))) {
                    peer.failed();
                }
                None
            }
        }
    }

    async fn connect(&self, peer: &Arc<Peer>) -> Result<Line, Option<NotDialled>> {
        let own = self.own.read().unwrap().as_ref().map(|own| own.key.clone()).ok_or(None)?;
        let place = OutgoingPlace { scheme: "peer".into(), host: peer.id.clone(), port: 0 };
        let destination = Destination { place, timeout: HANDSHAKE_TIMEOUT };
        let socket = self.dialler.as_ref().ok_or(None)?.dial("", &destination).await.map_err(|_| None)??;
        begin(peer, own, socket).await.ok_or(None)
    }
}

async fn begin(peer: &Arc<Peer>, own: Arc<CertifiedKey>, socket: OwnedFd) -> Option<Line> {
    let stream = stream_of(socket).ok()?;
    lose_the_silent(&stream);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Only(peer.key)))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(own)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    let name = ServerName::try_from("peer").ok()?;
    let mut stream: client::TlsStream<TcpStream> = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    let mut welcome = [0];
    stream.read_exact(&mut welcome).await.ok().filter(|_| welcome == WELCOME)?;
    Line::begin(stream, Some(peer.gone.subscribe())).await
}

impl Table {
    fn remove(&mut self, id: &str) {
        let Some(peer) = self.by_id.remove(id) else { return };
        self.by_key.remove(&peer.key);
        for address in peer.addresses.lock().unwrap().drain(..) {
            self.leave(address, &peer);
        }
        peer.kept.clear();
        _ = peer.gone.send_replace(true);
    }

    /// It has proved its key from there. One that has left the table meanwhile leaves no address in it.
    fn meet(&mut self, address: u64, peer: &Arc<Peer>) {
        let mut addresses = peer.addresses.lock().unwrap();
        if !addresses.contains(&address) {
            if addresses.len() >= ADDRESSES_OF_PEER_MAX && let Some(oldest) = addresses.pop_front() {
                self.leave(oldest, peer);
            }
            addresses.push_back(address);
        }
        if !*peer.gone.borrow() {
            self.by_address.insert(address, peer.clone());
        }
    }

    fn leave(&mut self, address: u64, peer: &Arc<Peer>) {
        if self.by_address.get(&address).is_some_and(|last| Arc::ptr_eq(last, peer)) {
            self.by_address.remove(&address);
        }
    }
}

impl Peer {
    fn new(id: String, key: Key) -> Peer {
        Peer {
            id,
            key,
            kept: Kept::default(),
            places: Arc::new(Semaphore::new(REQUESTS_MAX)),
            addresses: Mutex::default(),
            accepted: AtomicUsize::new(0),
            rest: Mutex::default(),
            answers: AtomicU64::new(0),
            gone: watch::channel(false).0,
        }
    }

    pub fn places(&self) -> &Arc<Semaphore> {
        &self.places
    }

    /// Requests of ours that are under way to it.
    pub fn under_way(&self) -> usize {
        REQUESTS_MAX - self.places.available_permits()
    }

    /// How much longer it is left alone.
    pub fn rests(&self) -> Option<Duration> {
        let until = self.rest.lock().unwrap().until?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Whether something is kept that may do without a dial.
    pub fn has_kept(&self) -> bool {
        self.kept.has(Instant::now())
    }

    pub fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    pub fn begins_answer(&self) {
        self.answers.fetch_add(1, Relaxed);
    }

    pub fn answered(&self) {
        *self.rest.lock().unwrap() = Rest::default();
    }

    fn failed(&self) {
        let mut rest = self.rest.lock().unwrap();
        let time = REST_FIRST.saturating_mul(1 << rest.failures.min(8)).min(REST_MAX);
        *rest = Rest { failures: rest.failures + 1, until: Some(Instant::now() + time) };
    }

    /// What it has of connections here is bounded; none: it has as many as it may.
    pub fn enter(self: &Arc<Peer>) -> Option<Entered> {
        let before = self.accepted.fetch_add(1, Relaxed);
        let entered = Entered(self.clone());
        (before < CONNECTIONS_ACCEPTED_MAX).then_some(entered)
    }

    /// Resolves when its key has left the table.
    pub async fn gone(&self) {
        _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }
}

impl Keeper for Peer {
    fn keep(&self, line: Line) {
        if !*self.gone.borrow() {
            self.kept.keep(line, Instant::now());
        }
    }
}

pub struct Entered(Arc<Peer>);
impl Drop for Entered {
    fn drop(&mut self) {
        self.0.accepted.fetch_sub(1, Relaxed);
    }
}

/// Of one client, as long as it has some under way or waiting.
struct Handshakes<'a> {
    peers: &'a Peers,
    client: u64,
    semaphore: Arc<Semaphore>,
}
impl Drop for Handshakes<'_> {
    fn drop(&mut self) {
        let mut all = self.peers.handshakes_of.lock().unwrap();
        // That of the table and this one.
        if Arc::strong_count(&self.semaphore) == 2 {
            all.remove(&self.client);
        }
    }
}

/// In TLS 1.3 a client is done before its key was looked at: it sends nothing before it is told that it may.
async fn welcome(stream: &mut server::TlsStream<TcpStream>) -> io::Result<()> {
    stream.write_all(&WELCOME).await?;
    stream.flush().await
}

/// Whoever acknowledges nothing is gone.
fn lose_the_silent(stream: &TcpStream) {
    let time = UNACKNOWLEDGED_MS_MAX;
    // SAFETY: a valid descriptor and a c_uint, as TCP_USER_TIMEOUT wants it.
    unsafe {
        let length = size_of_val(&time) as libc::socklen_t;
        libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, (&raw const time).cast(), length);
    }
}

// ---- Keys ------------------------------------------------------------------------------------------------------------

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(ring::default_provider())).clone()
}

fn key_of(shown: &CertificateDer) -> Option<Key> {
    shown.strip_prefix(&PUBLIC_PREFIX)?.try_into().ok()
}

pub fn key_of_hex(text: &str) -> Option<Key> {
    let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect::<Option<Vec<u8>>>()?;
    bytes.try_into().ok()
}

fn is_unknown_key(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented | rustls::Error::PeerIncompatible(_)))
}

fn refusal() -> rustls::Error {
    CertificateError::ApplicationVerificationFailure.into()
}

/// What both ends ask of a handshake's signature. rustls has a trait for each.
macro_rules! signed_with_a_bare_key {
    () => {
        fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(refusal())
        }
        fn verify_tls13_signature(&self, message: &[u8], shown: &CertificateDer, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &provider().signature_verification_algorithms;
            verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(shown.as_ref()), signed, algorithms)
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

/// Takes one key only: that of the peer which was dialled.
#[derive(Debug)]
struct Only(Key);

impl ServerCertVerifier for Only {
    fn verify_server_cert(&self, shown: &CertificateDer, _: &[CertificateDer], _: &ServerName, _: &[u8], _: UnixTime) -> Result<ServerCertVerified, rustls::Error> {
        if key_of(shown) == Some(self.0) { Ok(ServerCertVerified::assertion()) } else { Err(refusal()) }
    }
    signed_with_a_bare_key!();
}

/// Takes every key of the table.
#[derive(Debug)]
struct Known(Arc<RwLock<Table>>);

impl ClientCertVerifier for Known {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(&self, shown: &CertificateDer, _: &[CertificateDer], _: UnixTime) -> Result<ClientCertVerified, rustls::Error> {
        let is_known = key_of(shown).is_some_and(|key| self.0.read().unwrap().by_key.contains_key(&key));
        if is_known { Ok(ClientCertVerified::assertion()) } else { Err(refusal()) }
    }
    signed_with_a_bare_key!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outgoing::Destination;
    use std::net::{Ipv4Addr, SocketAddr};
    use tokio::{net::{TcpListener, TcpSocket}, sync::oneshot};

    const SERVER: Key = [1; 32];
    const CLIENT: Key = [2; 32];

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }
    fn public_of(seed: &Key) -> PeerKey {
        let signer = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from([&PRIVATE_PREFIX[..], &seed[..]].concat())).unwrap();
        let public = signer.public_key().unwrap();
        let key = public.as_ref().strip_prefix(&PUBLIC_PREFIX).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        PeerKey { id: format!("{}", seed[0]), key }
    }
    fn machine(seed: &Key, other: &Key, dialler: Option<Arc<dyn Dialler>>) -> Arc<Peers> {
        let peers = Peers::new(dialler);
        peers.identify(seed).unwrap();
        peers.change(vec![public_of(other)], &[]);
        Arc::new(peers)
    }

    /// From an address of loopback, or not at all.
    struct Dials {
        to: SocketAddr,
        from: Mutex<Ipv4Addr>,
        refusal: Mutex<Option<NotDialled>>,
    }
    impl Dialler for Dials {
        fn dial(&self, _: &str, _: &Destination) -> oneshot::Receiver<Result<OwnedFd, NotDialled>> {
            let (tell, told) = oneshot::channel();
            let (to, from, refusal) = (self.to, *self.from.lock().unwrap(), *self.refusal.lock().unwrap());
            tokio::spawn(async move {
                _ = tell.send(match refusal {
                    Some(refusal) => Err(refusal),
                    None => Ok(connect(from, to).await.into_std().unwrap().into()),
                });
            });
            told
        }
    }
    async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(to).await.unwrap()
    }

    /// A machine that takes hops, and one that knows it.
    async fn two() -> (Arc<Peers>, Arc<Peers>, Arc<Dials>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let server = machine(&SERVER, &CLIENT, None);
        tokio::spawn({
            let server = server.clone();
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let server = server.clone();
                    tokio::spawn(async move {
                        // Until its other end closes it.
                        if let Some((mut stream, _)) = server.accept(stream).await {
                            _ = stream.read_u8().await;
                        }
                    });
                }
            }
        });
        let dials = Arc::new(Dials { to, from: Mutex::new([127, 0, 0, 9].into()), refusal: Mutex::default() });
        (server, machine(&CLIENT, &SERVER, Some(dials.clone())), dials)
    }
    async fn until(condition: impl Fn() -> bool) {
        for _ in 0..3_000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not within 30 s");
    }

    #[test]
    fn silent_handshakes_of_many_addresses_leave_room_for_a_peer_that_was_here() {
        run(async {
            let (server, client, dials) = two().await;
            let back = client.get("1").unwrap();
            let first = client.line(&back).await.expect("a peer that nobody is in the way of");
            let mut silent = Vec::new();
            // One address has its share, and no more than that.
            for _ in 0..2 * HANDSHAKES_OF_CLIENT_MAX {
                silent.push(connect([127, 0, 1, 1].into(), dials.to).await);
            }
            let free = || server.handshakes[0].available_permits();
            until(|| free() == HANDSHAKES_MAX - HANDSHAKES_OF_CLIENT_MAX).await;
            // As if there were more such addresses.
            let others = server.handshakes[0].try_acquire_many(free() as u32).unwrap();
            assert!(client.line(&back).await.is_some(), "from where it was before");
            assert_eq!(server.counts.unknown_key.load(Relaxed), 0);
            drop(others);
            drop((first, silent));
        });
    }

    #[test]
    fn a_dial_that_limits_of_our_own_refuse_says_nothing_about_the_peer() {
        run(async {
            let (_server, client, dials) = two().await;
            let back = client.get("1").unwrap();
            *dials.refusal.lock().unwrap() = Some(NotDialled::TooMany);
            assert!(client.line(&back).await.is_none() && back.rests().is_none());
            *dials.refusal.lock().unwrap() = Some(NotDialled::Refused);
            assert!(client.line(&back).await.is_none() && back.rest.lock().unwrap().failures == 1);
            assert_eq!(client.counts.unreached.load(Relaxed), 2);
            // Longer than this computer may take for it.
            back.rest.lock().unwrap().until = Some(Instant::now() + Duration::from_secs(600));
            assert!(client.line(&back).await.is_none(), "it is left alone");
            assert_eq!(client.counts.unreached.load(Relaxed), 2);
        });
    }

    #[test]
    fn a_peer_that_rests_is_used_over_what_is_kept_and_is_well_when_it_answers_there() {
        run(async {
            let (_server, client, _dials) = two().await;
            let back = client.get("1").unwrap();
            let (line, is_kept) = client.line(&back).await.unwrap();
            assert!(!is_kept);
            back.keep(line);
            back.rest.lock().unwrap().until = Some(Instant::now() + Duration::from_secs(600));
            assert!(back.rests().is_some() && back.has_kept());
            let (line, is_kept) = client.line(&back).await.unwrap();
            assert!(is_kept);
            // Dropped, and not kept again: then there is nothing but the rest.
            drop(line);
            assert!(client.line(&back).await.is_none());
            back.answered();
            assert!(client.line(&back).await.is_some());
        });
    }

    #[test]
    fn a_key_that_leaves_the_table_takes_its_connections_and_its_addresses_along() {
        run(async {
            let (server, client, _dials) = two().await;
            let back = client.get("1").unwrap();
            let (mut line, _) = client.line(&back).await.unwrap();
            until(|| !server.table.read().unwrap().by_address.is_empty()).await;
            server.change(vec![], &["2".into()]);
            assert!(server.table.read().unwrap().by_address.is_empty());
            client.change(vec![], &["1".into()]);
            assert!(!line.is_usable().await && client.get("1").is_none());
            back.keep(line);
            assert!(!back.has_kept(), "nor is anything kept for it any more");
        });
    }

    #[test]
    fn a_peer_has_so_many_addresses_and_shares_one_with_the_last_that_came_from_there() {
        let mut table = Table::default();
        let [a, b] = [1, 2].map(|n| Arc::new(Peer::new(format!("{n}"), [n; 32])));
        for peer in [&a, &b] {
            table.by_id.insert(peer.id.clone(), peer.clone());
        }
        for address in 0..ADDRESSES_OF_PEER_MAX as u64 + 2 {
            table.meet(address, &a);
            table.meet(address, &a);
        }
        let mut known: Vec<u64> = table.by_address.keys().copied().collect();
        known.sort_unstable();
        assert_eq!(known, [2, 3, 4, 5]);
        table.meet(5, &b);
        table.remove("1");
        assert_eq!(table.by_address.keys().copied().collect::<Vec<_>>(), [5]);
        table.remove("2");
        table.meet(6, &b);
        assert!(table.by_address.is_empty(), "one that has left comes from nowhere");
    }
}
