//! One's complement sums (RFC 1071) and their updates (RFC 1624), for hooks that have no helpers for them. All in the byte
//! order of the packet.

/// The sum of 16-bit words that `sum` is: at most 0xffff.
#[must_use]
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// A complete checksum after what it covers has changed by `difference`.
#[must_use]
#[inline(always)]
pub const fn updated(field: u16, difference: u64) -> u16 {
    !fold(!field as u64 + difference)
}

/// True when two sums are the same number: one's complement has two zeroes.
#[must_use]
#[inline(always)]
pub const fn same(a: u16, b: u16) -> bool {
    a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_any_size_fold() {
        assert_eq!((fold(0), fold(0xffff), fold(0x1_0000)), (0, 0xffff, 1));
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(fold(0xffff_ffff_0001), 1);
        for sum in [0x1234_5678_9abc_def0_u64, 0xffff_fffe_0000_0001, 0x0001_ffff_ffff_ffff] {
            assert_eq!(u64::from(fold(sum)) % 0xffff, sum % 0xffff, "{sum:x}");
        }
    }

    #[test]
    fn rfc_1624_section_4() {
        // The RFC's own example: the field is 0xdd2f, a word goes from 0x5555 to 0x3285, and the answer is 0, not 0xffff.
        assert_eq!(updated(0xdd2f, u64::from(!0x5555_u16) + 0x3285), 0);
    }

    #[test]
    fn the_two_zeroes_are_one_number() {
        assert!(same(0, 0xffff) && same(0xffff, 0) && same(7, 7));
        assert!(!same(0, 1) && !same(0xffff, 0xfffe));
    }
}
