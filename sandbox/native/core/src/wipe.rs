//! An allocator that forgets: what a tenant's request left in memory of ours is gone when the memory is given back.
//!
//! Bodies, headers, log lines and environments pass through buffers of hyper, wasmtime and serde, which nobody else can wipe.
//! Threads that serve keep small blocks, wiped, for the next request: libc's own way takes four times as long.
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::{Cell, UnsafeCell},
    mem::MaybeUninit,
    ptr,
};

pub struct Wiping;

/// So that the compiler does not leave out a write that nobody reads.
#[inline]
unsafe fn wipe(block: *mut u8, bytes: usize) {
    // SAFETY: the caller owns the block, which has `bytes`.
    unsafe { ptr::write_bytes(block, 0, bytes) };
    // SAFETY: no instruction, but it may read all memory as far as the compiler knows.
    unsafe { std::arch::asm!("/* {0} */", in(reg) block, options(nostack, preserves_flags)) };
}

/// Of this thread. A trap by signal leaves registers there, and in them what the guest copied last.
pub fn signal_stack() {
    // SAFETY: the stack is this thread's, which is not on it; read next, it is zero.
    unsafe {
        let mut stack: libc::stack_t = std::mem::zeroed();
        if libc::sigaltstack(ptr::null(), &mut stack) == 0 && stack.ss_flags & libc::SS_DISABLE == 0 {
            libc::madvise(stack.ss_sp, stack.ss_size, libc::MADV_DONTNEED);
        }
    }
}

/// More than what polls a guest takes of its thread's stack (measured: 32 KiB).
const OWN_STACK_BYTES: usize = 64 << 10;

/// What lies on the calling thread's stack below the caller. A value that is moved takes along what lay between its parts, so what a
/// guest had in its frames may be there once the guest has given up the thread. For a thread that is about to wait.
#[inline(never)]
pub fn own_stack() {
    let mut below = MaybeUninit::<[u8; OWN_STACK_BYTES]>::uninit();
    // SAFETY: this function's own.
    unsafe { wipe(below.as_mut_ptr().cast(), OWN_STACK_BYTES) };
}

/// A block of such a size is one of its class, whoever asks for it; above, and where more is asked of its address, it is libc's.
const SMALL_BYTES_MAX: usize = 1 << 10;
const SMALL_STEP: usize = 16;
const BYTES_MAX: usize = 8 << 10;
const STEP: usize = 512;
const CLASSES: usize = SMALL_BYTES_MAX / SMALL_STEP + (BYTES_MAX - SMALL_BYTES_MAX) / STEP;
/// What a thread keeps of each class, so 3 MiB at most.
const KEPT_MAX: u32 = 32;

/// (class, its bytes). One request takes some hundred blocks, of the same sizes each time.
#[inline]
fn class_of(layout: &Layout) -> Option<(usize, usize)> {
    let bytes = layout.size();
    if layout.align() > SMALL_STEP || bytes > BYTES_MAX {
        return None;
    }
    if bytes <= SMALL_BYTES_MAX {
        let class = bytes.saturating_sub(1) / SMALL_STEP;
        return Some((class, (class + 1) * SMALL_STEP));
    }
    let above = (bytes - SMALL_BYTES_MAX - 1) / STEP;
    Some((SMALL_BYTES_MAX / SMALL_STEP + above, SMALL_BYTES_MAX + (above + 1) * STEP))
}

/// Wiped blocks of one class, each with the address of the next in it.
#[derive(Clone, Copy)]
struct Kept {
    first: *mut u8,
    count: u32,
}

thread_local! {
    static KEEPS: Cell<bool> = const { Cell::new(false) };
    static KEPT: UnsafeCell<[Kept; CLASSES]> = const { UnsafeCell::new([Kept { first: ptr::null_mut(), count: 0 }; CLASSES]) };
}

/// From now on this thread keeps blocks for its next use. Only for a thread that never ends: what it keeps nobody gives back.
pub fn keep_blocks() {
    KEEPS.set(true);
}

