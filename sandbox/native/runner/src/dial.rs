//! The runner's side of sandbox/outgoing: asks the agent to dial, over the control socket, and takes the connected sockets from
//! descriptor 6, a unix socket of packets: the number of the call (u64, little endian) and with it one descriptor.
use crate::control::Lines;
use godwit_core::outgoing::{Destination, Dialler, NotDialled};
use serde_json::json;
use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::oneshot,
};

/// Of all deployments. The agent has a limit of its own.
const WAITING_MAX: usize = 1_024;

type Answer = oneshot::Sender<Result<OwnedFd, NotDialled>>;

pub struct AgentDialler {
    lines: Arc<Lines>,
    waiting: Mutex<HashMap<u64, Answer>>,
    calls: AtomicU64,
}

impl AgentDialler {
    pub fn new(lines: Arc<Lines>) -> Arc<AgentDialler> {
        Arc::new(AgentDialler { lines, waiting: Mutex::default(), calls: AtomicU64::new(1) })
    }

    pub fn refused(&self, call: u64, code: &str) {
        self.answer(call, Err(NotDialled::parse(code)));
    }

    fn answer(&self, call: u64, result: Result<OwnedFd, NotDialled>) {
        let waiting = self.waiting.lock().unwrap().remove(&call);
        // Of a guest that is gone: the descriptor is closed.
        _ = waiting.map(|waiting| waiting.send(result));
    }

    /// Takes what comes, until the agent is gone.
    pub async fn receive(self: Arc<AgentDialler>, socket: OwnedFd) {
        // SAFETY: the descriptor is open for as long as the socket owns it.
        let Ok(socket) = (unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }) else { return };
        while let Ok((call, descriptor)) = socket.async_io(Interest::READABLE, |socket| receive(socket.as_raw_fd())).await {
            if let Some(descriptor) = descriptor {
                self.answer(call, Ok(descriptor));
            }
        }
    }
}

impl Dialler for AgentDialler {
    fn dial(&self, deployment: &str, destination: &Destination) -> oneshot::Receiver<Result<OwnedFd, NotDialled>> {
        let (sender, receiver) = oneshot::channel();
        let call = self.calls.fetch_add(1, Relaxed);
        let mut waiting = self.waiting.lock().unwrap();
        if waiting.len() >= WAITING_MAX {
            waiting.retain(|_, waiting| !waiting.is_closed());
        }
        if waiting.len() >= WAITING_MAX {
            _ = sender.send(Err(NotDialled::TooMany));
            return receiver;
        }
        waiting.insert(call, sender);
        drop(waiting);
        let place = &destination.place;
        self.lines.ask(json!({
            "type": "dial", "call": call, "id": deployment, "scheme": place.scheme, "host": place.host, "port": place.port,
            "timeoutMs": destination.timeout.as_millis() as u64,
        }));
        receiver
    }
}

/// One packet. An end of the socket is an error: there is nothing more to come.
fn receive(socket: RawFd) -> io::Result<(u64, Option<OwnedFd>)> {
    const SPACE: usize = 64;
    let mut call = [0u8; 8];
    let mut control = [0u64; SPACE / 8];
    let mut part = libc::iovec { iov_base: call.as_mut_ptr().cast(), iov_len: call.len() };
    // SAFETY: all zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = SPACE;
    // SAFETY: `message` points to memory that lives until the call has returned.
    let length = unsafe { libc::recvmsg(socket, &raw mut message, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    if length as usize != call.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // SAFETY: the kernel has filled in `message`; a descriptor in it is ours from now on, and there is at most one.
    let descriptor = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let is_one = !header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS && (*header).cmsg_level == libc::SOL_SOCKET;
        is_one.then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()))
    };
    Ok((u64::from_le_bytes(call), descriptor))
}
