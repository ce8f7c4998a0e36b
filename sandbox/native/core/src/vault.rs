//! The supervisor's side of compiled code: whoever executes code gets it as a sealed memory file that was checked after it was sealed.
//!
//! A runner asks by name over a socket that it inherits. It gets only what it was allowed, only with the hash that the supervisor
//! has signed, and what it gets nobody can change any more: not who writes to the cache, and not the runner. So a runner needs
//! no right to open, create or write any file. Served by a thread of its own: a first request waits for no JavaScript.
use crate::passing;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// A cache entry is a page of header, which cache.ts writes and checks, and the code.
pub const HEADER_BYTES: usize = 4096;
const CODE_BYTES_MAX: usize = 256 << 20;
const NAME_BYTES_MAX: usize = 256;
/// First byte of an answer; after REFUSED, the reason.
pub const GRANTED: u8 = 0;
pub const REFUSED: u8 = 1;

pub struct Vault {
    directory: PathBuf,
    /// Name of an entry → sha256 of its code in hex.
    allowed: Mutex<HashMap<String, String>>,
}

impl Vault {
    pub fn new(directory: PathBuf) -> Arc<Vault> {
        Arc::new(Vault { directory, allowed: Mutex::default() })
    }
    pub fn allow(&self, name: String, sha256: String) {
        self.allowed.lock().unwrap().insert(name, sha256);
    }
    pub fn forbid(&self, name: &str) {
        self.allowed.lock().unwrap().remove(name);
    }

    /// The end for one runner. The thread behind it ends when all copies of that end are closed.
    pub fn open(self: &Arc<Vault>) -> io::Result<OwnedFd> {
        let mut pair = [0; 2];
        // SAFETY: `pair` is valid for two descriptors, which are owned from the first moment.
        let (ours, theirs) = unsafe {
            check(libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, pair.as_mut_ptr()))?;
            (OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1]))
        };
        let vault = self.clone();
        std::thread::Builder::new().name("vault".into()).spawn(move || vault.serve(&ours))?;
        Ok(theirs)
    }

    fn serve(&self, socket: &OwnedFd) {
        let mut name = [0; NAME_BYTES_MAX];
        while let Ok((length, _)) = passing::receive(socket.as_fd(), &mut name) {
            if length == 0 {
                return;
            }
            let sent = match self.grant(&name[..length]) {
                Ok(code) => passing::send(socket.as_fd(), &[GRANTED], Some(code.as_fd())),
                Err(error) => passing::send(socket.as_fd(), &[&[REFUSED], error.to_string().as_bytes()].concat(), None),
            };
            if sent.is_err() {
                return;
            }
        }
    }

    fn grant(&self, name: &[u8]) -> io::Result<OwnedFd> {
        // A name that was allowed is one that we made: no path to anywhere else.
        let known = std::str::from_utf8(name).ok().and_then(|name| Some((name, self.allowed.lock().unwrap().get(name)?.clone())));
        let Some((name, sha256)) = known else { return Err(io::Error::other("it was not allowed")) };
        sealed(&self.directory.join(name), &sha256)
    }
}

/// Copied, sealed, and only then hashed: what was hashed is what is executed.
pub fn sealed(path: &Path, sha256: &str) -> io::Result<OwnedFd> {
    let file = File::open(path)?;
    let length = (file.metadata()?.len() as usize).checked_sub(HEADER_BYTES).filter(|length| (1..=CODE_BYTES_MAX).contains(length));
    let Some(length) = length else { return Err(io::Error::other("it has not the length of code")) };
    let memory = memory_file()?;
    let (mut from, mut left) = (HEADER_BYTES as libc::off_t, length);
    while left > 0 {
        // SAFETY: valid descriptors and a valid offset.
        let copied = unsafe { libc::sendfile(memory.as_raw_fd(), file.as_raw_fd(), &mut from, left) };
        match copied {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            copied if copied < 0 => return Err(io::Error::last_os_error()),
            copied => left -= copied as usize,
        }
    }
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: a valid descriptor.
    check(unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    if sha256_of(&memory, length)? != sha256 {
        return Err(io::Error::other("its code is not what was compiled"));
    }
    Ok(memory)
}

fn memory_file() -> io::Result<OwnedFd> {
    let create = |flags| {
        // SAFETY: a name that ends; the descriptor is owned from the first moment.
        unsafe { check(libc::memfd_create(c"godwit-code".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | flags)).map(|fd| OwnedFd::from_raw_fd(fd)) }
    };
    // Not to be exec'd, which kernels before 6.3 cannot say.
    create(libc::MFD_NOEXEC_SEAL).or_else(|_| create(0))
}

fn sha256_of(memory: &OwnedFd, length: usize) -> io::Result<String> {
    // SAFETY: the file is sealed, so nobody shortens or writes what is mapped.
    unsafe {
        let start = libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_POPULATE, memory.as_raw_fd(), 0);
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let digest = Sha256::digest(std::slice::from_raw_parts(start.cast::<u8>(), length));
        libc::munmap(start, length);
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
