//! What happens in the demo, in order.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::accounts::{Accounts, Evidence};
use super::clients::Client;
use super::console::{Console, Tone};
use super::document::{Document, Ways};
use super::host::HostProcesses;
use super::quiet;
use super::stage::{Captures, KEPT_ALIVE, Restart, SAMPLE, Stage};
use super::{Options, Switch, chart, checks, stack};
use crate::interrupt;
use crate::traffic::{Bucket, Generator, SampleReport};

/// How long the load runs before the first switch.
const BEFORE_FIRST: Duration = Duration::from_millis(1500);
/// How long each state is watched; the chart ends within it.
const WATCH: Duration = Duration::from_millis(1300);
/// Each of the many cutovers is watched for this long.
const WATCH_CUTOVER: Duration = Duration::from_millis(500);

/// The switches of one run, while the load goes on.
struct Run<'a> {
    stage: &'a mut Stage,
    console: &'a mut Console,
    load: Generator,
    switches: Vec<Switch>,
    /// Of the host's processes.
    host_switches: Vec<Switch>,
}

/// Plays it all and judges.
pub(super) fn play(stage: &mut Stage, options: &Options, console: &mut Console) -> Result<Document> {
    let first = stack::V1.place(&stage.lab, options.path)?;
    let applied = Switch::run(&stage.agent, &["apply", "-f", &first.display().to_string()], &["v1"])?;
    console.line(format!(
        "apply docs/examples/{}: {:.1} ms, all new flows to v1.",
        stack::V1.name,
        applied.took_ms
    ));
    let ways = Ways {
        paths: stage.check_path(options.path)?,
        hook: stage.check_hook(options.hook)?,
    };
    let quiet = quiet::measure(&stage.agent, stage.lab.dir())?;
    console.line(format!(
        "{} upgrades back and forth with no flow to drain: median {:.1} ms, slowest {:.1} ms; the least here {:.1} ms.",
        quiet.upgrades, quiet.median_ms, quiet.max_ms, quiet.least_ms
    ));
    let Stage { host, lab, agent, .. } = stage;
    host.apply(lab, agent, &ways.hook)?;
    let captures = stage.capture()?;
    let load = stage.load(options, 15 + u64::from(options.cutovers))?;
    console.line(format!(
        "Load: {} requests/s over IPv4 and IPv6, half on new connections, half on {KEPT_ALIVE} kept-alive ones; \
         50 MB up and 50 MB down in flight; UDP pings on new and on long conversations.",
        options.rate
    ));
    let pings = stage.pings()?;
    let mut clients = stage.containers.start(&stage.lab)?;
    clients.extend(HostProcesses::load(stage)?);
    console.line("And some from the host itself, from a container in its cgroups, from one in others; and some to processes of the host.");
    let mut run = Run {
        stage,
        console,
        load,
        switches: Vec::new(),
        host_switches: Vec::new(),
    };
    let share = run.three_states(options)?;
    run.host_processes()?;
    let restart = run.restart()?;
    run.cutovers(options.cutovers)?;
    interrupt::sleep(WATCH)?;
    run.console.line("");
    run.console.line("The load ends; both transfers finish at full speed.");
    let pings = pings.stop()?;
    let report = run.load.stop()?;
    let rows = clients.into_iter().map(Client::stop).collect::<Result<Vec<_>>>()?;
    let (mut switches, host_switches) = (run.switches, run.host_switches);
    let flows_opened = stage.flows_opened()?;
    let drained = drained(stage, console)?;
    let evidence = gather(stage, options, captures)?;
    let accounts = Accounts::new(evidence, &mut switches)?;
    let checks = checks::judge(&checks::Findings {
        load: &report,
        pings: &pings,
        rows: &rows,
        host_switches: &host_switches,
        restart: &restart,
        flows_opened,
        share: &share,
        quiet: &quiet,
        switches: &switches,
        drained: &drained,
        accounts: &accounts,
    });
    show_receipt(stage, &switches, console)?;
    let document = Document::new(options, ways, checks, report, share, quiet, switches, drained);
    document.print_verdict(console);
    Ok(document)
}

