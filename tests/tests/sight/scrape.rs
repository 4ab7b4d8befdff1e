//! One scrape, read back.

use std::collections::{BTreeMap, BTreeSet};

use switcher_tests::lab::Namespace;

/// Where the agent of these tests serves metrics: the host's address on the client's side.
pub const METRICS: &str = "10.0.0.1:9740";

/// What a scraper gets, in text format 0.0.4.
pub struct Scrape {
    pub text: String,
}

/// A family as the page describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    pub kind: String,
    pub labels: BTreeSet<String>,
}

impl Scrape {
    pub fn take(space: &Namespace) -> Self {
        let url = format!("http://{METRICS}/metrics");
        let outcome = space.run(&["curl", "-sS", "--fail", "--max-time", "10", &url]).unwrap();
        Self {
            text: outcome.expect_code(&[0]).unwrap().stdout,
        }
    }

    /// The value of the sample that has this name and exactly these labels, in any order.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: BTreeSet<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let mut samples = self.samples().filter(|(sample, ..)| *sample == name);
        samples.find_map(|(_, labels, value)| (labels == wanted).then(|| value.parse().unwrap()))
    }

    /// Name, labels and value of each sample. No label of ours has a comma in it.
    fn samples(&self) -> impl Iterator<Item = (&str, BTreeSet<String>, &str)> {
        self.text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels
                .trim_end_matches('}')
                .split(',')
                .filter(|label| !label.is_empty());
            (name, labels.map(str::to_owned).collect(), value)
        })
    }

    /// All samples that are counters: series and value.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let counters = self.samples().filter(|(name, ..)| name.ends_with("_total"));
        counters
            .map(|(name, labels, value)| (format!("{name}{labels:?}"), value.parse().unwrap()))
            .collect()
    }

    /// The families by name.
    pub fn families(&self) -> BTreeMap<String, Family> {
        let kinds = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let family = |(name, kind): (&str, &str)| {
            let bucket = format!("{name}_bucket");
            let samples = self
                .samples()
                .filter(|(sample, ..)| *sample == name || *sample == bucket);
            // Every histogram has this one.
            let labels = samples
                .flat_map(|(_, labels, _)| labels)
                .filter(|label| !label.starts_with("le="));
            let labels = labels.map(|label| label.split('=').next().unwrap().to_owned());
            let family = Family {
                kind: kind.to_owned(),
                labels: labels.collect(),
            };
            (name.to_owned(), family)
        };
        kinds.map(family).collect()
    }
}
