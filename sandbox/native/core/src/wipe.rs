//! An allocator that forgets: what a tenant's request left in memory of ours is gone when the memory is given back.
//!
//! Bodies, headers, log lines and environments pass through buffers of hyper, wasmtime and serde, which nobody else can wipe.
use std::{
    alloc::{GlobalAlloc, Layout, System},
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

// SAFETY: memory is System's; before it goes back, and only then, its bytes are overwritten.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe {
            wipe(block, layout.size());
            System.dealloc(block, layout);
        }
    }
    /// Never in place: libc would move the block and leave a copy.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe {
            let moved = System.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}