impl Run<'_> {
    /// 50/50, v2, back, v2 again.
    fn three_states(&mut self, options: &Options) -> Result<SampleReport> {
        self.watch(BEFORE_FIRST)?;
        let canary = stack::CANARY.place(&self.stage.lab, options.path)?;
        self.switch(&["apply", "-f", &canary.display().to_string()], &["v1", "v2"])?;
        let share = self.stage.sample()?;
        self.tell_share(&share);
        let upgrade = ["upgrade", "web", "--to", "v2", "--drain-timeout", "0s"];
        self.switch(&upgrade, &["v2"])?;
        self.switch(&["rollback", "web"], &["v1", "v2"])?;
        self.switch(&upgrade, &["v2"])?;
        Ok(share)
    }

    /// Those of the host, to v2 and back, twice: both aliases in one flip.
    fn host_processes(&mut self) -> Result<()> {
        self.console.line("");
        for number in 1..=4 {
            let (words, serving) = self.stage.host.upgrade(number % 2);
            let switch = Switch::run(&self.stage.agent, &words, &serving)?;
            let line = format!("of the host  {}", self.headline(&switch));
            self.console.line(line);
            self.host_switches.push(switch);
            self.watch(WATCH_CUTOVER)?;
        }
        Ok(())
    }

    /// The agent is killed and replaced.
    fn restart(&mut self) -> Result<Restart> {
        let restart = self.stage.replace_agent()?;
        self.console.line(format!(
            "kill -9 of the agent, and another in its place {:.1} s later.",
            (restart.ended_us - restart.began_us) as f64 / 1e6
        ));
        self.watch(WATCH_CUTOVER)?;
        Ok(restart)
    }

    /// From v2 whole to v1 and back, again and again.
    fn cutovers(&mut self, count: u32) -> Result<()> {
        for number in 0..count {
            let (words, serving): (&[&str], _) = if number % 2 == 0 {
                (&["upgrade", "web", "--to", "v1", "--drain-timeout", "0s"], ["v1"])
            } else {
                (&["rollback", "web"], ["v2"])
            };
            let switch = Switch::run(&self.stage.agent, words, &serving)?;
            let line = format!("cutover {:>3}  {}", number + 1, self.headline(&switch));
            self.console.line(line);
            self.switches.push(switch);
            self.watch(WATCH_CUTOVER)?;
        }
        Ok(())
    }

    /// One switch, watched and drawn.
    fn switch(&mut self, words: &[&str], serving: &[&'static str]) -> Result<()> {
        let switch = Switch::run(&self.stage.agent, words, serving)?;
        self.watch(WATCH)?;
        let number = self.switches.len() + 1;
        let headline = format!("{number}  {}", self.headline(&switch));
        self.console.line("");
        self.console.line(self.console.tone(Tone::Strong, &headline));
        let buckets = chart::around(&self.load.buckets(0), switch.began_us);
        chart::draw(self.console, &buckets, &switch);
        self.switches.push(switch);
        Ok(())
    }

    fn headline(&self, switch: &Switch) -> String {
        let left = switch
            .flows_left
            .map(|left| format!(", {left} flows stay where they are"))
            .unwrap_or_default();
        let lab = format!("{}/", self.stage.lab.dir().display());
        let command = switch.command.replace(&lab, "docs/examples/");
        format!("{command}   {:.1} ms, exit {}{left}", switch.took_ms, switch.exit_code)
    }

    fn tell_share(&mut self, share: &SampleReport) {
        let answers: Vec<String> = share
            .answers
            .iter()
            .map(|(version, count)| format!("{version} {count}"))
            .collect();
        self.console.line(format!(
            "    share of {SAMPLE} new connections, each from another address: {} ({} failed, {:.1} s)",
            answers.join(", "),
            share.failures.values().sum::<u64>(),
            f64::from(u32::try_from(share.took_ms).unwrap_or(u32::MAX)) / 1e3
        ));
    }

    /// Lets time pass with a line that lives.
    fn watch(&mut self, how_long: Duration) -> Result<()> {
        let end = Instant::now() + how_long;
        while Instant::now() < end {
            interrupt::sleep(Duration::from_millis(100).min(end.saturating_duration_since(Instant::now())))?;
            if self.console.terminal() {
                let buckets = self.load.buckets(0);
                let line = live_line(&buckets);
                self.console.live(line);
            }
        }
        Ok(())
    }
}

/// The last half second in words.
fn live_line(buckets: &[Bucket]) -> String {
    let last = &buckets[buckets.len().saturating_sub(5)..];
    let rate = |pick: &dyn Fn(&Bucket) -> u32| last.iter().map(pick).sum::<u32>() * 2;
    let of = |version: &'static str| {
        rate(&move |bucket: &Bucket| bucket.fresh.get(version).unwrap_or(&0) + bucket.kept.get(version).unwrap_or(&0))
    };
    let lost: u32 = buckets.iter().map(|bucket| bucket.failed + bucket.late).sum();
    format!(
        "  {:>5.1} s   v1 {:>5}/s   v2 {:>5}/s   lost {lost}",
        buckets.len() as f64 / 10.0,
        of("v1"),
        of("v2")
    )
}

/// With nobody connected any more, the same command waits for the drain and says 0: the old set may be stopped.
fn drained(stage: &Stage, console: &mut Console) -> Result<Switch> {
    let words = ["upgrade", "web", "--to", "v1", "--drain-timeout", "30s"];
    let switch = Switch::run(&stage.agent, &words, &["v1"])?;
    let left = switch
        .flows_left
        .map_or_else(|| "unknown".to_owned(), |left| left.to_string());
    console.line(format!(
        "{}   {:.1} ms, exit {}, flows left at v2: {left}",
        switch.command, switch.took_ms, switch.exit_code
    ));
    Ok(switch)
}

/// Ends what has to be ended for its records to be whole, and reads them.
fn gather(stage: &mut Stage, options: &Options, captures: Captures) -> Result<Evidence> {
    let (v1_syns, v2_syns) = (captures.v1_syns.stop()?, captures.v2_syns.stop()?);
    let client_ends = captures.client_ends.stop()?;
    if options.keep {
        // nginx goes on; its log's buffer is written five times a second.
        interrupt::sleep(Duration::from_secs(1))?;
    } else {
        stage.v1.quit()?;
        stage.v2.quit()?;
    }
    let logs = [stage.v1.log()?, stage.v2.log()?];
    Ok(Evidence {
        v1_syns,
        v2_syns,
        client_ends,
        logs,
        upload: stage.v1.uploaded("big"),
    })
}

/// The receipt of the first upgrade, as a person sees it.
fn show_receipt(stage: &Stage, switches: &[Switch], console: &mut Console) -> Result<()> {
    let upgrade = switches
        .iter()
        .find(|switch| switch.command.contains(" upgrade "))
        .context("no upgrade was run")?;
    let id = upgrade
        .receipt_id()
        .context("the upgrade's receipt has no number")?
        .to_string();
    let shown = stage.agent.cli(&["receipt", "show", &id])?.expect_code(&[0])?;
    console.line("");
    console.line(format!("switcher receipt show {id}"));
    for line in shown.stdout.trim_end().lines() {
        console.line(format!("    {line}"));
    }
    Ok(())
}
