//! The kernel side's types as aya wants them.

/// A value that aya may copy to and from maps.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct Abi<T: Copy>(pub T);

// SAFETY: zerocopy has checked that `T` has no padding and that any bytes are a `T`; it is copied, and owns nothing.
unsafe impl<T> aya::Pod for Abi<T> where T: Copy + zerocopy::FromBytes + zerocopy::IntoBytes + 'static {}
