//! Stacks that guests ran on: what a guest leaves on one is gone when it ends.
//!
//! wasmtime would overwrite the top of a stack and give back the rest of it, at each end: a system call that, with two threads in it at
//! once, interrupts every core. Few guests get below the top. So from the top downward pages are overwritten, until so many in a row
//! are zero that nothing lies deeper: a call leaves its return address, so no frame hides in zeros but one that is larger than they
//! are, and code with frames of a page or more has its whole stack given back (`Frames`).
//!
//! Invariants: a stack is written here only between the end of what ran on it and its return to the pool; outside of the pool's
//! stacks nothing is.
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    ops::Range,
    pin::pin,
    task::{Context, Poll, Waker},
};
use wasmtime::{Caller, Engine, Error, Func, Result, Store};

/// Of one stack, as `engine` asks for it: the most that frames of guests may have (512 KiB), those of the host below them, and room.
pub const STACK_BYTES: usize = 2 << 20;
const PAGE_BYTES: usize = 4096;
/// Below each stack, where no frame may be.
const GUARD_BYTES: usize = PAGE_BYTES;
/// Pages of zeros, more than any function of the host has in its frame (the largest takes 9 KiB).
const ZERO_PAGES: usize = 4;
/// Pages that stay after they were overwritten: to get them back would take a fault each.
const KEPT_PAGES: usize = 8;
/// How the code generator touches each page of a frame that has one or more: `mov dword [rsp], 0`.
const TOUCH: [u8; 7] = [0xc7, 0x04, 0x24, 0, 0, 0, 0];
/// More code than this is not searched: what is so large gets below the top anyway.
const SEARCHED_BYTES_MAX: usize = 256 << 10;

/// Whether frames of a component's functions may be a page or more.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Frames {
    Small,
    Any,
}

impl Frames {
    pub fn of(code: &[u8]) -> Frames {
        let is_small = code.len() <= SEARCHED_BYTES_MAX && !code.windows(TOUCH.len()).any(|bytes| bytes == TOUCH);
        if is_small { Frames::Small } else { Frames::Any }
    }
}

/// Where the pool of an engine has them: a stack, a guard, a stack, and so on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Stacks {
    start: usize,
    end: usize,
}

impl Stacks {
    /// Of an engine without a pool: it gives each stack back to the kernel.
    pub const NONE: Stacks = Stacks { start: 0, end: 0 };

    /// Of an engine with a pool of `count`, while /proc can be read.
    pub fn find(engine: &Engine, count: usize) -> Result<Stacks> {
        let mut store = Store::new(engine, 0);
        let func = Func::wrap_async(&mut store, |mut caller: Caller<'_, usize>, ()| {
            *caller.data_mut() = here();
            Box::new(std::future::ready(()))
        });
        let called = pin!(func.call_async(&mut store, &[], &mut [])).poll(&mut Context::from_waker(Waker::noop()));
        if !matches!(called, Poll::Ready(Ok(()))) {
            return Err(Error::msg("cannot run on a stack of the pool"));
        }
        let lines = BufReader::new(File::open("/proc/self/maps")?).lines();
        stacks_around(*store.data(), count, lines)?.ok_or_else(|| Error::msg("the stacks of the pool are not where they should be"))
    }

    /// That on which `address` lies.
    fn stack(self, address: usize) -> Option<Range<usize>> {
        if !(self.start..self.end).contains(&address) {
            return None;
        }
        let past = (address - self.start) % (STACK_BYTES + GUARD_BYTES);
        (past < STACK_BYTES).then(|| address - past..address - past + STACK_BYTES)
    }

    /// Overwrites what was left on the stack that has `address`.
    ///
    /// # Safety
    /// What ran on that stack has ended, and nobody else has got the stack yet.
    pub unsafe fn wipe(self, address: usize, frames: Frames) {
        let Some(stack) = self.stack(address) else { return };
        // SAFETY: as the caller says; the stack is mapped, and ours to write.
        unsafe { wipe_from_top(stack, frames) };
    }
}

/// In lines of /proc/PID/maps: `count` stacks in a row, with a guard between two, one of which has `address`.
fn stacks_around(address: usize, count: usize, lines: impl Iterator<Item = io::Result<String>>) -> io::Result<Option<Stacks>> {
    let mut row = 0..0;
    for line in lines {
        // The kernel may show what lies directly above the last one as if it were part of it.
        let Some(mapped) = writable(&line?).filter(|mapped| mapped.len() >= STACK_BYTES) else { continue };
        let start = if mapped.start == row.end + GUARD_BYTES { row.start } else { mapped.start };
        row = start..mapped.start + STACK_BYTES;
        if row.len() + GUARD_BYTES == count * (STACK_BYTES + GUARD_BYTES) && row.contains(&address) {
            return Ok(Some(Stacks { start: row.start, end: row.end }));
        }
    }
    Ok(None)
}

fn writable(line: &str) -> Option<Range<usize>> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    rest.starts_with("rw-p").then_some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

/// An address on the stack of who calls this.
#[inline(always)]
pub fn here() -> usize {
    let here: usize;
    // SAFETY: reads a register.
    unsafe { std::arch::asm!("mov {}, rsp", out(reg) here, options(nomem, nostack, preserves_flags)) };
    here
}

