//! The runner's side of compiled code: ask the supervisor for it by name, map what it passes, never write what is executed.
//!
//! The code comes as a sealed memory file (`vault`). wasmtime maps it privately for reading, images of memories are mapped from it
//! as well, and the machine code in it is mapped once more, executable. Nothing is ever made executable by mprotect, and no
//! memory file is made here: seccomp refuses both, so no byte that was written in this process can become code of it.
use crate::{passing, plane::LoadError, stacks::Frames, vault};
use std::{
    cell::Cell,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    sync::{Arc, Mutex},
};
use wasmtime::{Config, CustomCodeMemory, Engine, Error, Result, component::Component};

const ANSWER_BYTES_MAX: usize = 1024;
const PAGE_BYTES: usize = 4096;
/// A supervisor that does not answer is gone, or about to end us.
const ANSWER_SECONDS_MAX: libc::time_t = 5;

pub struct Code {
    socket: Mutex<OwnedFd>,
    /// Where our own descriptors are files.
    descriptors: &'static str,
}

/// In what the pool says of a component with too many instances, memories or tables, or too large ones.
const POOL_REFUSAL: &str = "exceeds the configured maximum";

impl Code {
    pub fn new(socket: OwnedFd, descriptors: &'static str) -> io::Result<Code> {
        let timeout = libc::timeval { tv_sec: ANSWER_SECONDS_MAX, tv_usec: 0 };
        // SAFETY: a valid descriptor, and a timeval as SO_RCVTIMEO wants it.
        let set = unsafe {
            let size = size_of_val(&timeout) as libc::socklen_t;
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const timeout).cast(), size)
        };
        if set < 0 { Err(io::Error::last_os_error()) } else { Ok(Code { socket: Mutex::new(socket), descriptors }) }
    }

    /// Opened, checked and mapped: a third of a millisecond for 90 kB, most of it in the supervisor. Blocks meanwhile.
    /// `artefact_corrupt`: what is in the cache is not what was signed, or not for this engine; compile it again.
    pub fn component(&self, engine: &Engine, name: &str) -> std::result::Result<(Component, Frames), LoadError> {
        let corrupt = |why: String| LoadError("artefact_corrupt", format!("Cannot load {name}: {why}"));
        let file = self.fetch(name).map_err(|error| corrupt(error.to_string()))?;
        let text = text_of(&file).map_err(|error| corrupt(error.to_string()))?;
        let path = format!("{}/{}", self.descriptors, file.as_raw_fd());
        MAPPED.set(Some((file.as_raw_fd(), text)));
        // SAFETY: the supervisor passes only what our compiler made, sealed.
        let component = unsafe { Component::deserialize_file(engine, path) };
        MAPPED.set(None);
        let component = component.map_err(|error| {
            let why = format!("{error:#}");
            // It is of this engine, and asks for more than a slot of the pool has: compiled again it would be the same.
            if why.contains(POOL_REFUSAL) { LoadError("load_failed", why) } else { corrupt(why) }
        })?;
        let image = component.image_range();
        // SAFETY: mapped for as long as the component is; it is the file, to whose end `text` goes at most.
        let image = unsafe { std::slice::from_raw_parts(image.start, image.end as usize - image.start as usize) };
        let frames = image.get(text.0..).and_then(|rest| rest.get(..text.1)).map_or(Frames::Any, Frames::of);
        Ok((component, frames))
    }

    pub fn fetch(&self, name: &str) -> io::Result<OwnedFd> {
        let socket = self.socket.lock().unwrap();
        passing::send(socket.as_fd(), name.as_bytes(), None)?;
        let mut answer = [0; ANSWER_BYTES_MAX];
        match passing::receive(socket.as_fd(), &mut answer)? {
            (1, Some(file)) if answer[0] == vault::GRANTED => Ok(file),
            (length, _) if length > 1 => Err(io::Error::other(String::from_utf8_lossy(&answer[1..length]).into_owned())),
            _ => Err(io::Error::other("the supervisor does not answer")),
        }
    }
}

/// Of an ELF file: the section that is executed, as (offset, length).
type Text = (usize, usize);

thread_local! {
    /// What this thread is mapping, for `Mapper` to find.
    static MAPPED: Cell<Option<(RawFd, Text)>> = const { Cell::new(None) };
}

/// Maps code from its sealed file where wasmtime would make written memory executable.
struct Mapper;

impl CustomCodeMemory for Mapper {
    fn required_alignment(&self) -> usize {
        PAGE_BYTES
    }
    fn publish_executable(&self, start: *const u8, length: usize) -> Result<()> {
        let Some((file, (offset, text_length))) = MAPPED.get() else { return Err(Error::msg("code that is not of a sealed file")) };
        if length != text_length || offset % PAGE_BYTES != 0 {
            return Err(Error::msg("code is not where its file says"));
        }
        // SAFETY: wasmtime has mapped this part of the same file here, and nobody uses it yet.
        let mapped = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
            libc::mmap(start.cast_mut().cast(), length, libc::PROT_READ | libc::PROT_EXEC, flags, file, offset as libc::off_t)
        };
        if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error().into()) } else { Ok(()) }
    }
    /// It is unmapped next.
    fn unpublish_executable(&self, _: *const u8, _: usize) -> Result<()> {
        Ok(())
    }
}

pub fn map_only(config: &mut Config) {
    config.with_custom_code_memory(Some(Arc::new(Mapper)));
}

/// The only section that is executed (ELF-64, little endian).
fn text_of(file: &OwnedFd) -> io::Result<Text> {
    const HEADER: usize = 64;
    const SHF_EXECINSTR: u64 = 4;
    let mut header = [0; HEADER];
    read_at(file, &mut header, 0)?;
    let sections = u64_at(&header, 0x28);
    let count = u16::from_le_bytes([header[0x3c], header[0x3d]]);
    for index in 0..u64::from(count) {
        let mut section = [0; HEADER];
        read_at(file, &mut section, sections.saturating_add(index * HEADER as u64))?;
        if u64_at(&section, 8) & SHF_EXECINSTR != 0 {
            return Ok((u64_at(&section, 24) as usize, u64_at(&section, 32) as usize));
        }
    }
    Ok((0, 0))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default())
}

fn read_at(file: &OwnedFd, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    // SAFETY: `bytes` is valid for writes of its length.
    let count = unsafe { libc::pread(file.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), offset as libc::off_t) };
    match count {
        count if count < 0 => Err(io::Error::last_os_error()),
        count if count as usize == bytes.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
