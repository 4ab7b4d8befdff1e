//! Bytes that both ends of a transfer can make by themselves, so that every byte is compared.

/// Fills `out` with the pattern of `seed` from byte `at` on. Neighbouring words differ, so a shifted, repeated or swapped
/// part never compares equal.
pub fn fill(seed: u64, at: u64, out: &mut [u8]) {
    let mut word_at = at / 8;
    let mut skip = usize::try_from(at % 8).unwrap_or(0);
    let mut rest = out;
    while !rest.is_empty() {
        let word = mix(seed ^ word_at).to_le_bytes();
        let length = (8 - skip).min(rest.len());
        let (head, tail) = rest.split_at_mut(length);
        head.copy_from_slice(&word[skip..skip + length]);
        (rest, skip, word_at) = (tail, 0, word_at + 1);
    }
}

/// The offset in `bytes` of the first one that is not the pattern's, if any.
#[must_use]
pub fn first_difference(seed: u64, at: u64, bytes: &[u8]) -> Option<usize> {
    let mut expected = vec![0; bytes.len()];
    fill(seed, at, &mut expected);
    bytes.iter().zip(&expected).position(|(is, should)| is != should)
}

/// The finalizer of splitmix64.
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{fill, first_difference};

    #[test]
    fn any_cut_gives_the_same_bytes() {
        let mut whole = vec![0; 1000];
        fill(7, 0, &mut whole);
        for (at, length) in [(0, 1000), (1, 999), (13, 500), (995, 5), (8, 8)] {
            let mut part = vec![0; length];
            fill(7, at as u64, &mut part);
            assert_eq!(part, whole[at..at + length]);
        }
        assert_eq!(first_difference(7, 3, &whole[3..900]), None);
        assert!(first_difference(7, 4, &whole[3..900]).is_some());
        whole[42] ^= 1;
        assert_eq!(first_difference(7, 0, &whole), Some(42));
    }
}
