//! This program's own code in large pages.
//!
//! What a request runs is spread over megabytes, more than the processor's table of small pages holds: in large ones it does not wait
//! for the kernel's tables. The bytes are the same at the same addresses; they come from memory instead of the file.
use std::{io, ptr};

const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Before there are threads, and before the walls: afterwards nothing becomes code that was memory.
pub fn enlarge() -> io::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let here = enlarge as *const () as usize;
    let Some((start, end)) = maps.lines().find_map(|line| code_range(line).filter(|(start, end)| (*start..*end).contains(&here))) else { return Ok(()) };
    let (from, to) = (start.next_multiple_of(LARGE_PAGE_BYTES), end / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES);
    if from >= to {
        return Ok(());
    }
    let bytes = to - from;
    // SAFETY: new memory gets a copy of the code, is made code, and replaces it in one step: whoever runs there, we too, finds the
    // same instructions. What is left of the new memory at both ends is given back.
    unsafe {
        let all = libc::mmap(ptr::null_mut(), bytes + LARGE_PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        if all == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let copy = (all as usize).next_multiple_of(LARGE_PAGE_BYTES);
        libc::madvise(copy as *mut _, bytes, libc::MADV_HUGEPAGE);
        ptr::copy_nonoverlapping(from as *const u8, copy as *mut u8, bytes);
        let done = libc::mprotect(copy as *mut _, bytes, libc::PROT_READ | libc::PROT_EXEC) == 0
            && libc::mremap(copy as *mut _, bytes, bytes, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, from as *mut libc::c_void) != libc::MAP_FAILED;
        let error = io::Error::last_os_error();
        libc::munmap(all, copy - all as usize);
        libc::munmap((copy + bytes) as *mut _, all as usize + LARGE_PAGE_BYTES - copy);
        if done { Ok(()) } else { Err(error) }
    }
}

fn code_range(line: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-').filter(|_| rest.starts_with("r-xp"))?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_code_has_a_range_and_others_do_not() {
        assert_eq!(code_range("55d0000-55e0000 r-xp 00000000 fd:00 1 /bin/a"), Some((0x55d0000, 0x55e0000)));
        assert_eq!(code_range("55d0000-55e0000 rw-p 00000000 00:00 0"), None);
        assert_eq!(code_range(""), None);
    }
}
