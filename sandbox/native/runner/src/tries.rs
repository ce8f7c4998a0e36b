//! The tries of `godwit_core::attack`, and those that only a runner can make: with compiled code.
use godwit_core::{
    attack::{Attempts, errno_of},
    code::Code,
};
use std::{os::fd::AsRawFd, ptr};

const PAGE_BYTES: usize = 4096;

/// `names`: entries of the vault by what is wrong with them ("good", "changed", "secret": one that was not allowed).
pub fn with_code(attempts: &mut Attempts, code: &Code, names: &[String]) {
    for pair in names {
        let Some((what, name)) = pair.split_once('=') else { continue };
        let fetched = code.fetch(name);
        let expected = if what == "good" { 0 } else { libc::EIO };
        attempts.add(&format!("ask for {what} code"), expected, if fetched.is_ok() { 0 } else { libc::EIO });
        let Ok(file) = fetched else { continue };
        let file = file.as_raw_fd();
        // SAFETY: a descriptor of our own; each call is expected to fail, and the one that does not maps a page of its own.
        unsafe {
            attempts.add("write to sealed code", libc::EPERM, errno_of(libc::write(file, c"x".as_ptr().cast(), 1) as i64));
            let shared = libc::mmap(ptr::null_mut(), PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file, 0);
            attempts.add("map sealed code for writing", libc::EPERM, errno_of(if shared == libc::MAP_FAILED { -1 } else { 0 }));
            attempts.add("shorten sealed code", libc::EPERM, errno_of(libc::ftruncate(file, 0).into()));
            attempts.add("take the seals off", libc::EPERM, errno_of(libc::fcntl(file, libc::F_ADD_SEALS, 0).into()));
            let own = libc::mmap(ptr::null_mut(), PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE, file, 0);
            if own != libc::MAP_FAILED {
                own.cast::<u8>().write(0xc3);
                let executable = libc::mprotect(own, PAGE_BYTES, libc::PROT_READ | libc::PROT_EXEC);
                attempts.add("execute a changed copy of sealed code", libc::EPERM, errno_of(executable.into()));
            }
        }
    }
}
