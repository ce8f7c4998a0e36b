//! The socket jobs of outgoing requests that Node has no call for: connect to an address that has been checked, and hand the
//! connected descriptor to another process.
use napi::bindgen_prelude::*;
use napi_derive::napi;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    sync::OnceLock,
    time::Duration,
};
use tokio::{net::TcpStream, runtime::Runtime};

#[napi(object)]
pub struct Dialled {
    /// -1, and a code, when it did not work.
    pub fd: i32,
    pub code: String,
}

/// One thread for all that is being dialled; the pool of libuv, which files and signatures need, has no part in it.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let make = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("dial").enable_io().enable_time().build();
    RUNTIME.get_or_init(make).as_ref().map_err(|error| Error::from_reason(error.to_string()))
}

/// `address` is an address, not a name: nothing is looked up.
#[napi(ts_return_type = "Promise<Dialled>")]
pub fn dial(env: &Env, address: String, port: u32, timeout_ms: u32) -> Result<Object<'_>> {
    let (deferred, promise) = env.create_deferred()?;
    runtime()?.spawn(async move {
        let dialled = match connect(&address, port, timeout_ms).await {
            Ok(descriptor) => Dialled { fd: descriptor.into_raw_fd(), code: String::new() },
            Err(error) => Dialled { fd: -1, code: code_of(&error).into() },
        };
        deferred.resolve(move |_| Ok(dialled));
    });
    Ok(promise)
}

async fn connect(address: &str, port: u32, timeout_ms: u32) -> io::Result<OwnedFd> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let address: IpAddr = address.parse().map_err(invalid)?;
    let port = u16::try_from(port).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let connecting = TcpStream::connect(SocketAddr::new(address, port));
    let stream = tokio::time::timeout(Duration::from_millis(timeout_ms.into()), connecting).await??;
    _ = stream.set_nodelay(true);
    Ok(stream.into_std()?.into())
}

fn code_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection_refused",
        io::ErrorKind::TimedOut => "connection_timeout",
        _ => "unreachable",
    }
}

/// Two ends of a unix socket of packets, both to be closed by whoever asked.
#[napi]
pub fn socket_pair() -> Result<Vec<i32>> {
    let mut ends: [RawFd; 2] = [-1; 2];
    // SAFETY: `ends` has room for two.
    if unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()) } < 0 {
        return Err(Error::from_reason(io::Error::last_os_error().to_string()));
    }
    Ok(ends.to_vec())
}

/// Sends `fd` with a number, without waiting, and closes it here in any case. False: the other side is gone, or does not read.
#[napi]
pub fn send_descriptor(socket: i32, fd: i32, call: f64) -> Result<bool> {
    if fd < 3 || socket < 3 {
        return Err(Error::from_reason("not a descriptor of ours"));
    }
    // SAFETY: sandbox/outgoing calls this once for a descriptor that `dial` gave it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut call = (call as u64).to_le_bytes();
    let mut control = [0u64; 8];
    let mut part = libc::iovec { iov_base: call.as_mut_ptr().cast(), iov_len: call.len() };
    // SAFETY: all zero is a valid msghdr; the control buffer has room for, and is aligned for, one header with one descriptor.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as usize;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(descriptor.as_raw_fd());
        libc::sendmsg(socket, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    Ok(sent == call.len() as isize)
}
