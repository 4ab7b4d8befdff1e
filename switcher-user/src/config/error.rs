//! What is wrong with a stack file, and where.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

/// One mistake: `FILE:LINE:COL: FIELD: what happened; remedy`.
#[derive(Clone, Debug, Error, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[error("{file}:{line}:{column}: {field}: {message}")]
pub struct Problem {
    /// The file, as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The field, such as `aliases.web.listen[0]`; `stack file` for the file as a whole.
    pub field: String,
    /// What happened, a semicolon, and what to do.
    pub message: String,
}

/// Why a stack file is refused: one mistake or more, sorted by place. Shown one a line.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct ConfigError {
    first: Problem,
    others: Vec<Problem>,
    omitted_count: usize,
}

impl ConfigError {
    /// Most mistakes shown at once; the rest is counted.
    pub const PROBLEMS_MAX: usize = 20;

    /// A single mistake.
    #[must_use]
    pub fn new(problem: Problem) -> Self {
        Self {
            first: problem,
            others: Vec::new(),
            omitted_count: 0,
        }
    }

    /// Sorts and bounds `problems`; `None` if there are none.
    #[must_use]
    pub fn from_problems(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        let omitted_count = problems.len().saturating_sub(Self::PROBLEMS_MAX);
        problems.truncate(Self::PROBLEMS_MAX);
        let mut problems = problems.into_iter();
        let first = problems.next()?;
        Some(Self {
            first,
            others: problems.collect(),
            omitted_count,
        })
    }

    /// The mistakes shown, at least one.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// How many more mistakes there are than [`Self::problems`] shows.
    #[must_use]
    pub const fn omitted_count(&self) -> usize {
        self.omitted_count
    }

    /// The file, as the user named it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.first.file
    }

    /// Line of the first mistake.
    #[must_use]
    pub const fn line(&self) -> u32 {
        self.first.line
    }

    /// Column of the first mistake.
    #[must_use]
    pub const fn column(&self) -> u32 {
        self.first.column
    }

    /// Field of the first mistake.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.first.field
    }

    /// Text of the first mistake.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.first.message
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        for problem in &self.others {
            write!(f, "\n{problem}")?;
        }
        match self.omitted_count {
            0 => Ok(()),
            1 => write!(f, "\n{}: 1 more mistake; mend these first", self.first.file),
            count => write!(f, "\n{}: {count} more mistakes; mend these first", self.first.file),
        }
    }
}
