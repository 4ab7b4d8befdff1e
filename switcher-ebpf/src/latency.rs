//! Notes how long something took, in a set's histograms.

use crate::abi::{Histogram, SetLatencies};
use crate::tables::Tables;

/// Adds one time to one of the set's histograms.
#[inline(always)]
pub fn observe<T: Tables>(tables: &T, set_id: u32, time_us: u32, which: impl FnOnce(&SetLatencies) -> &Histogram) {
    let Some(latencies) = tables.latencies(set_id) else {
        return;
    };
    let histogram = which(latencies);
    tables.add_shared(&histogram.sum_us, time_us as u64);
    if let Some(bucket) = histogram
        .buckets
        .get(tables.bounded_bucket(Histogram::bucket_of(time_us)))
    {
        tables.add_shared(bucket, 1);
    }
}