#[inline]
unsafe fn take(class: usize) -> *mut u8 {
    KEPT.with(|kept| {
        // SAFETY: nobody else is in here: it is this thread's, and nothing in here allocates.
        let kept = unsafe { &mut (*kept.get())[class] };
        let block = kept.first;
        if !block.is_null() {
            // SAFETY: a block of ours, with the address of the next.
            kept.first = unsafe { block.cast::<*mut u8>().replace(ptr::null_mut()) };
            kept.count -= 1;
        }
        block
    })
}

/// False when there are enough.
#[inline]
unsafe fn keep(class: usize, block: *mut u8) -> bool {
    KEEPS.get()
        && KEPT.with(|kept| {
            // SAFETY: as above; the block is nobody's any more.
            let kept = unsafe { &mut (*kept.get())[class] };
            if kept.count >= KEPT_MAX {
                return false;
            }
            unsafe { block.cast::<*mut u8>().write(kept.first) };
            kept.first = block;
            kept.count += 1;
            true
        })
}

// SAFETY: memory is System's; before it goes back, or to who asks next, its bytes are overwritten. Sizes are those of classes for
// everybody, so a block may come back by another thread than it came from.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe {
            let Some((class, bytes)) = class_of(&layout) else { return System.alloc(layout) };
            let block = take(class);
            if block.is_null() { System.alloc(Layout::from_size_align_unchecked(bytes, SMALL_STEP)) } else { block }
        }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe {
            let Some((class, bytes)) = class_of(&layout) else { return System.alloc_zeroed(layout) };
            let block = take(class);
            if block.is_null() {
                return System.alloc_zeroed(Layout::from_size_align_unchecked(bytes, SMALL_STEP));
            }
            ptr::write_bytes(block, 0, layout.size());
            block
        }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe {
            wipe(block, layout.size());
            match class_of(&layout) {
                Some((class, _)) if keep(class, block) => {}
                Some((_, bytes)) => System.dealloc(block, Layout::from_size_align_unchecked(bytes, SMALL_STEP)),
                None => System.dealloc(block, layout),
            }
        }
    }
    /// Never by libc, which would move the block and leave a copy.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe {
            let wanted = Layout::from_size_align_unchecked(size, layout.align());
            if class_of(&layout).is_some_and(|(class, _)| class_of(&wanted).is_some_and(|(other, _)| other == class)) {
                if size < layout.size() {
                    wipe(block.add(size), layout.size() - size);
                }
                return block;
            }
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 8).unwrap()
    }

    #[test]
    fn a_class_holds_what_is_asked_of_it_and_wastes_less_than_a_step() {
        for bytes in 0..=BYTES_MAX {
            let (class, holds) = class_of(&layout(bytes)).unwrap();
            assert!(class < CLASSES && holds >= bytes && holds - bytes <= STEP);
            assert!(bytes == 0 || class_of(&layout(bytes - 1)).unwrap().0 <= class);
        }
        assert!(class_of(&layout(BYTES_MAX + 1)).is_none());
        assert!(class_of(&Layout::from_size_align(64, 64).unwrap()).is_none());
    }

    #[test]
    fn what_was_in_a_block_is_not_in_it_when_the_next_one_gets_it() {
        std::thread::spawn(|| unsafe {
            keep_blocks();
            for (bytes, later) in [(100, 100), (112, 97), (97, 112), (3000, 2600), (2600, 3000), (8, 1)] {
                let block = Wiping.alloc(layout(bytes));
                ptr::write_bytes(block, 0xaa, bytes);
                let same = Wiping.realloc(block, layout(bytes), later);
                assert_eq!(same, block);
                Wiping.dealloc(block, layout(later));
                let next = Wiping.alloc(layout(bytes));
                assert_eq!(next, block);
                assert!(std::slice::from_raw_parts(next, bytes.max(later)).iter().all(|byte| *byte == 0));
                Wiping.dealloc(next, layout(bytes));
            }
            let block = Wiping.alloc(layout(40));
            ptr::write_bytes(block, 0xaa, 40);
            let moved = Wiping.realloc(block, layout(40), 20_000);
            assert!(std::slice::from_raw_parts(moved, 40).iter().all(|byte| *byte == 0xaa));
            let next = Wiping.alloc(layout(40));
            assert_eq!(next, block);
            assert!(std::slice::from_raw_parts(next, 40).iter().all(|byte| *byte == 0));
        })
        .join()
        .unwrap();
    }
}
