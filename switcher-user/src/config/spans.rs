//! Where each field of a stack file stands, for errors that show only later (the agent's own checks).

use std::collections::BTreeMap;

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Location {
    /// The beginning of the file.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// The places of all fields, by path: `aliases.web.listen[0]`, `aliases.web.sets.v1.backends[3]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    places: BTreeMap<String, Location>,
}

impl Spans {
    /// The place of `field_path`, or of its nearest parent that the file has.
    #[must_use]
    pub fn locate(&self, field_path: &str) -> Option<Location> {
        let mut path = field_path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(*place);
            }
            // Names may contain dots; cutting at each one still ends at the nearest known parent.
            path = match path.rfind(['.', '[']) {
                Some(end) => &path[..end],
                None if path.is_empty() => return None,
                None => "",
            };
        }
    }

    pub(super) fn insert(&mut self, field_path: &str, place: Location) {
        self.places.insert(field_path.to_owned(), place);
    }
}
