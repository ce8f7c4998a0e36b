//! A listening socket as a descriptor that can be inherited: what Node has no call for.
use napi::bindgen_prelude::*;
use napi_derive::napi;
use std::{
    io,
    mem::size_of_val,
    net::SocketAddr,
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd},
};

/// Connections that wait while a runner is being replaced.
const BACKLOG: i32 = 1024;

#[napi(object)]
pub struct Listening {
    /// -1, and a code, when it did not work.
    pub fd: i32,
    pub address: String,
    pub port: u32,
    pub code: String,
    pub message: String,
}

/// Neither call waits for anything.
#[napi]
pub fn listen(address: String, port: u32) -> Listening {
    match try_listen(&address, port) {
        Ok((fd, local)) => Listening {
            fd: fd.into_raw_fd(),
            address: local.ip().to_string(),
            port: local.port().into(),
            code: String::new(),
            message: String::new(),
        },
        Err(error) => {
            let code = match error.kind() {
                io::ErrorKind::AddrInUse => "port_in_use",
                io::ErrorKind::AddrNotAvailable | io::ErrorKind::InvalidInput => "address_unavailable",
                _ => "listen_failed",
            };
            Listening { fd: -1, address, port, code: code.into(), message: error.to_string() }
        }
    }
}

#[napi]
pub fn close_descriptor(fd: i32) -> Result<()> {
    if fd < 3 {
        return Err(Error::from_reason("not a descriptor of ours"));
    }
    // SAFETY: sandbox.ts calls this once for a descriptor that `listen` gave it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

fn try_listen(address: &str, port: u32) -> io::Result<(OwnedFd, SocketAddr)> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, "neither an IPv4 nor an IPv6 address");
    let port = u16::try_from(port).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no such port"))?;
    let address = SocketAddr::new(address.parse().map_err(invalid)?, port);
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: plain system calls with valid arguments; the descriptor is owned from the first moment.
    let socket = unsafe {
        let fd = check(libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0))?;
        OwnedFd::from_raw_fd(fd)
    };
    let yes: libc::c_int = 1;
    let (v4, v6) = (ipv4(&address), ipv6(&address));
    // SAFETY: as above.
    unsafe {
        check(libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_REUSEADDR,
            (&raw const yes).cast(),
            size_of_val(&yes) as u32,
        ))?;
        if address.is_ipv4() {
            check(libc::bind(socket.as_raw_fd(), (&raw const v4).cast(), size_of_val(&v4) as u32))?;
        } else {
            check(libc::bind(socket.as_raw_fd(), (&raw const v6).cast(), size_of_val(&v6) as u32))?;
        }
        check(libc::listen(socket.as_raw_fd(), BACKLOG))?;
    }
    let listener = std::net::TcpListener::from(socket);
    let local = listener.local_addr()?;
    Ok((listener.into(), local))
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn ipv4(address: &SocketAddr) -> libc::sockaddr_in {
    // SAFETY: all zeros is a valid sockaddr_in.
    let mut socket: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    if let SocketAddr::V4(address) = address {
        socket.sin_family = libc::AF_INET as u16;
        socket.sin_port = address.port().to_be();
        socket.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
    }
    socket
}

fn ipv6(address: &SocketAddr) -> libc::sockaddr_in6 {
    // SAFETY: all zeros is a valid sockaddr_in6.
    let mut socket: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    if let SocketAddr::V6(address) = address {
        socket.sin6_family = libc::AF_INET6 as u16;
        socket.sin6_port = address.port().to_be();
        socket.sin6_addr.s6_addr = address.ip().octets();
    }
    socket
}
