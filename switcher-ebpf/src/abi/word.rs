//! Shared words.

use core::sync::atomic::Ordering;

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $plain:ty, $atomic:ty) => {
        $(#[$doc])*
        ///
        /// An atomic natively. LLVM selects no atomic loads and stores for the BPF target, but its loads and stores of
        /// aligned words are whole, and a program that keeps a copy for the time of one packet sees nothing that it
        /// could not have seen.
        #[derive(Debug, Default)]
        #[repr(transparent)]
        #[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout))]
        pub struct $name(
            #[cfg(target_arch = "bpf")] core::cell::Cell<$plain>,
            #[cfg(not(target_arch = "bpf"))] $atomic,
        );

        #[cfg(target_arch = "bpf")]
        impl $name {
            /// Reads it.
            #[inline(always)]
            pub fn load(&self, _: Ordering) -> $plain {
                self.0.get()
            }

            /// Writes it.
            #[inline(always)]
            pub fn store(&self, value: $plain, _: Ordering) {
                self.0.set(value);
            }

            /// Where it is, for the target's own atomic instructions.
            #[inline(always)]
            pub fn as_ptr(&self) -> *mut $plain {
                self.0.as_ptr()
            }
        }

        #[cfg(not(target_arch = "bpf"))]
        impl $name {
            /// Reads it. Inlined in other crates too: the agent reads one of each of 400,000 flow records at every look.
            #[must_use]
            #[inline]
            pub fn load(&self, order: Ordering) -> $plain {
                self.0.load(order)
            }

            /// Writes it.
            #[inline]
            pub fn store(&self, value: $plain, order: Ordering) {
                self.0.store(value, order);
            }

            /// The atomic inside.
            #[inline]
            pub fn atomic(&self) -> &$atomic {
                &self.0
            }
        }
    };
}

word!(
    /// A word of 32 bits that several CPUs read and write.
    Word32,
    u32,
    core::sync::atomic::AtomicU32
);
word!(
    /// A word of 64 bits that several CPUs read and write.
    Word64,
    u64,
    core::sync::atomic::AtomicU64
);
