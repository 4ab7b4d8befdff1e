//! A run of steps: each with its time, the first failure ends it, a table at the end.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process::Invocation;

/// Steps done so far and the time that is left for all.
pub struct Steps {
    done: Vec<(String, Duration)>,
    deadline: Instant,
    started: Instant,
}

impl Steps {
    /// All steps together may take `budget`.
    pub fn within(budget: Duration) -> Self {
        let started = Instant::now();
        Self {
            done: Vec::new(),
            deadline: started + budget,
            started,
        }
    }

    /// Time left.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Runs one program as a step, for at most `limit`.
    pub fn program(&mut self, name: &str, limit: Duration, program: &Invocation) -> Result<()> {
        let limit = limit.min(self.left());
        self.step(name, |_| {
            println!("$ {program}");
            program.run(limit)
        })
    }

    /// Runs one step; its error ends the run, and the table shows how far it came.
    pub fn step(&mut self, name: &str, work: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        if self.left().is_zero() {
            bail!(
                "no time was left for `{name}`: the steps before it took {}",
                seconds(self.started.elapsed())
            );
        }
        println!("\n=== {name}");
        let started = Instant::now();
        let result = work(self);
        let took = started.elapsed();
        println!(
            "=== {name}: {} in {}",
            if result.is_ok() { "ok" } else { "FAILED" },
            seconds(took)
        );
        self.done.push((
            format!("{}  {name}", if result.is_ok() { "ok    " } else { "FAILED" }),
            took,
        ));
        if result.is_err() {
            self.print_table();
        }
        result.with_context(|| name.to_owned())
    }

    /// Prints what was done.
    pub fn print_table(&self) {
        println!("\nresult  time      step");
        for (line, took) in &self.done {
            let (result, name) = line.split_at(6);
            println!("{result}  {:<8}{name}", seconds(*took));
        }
        println!("        {:<8}  in all", seconds(self.started.elapsed()));
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
