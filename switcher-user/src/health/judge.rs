//! From a row of answers to healthy or not. Pure.

use crate::model::HealthSpec;

/// What is held of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// New, and not proven: gets no new flows.
    Unproven,
    /// It was there before anybody asked: gets new flows until it fails.
    Assumed,
    /// Proven.
    Healthy,
    /// Failed too often in a row: gets no new flows.
    Failed,
}

/// A backend's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendHealth {
    /// What is held of it.
    pub verdict: Verdict,
    /// Answers of the last kind in a row.
    row: u32,
    /// They were good.
    good: bool,
    /// The last bad answer, as a part of a sentence.
    pub why: String,
}

impl BackendHealth {
    /// Before the first answer.
    #[must_use]
    pub const fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            row: 0,
            good: false,
            why: String::new(),
        }
    }

    /// Takes an answer.
    pub fn answer(&mut self, spec: &HealthSpec, answer: Result<(), String>) {
        let good = answer.is_ok();
        self.row = if good == self.good {
            self.row.saturating_add(1)
        } else {
            1
        };
        self.good = good;
        if let Err(why) = answer {
            self.why = why;
        }
        if good && self.row >= spec.rise {
            self.verdict = Verdict::Healthy;
        } else if !good && self.row >= spec.fall {
            self.verdict = Verdict::Failed;
        }
    }

    /// It may get new flows.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        matches!(self.verdict, Verdict::Assumed | Verdict::Healthy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Probe;

    #[test]
    fn rows_of_answers_change_the_verdict_and_single_ones_do_not() {
        let spec = HealthSpec {
            rise: 2,
            fall: 3,
            ..HealthSpec::new(Probe::Tcp)
        };
        let mut health = BackendHealth::new(Verdict::Unproven);
        let mut after = |good: bool| {
            health.answer(&spec, if good { Ok(()) } else { Err("refused".to_owned()) });
            health.verdict
        };
        assert_eq!(after(true), Verdict::Unproven);
        assert_eq!(after(false), Verdict::Unproven);
        assert_eq!(after(true), Verdict::Unproven);
        assert_eq!(after(true), Verdict::Healthy);
        assert_eq!([after(false), after(false), after(true)], [Verdict::Healthy; 3]);
        assert_eq!([after(false), after(false), after(false)][2], Verdict::Failed);
        assert_eq!([after(true), after(true)], [Verdict::Failed, Verdict::Healthy]);
    }
}
