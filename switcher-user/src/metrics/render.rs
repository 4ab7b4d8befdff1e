//! A status document as the text of a scrape.

use std::collections::HashMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::Format;
use super::families;
use crate::api::StatusDocument;
use crate::model::{HISTOGRAM_BUCKETS, Histogram};

/// Labels of one sample: names and values.
pub(super) type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// Renders a snapshot.
///
/// # Errors
/// None that a `String` could raise; the signature is the encoder's.
pub fn render(status: StatusDocument, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(status)));
    let mut page = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut page, &registry)?,
        Format::Classic => prometheus_text::encode(&mut page, &registry)?,
    }
    Ok(page)
}

#[derive(Debug)]
struct Snapshot(StatusDocument);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        families::write(&mut Writer(&mut encoder), &self.0)
    }
}

/// What a family is called, and what it says. A counter's name has no `_total`, and a name with a unit lacks it: both
/// are appended.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) name: &'static str,
    pub(super) unit: Option<Unit>,
    pub(super) help: &'static str,
}

/// Writes family after family.
pub(super) struct Writer<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Writer<'_, '_> {
    /// One sample, 1, that says something by its labels.
    pub(super) fn info(&mut self, about: &About, labels: &impl EncodeLabelSet) -> fmt::Result {
        self.0
            .encode_descriptor(about.name, about.help, about.unit.as_ref(), MetricType::Info)?
            .encode_info(labels)
    }

    /// Values that go up and down. A family without samples is left out.
    pub(super) fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        about: &About,
        samples: impl Iterator<Item = (L, V)>,
    ) -> fmt::Result {
        self.family(about, MetricType::Gauge, samples, |mut encoder, value| {
            encoder.encode_gauge(&value)
        })
    }

    /// Values that only rise. A family without samples is left out.
    pub(super) fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        about: &About,
        samples: impl Iterator<Item = (L, V)>,
    ) -> fmt::Result {
        let no_exemplar: Option<&Exemplar<Labels<'_, 0>, f64>> = None;
        self.family(about, MetricType::Counter, samples, |mut encoder, value| {
            encoder.encode_counter(&value, no_exemplar)
        })
    }

    /// Times by how long they were, in seconds. A family without samples is left out.
    pub(super) fn histograms<'h, L: EncodeLabelSet>(
        &mut self,
        about: &About,
        samples: impl Iterator<Item = (L, &'h Histogram)>,
    ) -> fmt::Result {
        let no_exemplars: Option<&HashMap<usize, Exemplar<Labels<'_, 0>, f64>>> = None;
        self.family(about, MetricType::Histogram, samples, |mut encoder, histogram| {
            let sum = histogram.sum_us as f64 / 1e6;
            encoder.encode_histogram(sum, histogram.count(), &buckets(histogram), no_exemplars)
        })
    }

    /// The head of a family, then its samples. Without samples the head is left out too.
    fn family<L: EncodeLabelSet, V>(
        &mut self,
        about: &About,
        kind: MetricType,
        samples: impl Iterator<Item = (L, V)>,
        sample: impl Fn(MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut samples = samples.peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let unit = about.unit.as_ref();
        let mut encoder = self.0.encode_descriptor(about.name, about.help, unit, kind)?;
        for (labels, value) in samples {
            sample(encoder.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}

/// Ends of the buckets that are shown: 256 us to 17 s, each four times the one before. The kernel's double, which would be
/// three times the series.
const BUCKETS_SHOWN: [usize; 9] = [8, 10, 12, 14, 16, 18, 20, 22, 24];

/// Ends in seconds, and how many fall into each; the last has no end.
fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
    let mut first = 0;
    let mut shown = Vec::with_capacity(BUCKETS_SHOWN.len() + 1);
    for last in BUCKETS_SHOWN {
        let count = histogram.buckets[first..=last].iter().sum();
        shown.push(((1_u64 << last) as f64 / 1e6, count));
        first = last + 1;
    }
    shown.push((f64::INFINITY, histogram.buckets[first..HISTOGRAM_BUCKETS].iter().sum()));
    shown
}
