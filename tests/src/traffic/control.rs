//! The generator as seen from the one who started it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::report::{Bucket, Event, LoadReport, Report, SampleReport};
use super::{Plan, Work};
use crate::lab::{Lab, Namespace, Process};
use crate::{binaries, interrupt};

const READY_LIMIT: Duration = Duration::from_secs(30);
/// The last requests and the rest of the transfers, which then go at full speed.
const STOP_LIMIT: Duration = Duration::from_secs(60);
const SAMPLE_LIMIT: Duration = Duration::from_secs(180);

static COUNTER: AtomicU32 = AtomicU32::new(0);

#[derive(Debug, Default)]
struct Heard {
    ready: bool,
    buckets: Vec<Bucket>,
    report: Option<Report>,
}

/// A running generator in the lab's client namespace. Dropping it ends it.
#[derive(Debug)]
pub struct Generator {
    process: Process,
    heard: Arc<Mutex<Heard>>,
    reader: Option<JoinHandle<()>>,
    errors: PathBuf,
}

impl Generator {
    /// Starts a load and returns once its connections are open.
    ///
    /// # Errors
    /// If it cannot be started or a connection cannot be opened.
    pub fn load(lab: &Lab, plan: &Plan) -> Result<Self> {
        Self::load_from(lab, lab.client(), plan)
    }

    /// Starts a load in this namespace.
    ///
    /// # Errors
    /// If it cannot be started or a connection cannot be opened.
    pub fn load_from(lab: &Lab, space: &Namespace, plan: &Plan) -> Result<Self> {
        Self::ready(Self::start(lab, space.command(binaries::switcher_lab()?), plan)?)
    }

    /// Starts a load in another namespace than the client's: a container's.
    ///
    /// # Errors
    /// If it cannot be started or a connection cannot be opened.
    pub fn load_in(lab: &Lab, space: &Namespace, plan: &Plan) -> Result<Self> {
        Self::ready(Self::start(lab, space.command(binaries::switcher_lab()?), plan)?)
    }

    /// Starts a load of a local client: in the lab's cgroup, and in the namespace.
    ///
    /// # Errors
    /// If it cannot be started or a connection cannot be opened.
    pub fn load_local(lab: &Lab, space: &Namespace, plan: &Plan) -> Result<Self> {
        let command = lab.cgroup().command(space, binaries::switcher_lab()?);
        Self::ready(Self::start(lab, command, plan)?)
    }

    fn ready(mut generator: Self) -> Result<Self> {
        generator.wait("the load's connections open", READY_LIMIT, |heard| heard.ready)?;
        Ok(generator)
    }

    /// Measures shares.
    ///
    /// # Errors
    /// If the generator cannot be started or ends without a report.
    pub fn sample(lab: &Lab, plan: &Plan) -> Result<SampleReport> {
        anyhow::ensure!(matches!(plan.work, Work::Sample(_)), "the plan is no sample");
        let mut generator = Self::start(lab, lab.client().command(binaries::switcher_lab()?), plan)?;
        match generator.report("the sample ends", SAMPLE_LIMIT)? {
            Report::Sample(report) => Ok(report),
            Report::Load(_) => bail!("the generator answered a sample with a load's report"),
        }
    }

    fn start(lab: &Lab, mut command: Command, plan: &Plan) -> Result<Self> {
        let base = lab
            .dir()
            .join(format!("traffic-{}", COUNTER.fetch_add(1, Ordering::Relaxed)));
        let (file, errors) = (base.with_extension("json"), base.with_extension("err"));
        fs::write(&file, serde_json::to_vec(plan)?)?;
        command.arg("generate").arg(&file);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors)?);
        let mut process = Process::spawn("the traffic generator", &mut command, Signal::SIGTERM)?;
        let stdout = process.child().stdout.take().context("the generator has no stdout")?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let reader = thread::spawn({
            let heard = Arc::clone(&heard);
            move || listen(stdout, &heard)
        });
        Ok(Self {
            process,
            heard,
            reader: Some(reader),
            errors,
        })
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&mut self, what: &str, limit: Duration, done: impl Fn(&Heard) -> bool) -> Result<()> {
        interrupt::wait_for(what, limit, || {
            if done(&self.heard()) {
                return Ok(true);
            }
            if self.process.ended()?.is_some() {
                // Its last words may still be on their way from the pipe.
                if let Some(reader) = self.reader.take() {
                    let _ = reader.join();
                }
                if !done(&self.heard()) {
                    let said = fs::read_to_string(&self.errors).unwrap_or_default();
                    bail!("the traffic generator ended: {}", said.trim());
                }
            }
            Ok(false)
        })
    }

    /// The buckets from number `from` on.
    #[must_use]
    pub fn buckets(&self, from: usize) -> Vec<Bucket> {
        self.heard().buckets.get(from..).unwrap_or_default().to_vec()
    }

    /// Ends the load; what is in flight ends in its own way first.
    ///
    /// # Errors
    /// If it ends without a report.
    pub fn stop(&mut self) -> Result<LoadReport> {
        drop(self.process.child().stdin.take());
        match self.report("the load ends", STOP_LIMIT)? {
            Report::Load(report) => Ok(*report),
            Report::Sample(_) => bail!("the generator answered a load with a sample's report"),
        }
    }

    fn report(&mut self, what: &str, limit: Duration) -> Result<Report> {
        self.wait(what, limit, |heard| heard.report.is_some())?;
        self.heard().report.take().context("the report is gone")
    }
}

fn listen(stdout: impl Read, heard: &Mutex<Heard>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let Ok(event) = serde_json::from_str(&line) else {
            eprintln!("lab: the generator wrote a line that is no event: {line}");
            continue;
        };
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Ready => heard.ready = true,
            Event::Tick(bucket) => heard.buckets.push(bucket),
            Event::Report(report) => heard.report = Some(report),
        }
    }
}