/// # Safety
/// `stack` is mapped, whole pages, and in nobody's use.
unsafe fn wipe_from_top(stack: Range<usize>, frames: Frames) {
    let (mut zeros, mut kept) = (0, 0);
    let mut page = stack.end;
    while page > stack.start {
        if kept == KEPT_PAGES {
            // SAFETY: as above.
            return unsafe { give_back(stack.start..page) };
        }
        page -= PAGE_BYTES;
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts_mut(page as *mut u64, PAGE_BYTES / size_of::<u64>()) };
        if frames == Frames::Small && is_zero(bytes) {
            zeros += 1;
            if zeros == ZERO_PAGES {
                return;
            }
            continue;
        }
        bytes.fill(0);
        (zeros, kept) = (0, kept + 1);
    }
}

fn is_zero(words: &[u64]) -> bool {
    words.chunks(64).all(|chunk| chunk.iter().fold(0, |all, word| all | word) == 0)
}

/// # Safety
/// As `wipe_from_top`.
unsafe fn give_back(pages: Range<usize>) {
    // SAFETY: as the caller says. What the kernel does not take is overwritten.
    unsafe {
        if libc::madvise(pages.start as *mut _, pages.len(), libc::MADV_DONTNEED) != 0 {
            std::ptr::write_bytes(pages.start as *mut u8, 0, pages.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: usize = STACK_BYTES + GUARD_BYTES;

    fn maps(start: usize, count: usize, above: usize) -> Vec<io::Result<String>> {
        let stacks = (0..count).flat_map(|number| {
            let stack = start + number * SLOT;
            let end = stack + STACK_BYTES + if number + 1 == count { above } else { 0 };
            [format!("{:x}-{stack:x} ---p 00000000 00:00 0", stack - GUARD_BYTES), format!("{stack:x}-{end:x} rw-p 00000000 00:00 0 ")]
        });
        ["400000-600000 rw-p 00000000 00:00 0   [heap]".to_string()].into_iter().chain(stacks).map(Ok).collect()
    }

    #[test]
    fn stacks_are_found_by_one_of_them_and_only_where_all_of_them_are() {
        let (start, end) = (0x7000_0010_1000, 0x7000_0010_1000 + 3 * SLOT - GUARD_BYTES);
        let found = |address, count, above| stacks_around(address, count, maps(start, 3, above).into_iter()).unwrap();
        assert_eq!(found(start + SLOT + 8, 3, 0), Some(Stacks { start, end }));
        assert_eq!(found(end - 1, 3, 0x5000), Some(Stacks { start, end }));
        assert_eq!(found(end, 3, 0x5000), None);
        assert_eq!(found(start, 4, 0), None);
        assert_eq!(found(0x400_000, 3, 0), None);
    }

    #[test]
    fn an_address_is_on_one_stack_or_on_none() {
        let stacks = Stacks { start: 0x10_0000, end: 0x10_0000 + 2 * SLOT - GUARD_BYTES };
        assert_eq!(stacks.stack(0x10_0000), Some(0x10_0000..0x10_0000 + STACK_BYTES));
        assert_eq!(stacks.stack(0x10_0000 + SLOT + 5), Some(0x10_0000 + SLOT..0x10_0000 + SLOT + STACK_BYTES));
        assert_eq!(stacks.stack(0x10_0000 + STACK_BYTES), None);
        assert_eq!(stacks.stack(0x10_0000 - 1), None);
        assert_eq!(stacks.stack(stacks.end), None);
        assert_eq!(Stacks::NONE.stack(0), None);
    }

    #[test]
    fn frames_are_small_where_no_function_touches_its_pages() {
        assert_eq!(Frames::of(&[0x90; 100]), Frames::Small);
        assert_eq!(Frames::of(&[&[0x90; 9][..], &TOUCH].concat()), Frames::Any);
        assert_eq!(Frames::of(&vec![0x90; SEARCHED_BYTES_MAX + 1]), Frames::Any);
    }

    /// What is wiped of a stack on which the words at these distances below its top were written; what stays is what was missed.
    fn left_of(written: &[usize], frames: Frames) -> usize {
        // SAFETY: memory of its own, of whole pages.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(std::ptr::null_mut(), STACK_BYTES, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) as usize;
            let top = start + STACK_BYTES;
            written.iter().for_each(|below| ((top - below) as *mut u64).write(u64::MAX));
            wipe_from_top(start..top, frames);
            let left = std::slice::from_raw_parts(start as *const u64, STACK_BYTES / 8).iter().filter(|word| **word != 0).count();
            libc::munmap(start as *mut _, STACK_BYTES);
            left
        }
    }

    #[test]
    fn nothing_stays_of_frames_that_are_smaller_than_a_page_however_deep_they_go() {
        let each_page = |pages: usize| (0..pages).map(|page| page * PAGE_BYTES + 64).collect::<Vec<_>>();
        for pages in [1, 2, KEPT_PAGES, KEPT_PAGES + 1, 130] {
            assert_eq!(left_of(&each_page(pages), Frames::Small), 0);
        }
        assert_eq!(left_of(&[], Frames::Small), 0);
        // A function of the host in between.
        assert_eq!(left_of(&[8, ZERO_PAGES * PAGE_BYTES], Frames::Small), 0);
    }

    #[test]
    fn nothing_stays_of_large_frames_however_little_is_written_in_them() {
        for below in [8, 40_000, 500_000, STACK_BYTES] {
            assert_eq!(left_of(&[below], Frames::Any), 0);
        }
    }
}
