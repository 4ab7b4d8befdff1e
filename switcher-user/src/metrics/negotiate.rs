//! Which of the two text formats a scraper gets (RFC 9110, section 12.5.1).

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0, which ends with `# EOF`.
    OpenMetrics,
    /// Prometheus text 0.0.4: for whoever does not say what it takes.
    Classic,
}

/// More media ranges than any scraper sends; the rest of the header is not read.
const RANGES_MAX: usize = 32;

impl Format {
    /// The `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What an `Accept` header prefers. Neither, or both the same: [`Format::Classic`], which everything reads.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        let ranges: Vec<Range<'_>> = accept
            .unwrap_or_default()
            .split(',')
            .take(RANGES_MAX)
            .filter_map(Range::read)
            .collect();
        let best = |format| ranges.iter().filter_map(|range| range.rank(format)).max();
        let quality = |format| best(format).map_or(0, |(_, quality)| quality);
        if quality(Self::OpenMetrics) > quality(Self::Classic) {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    const fn media(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::OpenMetrics => ("application", "openmetrics-text", "1.0.0"),
            Self::Classic => ("text", "plain", "0.0.4"),
        }
    }
}

/// One part of an `Accept` header.
#[derive(Clone, Debug)]
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    version: Option<&'a str>,
    /// Thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    /// `None`: it is no media range, and says nothing.
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut range = Self {
            kind,
            subtype,
            version: None,
            quality: 1_000,
        };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("q") {
                range.quality = thousandths(value)?;
            } else if name.trim().eq_ignore_ascii_case("version") {
                range.version = Some(value);
            }
        }
        Some(range)
    }

    /// How exactly it means this format, and with which quality; `None`: it does not mean it.
    fn rank(&self, format: Format) -> Option<(u8, u16)> {
        let (kind, subtype, version) = format.media();
        let exactness = if self.kind == "*" && self.subtype == "*" {
            0
        } else if !self.kind.eq_ignore_ascii_case(kind) {
            return None;
        } else if self.subtype == "*" {
            1
        } else if !self.subtype.eq_ignore_ascii_case(subtype) {
            return None;
        } else {
            match self.version {
                None => 2,
                Some(wanted) if wanted == version => 3,
                Some(_) => return None,
            }
        };
        Some((exactness, self.quality))
    }
}

/// A quality of 0 to 1 with at most three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let quality: f64 = text.parse().ok()?;
    (0.0..=1.0)
        .contains(&quality)
        .then(|| (quality * 1_000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use super::Format::{self, Classic, OpenMetrics};

    #[test]
    fn scrapers_get_what_they_prefer() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let cases = [
            (None, Classic),
            (Some(""), Classic),
            (Some("*/*"), Classic),
            (Some("nonsense"), Classic),
            (Some("text/html"), Classic),
            (Some("text/plain"), Classic),
            (Some(prometheus), OpenMetrics),
            (Some("application/openmetrics-text"), OpenMetrics),
            (
                Some("Application/OpenMetrics-Text; version=\"1.0.0\"; q=0.2"),
                OpenMetrics,
            ),
            // A version that is not served is not meant by what is.
            (Some("application/openmetrics-text;version=0.0.1"), Classic),
            (Some("application/openmetrics-text;q=0.4,text/plain;q=0.5"), Classic),
            (Some("application/openmetrics-text;q=0.5,text/*;q=0.4"), OpenMetrics),
            // The most exact range counts, not the first or the largest.
            (Some("*/*;q=0.9,application/openmetrics-text;q=0"), Classic),
            (Some("text/plain;q=0,*/*;q=0.5"), OpenMetrics),
            (Some("application/openmetrics-text;q=2"), Classic),
        ];
        for (accept, format) in cases {
            assert_eq!(Format::accepted(accept), format, "{accept:?}");
        }
    }
}
