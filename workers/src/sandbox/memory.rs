//! What the current thread holds allocated, counted by a global allocator around another one.
//!
//! The binary installs [`Counting`] as its `#[global_allocator]`; without it runs have no memory limit. Besides bytes
//! it notices two things that nobody else can see from outside the interpreter: one very large string or array, and
//! a recursion over a deeply nested value (each level of a clone allocates, far down the stack).
#![expect(unsafe_code, reason = "a global allocator is an unsafe trait; every call is passed on unchanged")]

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
};

/// An allocator that counts, for each thread, what passes through it.
#[derive(Debug)]
pub struct Counting<A>(A);

impl<A> Counting<A> {
    /// Counts around `inner`.
    pub const fn new(inner: A) -> Self {
        Self(inner)
    }
}

/// One string, blob or text buffer was larger than [`watch`] allows.
pub(super) const LARGE_TEXT: u8 = 1;
/// One array was larger than [`watch`] allows.
pub(super) const LARGE_ARRAY: u8 = 2;
/// Text and bytes have no alignment; the interpreter's string type asks for two all the same.
const TEXT_ALIGN: usize = 2;
/// An allocation was made far below the line that [`set_deep_line`] drew on the stack.
pub(super) const DEEP: u8 = 4;

struct Counters {
    /// Allocated minus freed by this thread. Negative where it frees what others allocated.
    used: Cell<isize>,
    peak: Cell<isize>,
    /// All bytes ever allocated, freed or not.
    churned: Cell<usize>,
    text_line: Cell<usize>,
    array_line: Cell<usize>,
    deep_line: Cell<usize>,
    signs: Cell<u8>,
}

thread_local! {
    // Const and without a destructor: an allocator may neither allocate nor outlive its thread's storage.
    static COUNTERS: Counters = const {
        Counters {
            used: Cell::new(0),
            peak: Cell::new(0),
            churned: Cell::new(0),
            text_line: Cell::new(usize::MAX),
            array_line: Cell::new(usize::MAX),
            deep_line: Cell::new(0),
            signs: Cell::new(0),
        }
    };
}

impl Counters {
    #[inline]
    fn allocated(&self, layout: Layout) {
        let size = layout.size();
        let used = self.used.get() + size as isize;
        self.used.set(used);
        if used > self.peak.get() {
            self.peak.set(used);
        }
        self.churned.set(self.churned.get().wrapping_add(size));
        if size > self.text_line.get() && layout.align() <= TEXT_ALIGN {
            self.signs.set(self.signs.get() | LARGE_TEXT);
        }
        if size > self.array_line.get() && layout.align() == align_of::<rhai::Dynamic>() {
            self.signs.set(self.signs.get() | LARGE_ARRAY);
        }
        if stack_pointer() < self.deep_line.get() {
            self.signs.set(self.signs.get() | DEEP);
        }
    }

    #[inline]
    fn freed(&self, size: usize) {
        self.used.set(self.used.get() - size as isize);
    }
}

// SAFETY: every method hands its arguments to the inner allocator unchanged and returns what that returns; the
// counters are plain cells and never allocate.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNTERS.with(|counters| counters.allocated(layout));
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { self.0.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNTERS.with(|counters| counters.allocated(layout));
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        COUNTERS.with(|counters| counters.freed(layout.size()));
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { self.0.dealloc(ptr, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        COUNTERS.with(|counters| {
            counters.freed(layout.size());
            // SAFETY: the caller promises that `new_size`, rounded up to the alignment, is no overflow.
            counters.allocated(unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) });
        });
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { self.0.realloc(ptr, layout, new_size) }
    }
}

/// What this thread has allocated and not freed. Only differences mean something.
#[must_use]
pub fn used() -> isize {
    COUNTERS.with(|counters| counters.used.get())
}

/// Every byte this thread ever allocated, wrapping around.
pub(super) fn churned() -> usize {
    COUNTERS.with(|counters| counters.churned.get())
}

/// The highest [`used`] since the last [`restart_peak`].
pub(super) fn peak() -> isize {
    COUNTERS.with(|counters| counters.peak.get())
}

/// Begins to measure the peak from now on.
pub(super) fn restart_peak() {
    COUNTERS.with(|counters| counters.peak.set(counters.used.get()));
}

/// From which sizes on one allocation is a sign. Clears the signs.
pub(super) fn watch(text_bytes: usize, array_bytes: usize) {
    COUNTERS.with(|counters| {
        counters.text_line.set(text_bytes);
        counters.array_line.set(array_bytes);
        counters.signs.set(0);
    });
}

/// Stops watching: see [`watch`] and [`set_deep_line`].
pub(super) fn unwatch() {
    watch(usize::MAX, usize::MAX);
    set_deep_line(0);
}

/// Does something of our own that may need large buffers, without leaving a sign.
pub(super) fn unwatched<T>(work: impl FnOnce() -> T) -> T {
    let before = COUNTERS.with(|counters| {
        (counters.text_line.replace(usize::MAX), counters.array_line.replace(usize::MAX), counters.deep_line.replace(0))
    });
    let result = work();
    COUNTERS.with(|counters| {
        counters.text_line.set(before.0);
        counters.array_line.set(before.1);
        counters.deep_line.set(before.2);
    });
    result
}

/// Below which address of the stack an allocation is the sign [`DEEP`]; 0 is never.
#[inline]
pub(super) fn set_deep_line(address: usize) {
    COUNTERS.with(|counters| counters.deep_line.set(address));
}

/// What was noticed since [`watch`].
#[inline]
pub(super) fn signs() -> u8 {
    COUNTERS.with(|counters| counters.signs.get())
}

/// About where the stack of this thread is now.
#[inline]
pub(super) fn stack_pointer() -> usize {
    let here = 0_u8;
    (&raw const here).addr()
}
