//! `switcher upgrade`.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use hyper::Method;

use super::End;
use super::client::Client;
use super::forecast::forecast_page;
use super::live::Live;
use super::page::finish;
use super::printer::Printer;
use super::wait::{WaitArgs, duration, millis};
use crate::api::{ApiError, ErrorCode, ForecastDocument, Progress, SetProgress, UpgradeRequest};
use crate::model::{AliasName, Confirm, DrainAction, Limit, RolloutOptions, SetName, StepBy, Steps};

/// A log gets a line this often.
const LOG_EVERY: Duration = Duration::from_secs(2);

/// How long a step is observed, where nobody says.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);

/// What `upgrade` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The aliases, all switched at the same instant.
    #[arg(required = true, value_name = "ALIAS")]
    aliases: Vec<AliasName>,
    /// The set that gets the share.
    #[arg(long, value_name = "SET")]
    to: SetName,
    /// The set that gives it [default: the only other set with a share].
    #[arg(long, value_name = "SET")]
    from: Option<SetName>,
    /// How long flows of the old set may take to end; 0s looks once.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    drain_timeout: Duration,
    /// What becomes of flows that are left then: keep leaves them and exits with 4, reset ends them, the longest idle first.
    #[arg(long, value_name = "WHAT", value_parser = drain_action, default_value = "keep")]
    drain_action: DrainAction,
    /// Percent of the old set's share that the new one has after each step, as 5,25,50,100 [default: all at once].
    #[arg(long, value_name = "PERCENT,...")]
    steps: Option<Steps>,
    /// How long each step is observed [default: 10s with --steps, --fail-on, --check or --min-flows, else 0s].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    interval: Option<Duration>,
    /// What a step moves: clients, which then stay at the new set, or each flow for itself.
    #[arg(long, value_name = "BY", value_parser = step_by, default_value = "client")]
    step_by: StepBy,
    /// New flows that the new set must have had in a step before the next one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_flows: u64,
    /// Roll back where the new set exceeds this, as 'failed>1%', 'first_reply_p99>50ms' or 'refused>2x' (times the old set).
    #[arg(long, value_name = "METRIC>NUMBER[%|ms|x]")]
    fail_on: Vec<Limit>,
    /// A command that the agent runs through every step; roll back where it does not exit with 0.
    #[arg(long, value_name = "CMD", value_parser = command)]
    check: Option<String>,
    /// Who says that the old set may be removed: the end of the upgrade, or `confirm`.
    #[arg(long, value_name = "WHO", value_parser = confirm, default_value = "auto")]
    confirm: Confirm,
    /// Return once the first step is made; the agent goes on.
    #[arg(long)]
    detach: bool,
    /// Say what each step would do, and change nothing.
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

impl Args {
    fn rollout(&self) -> RolloutOptions {
        let judged = !self.fail_on.is_empty() || self.check.is_some();
        let observed = judged || self.steps.is_some() || self.min_flows > 0;
        let default = if observed { INTERVAL_DEFAULT } else { Duration::ZERO };
        RolloutOptions {
            steps: self.steps.clone().unwrap_or_default(),
            interval_ms: millis(self.interval.unwrap_or(default)),
            step_by: self.step_by,
            min_flows: self.min_flows,
            fail_on: self.fail_on.clone(),
            check: self.check.clone(),
            confirm: self.confirm,
            drain_action: self.drain_action,
        }
    }
}

/// An empty one would always pass.
fn command(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is an empty command; name one, or leave it out".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn step_by(text: &str) -> Result<StepBy, String> {
    [StepBy::Client, StepBy::Flow]
        .into_iter()
        .find(|by| by.text() == text)
        .ok_or_else(|| format!("'{text}' is not known; use client or flow"))
}

fn drain_action(text: &str) -> Result<DrainAction, String> {
    [DrainAction::Keep, DrainAction::Reset]
        .into_iter()
        .find(|action| action.text() == text)
        .ok_or_else(|| format!("'{text}' is not known; use keep or reset"))
}

fn confirm(text: &str) -> Result<Confirm, String> {
    [Confirm::Auto, Confirm::Manual]
        .into_iter()
        .find(|confirm| confirm.text() == text)
        .ok_or_else(|| format!("'{text}' is not known; use auto or manual"))
}

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let rollout = args.rollout();
    let request = UpgradeRequest {
        rollout,
        aliases: args.aliases,
        to: args.to,
        from: args.from,
        drain_timeout_ms: millis(args.drain_timeout),
    };
    if args.dry_run {
        let document: ForecastDocument = client
            .change(Method::POST, "/v1/upgrade/forecast", &request, args.wait.timeout)
            .await?;
        printer.result(&document, &forecast_page(&document));
        return Ok(0);
    }
    carry_out(&request, args.detach, args.wait.timeout, client, printer).await
}

/// Sends it, shows how far it is, and says how it ended; `detach`: once it has begun.
pub(super) async fn carry_out(
    request: &UpgradeRequest,
    detach: bool,
    timeout: Duration,
    client: &Client,
    printer: &Printer,
) -> End {
    let mut view = printer.is_live().then(Live::new);
    let mut printed: Option<Instant> = None;
    let seen = |progress: &Progress| {
        if let Some(view) = &mut view {
            view.show(progress);
        } else if printed.is_none_or(|at| at.elapsed() >= LOG_EVERY)
            && let Some(text) = text(progress)
        {
            printer.progress(&text);
            printed = Some(Instant::now());
        }
        if detach && !matches!(progress, Progress::Checking { .. }) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let end = client.follow("/v1/upgrade", request, timeout, seen).await;
    if let Some(view) = view.take() {
        view.clear();
    }
    match end? {
        Progress::Finished { receipt, .. } => Ok(finish(&receipt, printer)),
        Progress::StillRunning { .. } => Err(ApiError::new(
            ErrorCode::Unknown,
            "the upgrade, which another command began, is still running; this command stopped waiting, as its --timeout is over: run: switcher status",
        )),
        Progress::Refused { error, .. } => Err(*error),
        begun @ (Progress::Checking { .. } | Progress::Observing { .. } | Progress::Draining { .. }) if detach => {
            printer.result(&begun, "begun; the agent goes on with it: switcher status");
            Ok(0)
        }
        Progress::Checking { .. } | Progress::Observing { .. } | Progress::Draining { .. } => {
            Err(ApiError::new(ErrorCode::Unknown, "the agent did not say how it ended"))
        }
    }
}

/// A line for a log.
pub(super) fn text(progress: &Progress) -> Option<String> {
    match progress {
        Progress::Checking { what, .. } => Some(what.clone()),
        Progress::Observing {
            epoch,
            step,
            steps,
            percent,
            left_ms,
            sets,
            ..
        } => Some(format!(
            "step {step} of {steps}: {percent} % (epoch {epoch}), {} left; {}",
            seconds(*left_ms),
            sets.iter().map(set_text).collect::<Vec<_>>().join("; "),
        )),
        Progress::Draining {
            epoch,
            pending,
            established,
            eldest_ms,
            estimate_ms,
            left_ms,
            ..
        } if pending + established > 0 => Some(format!(
            "switched (epoch {epoch}); waiting for {} flow(s) of the old set ({pending} pending, {established} established), the eldest {} old; {}, {} left",
            pending + established,
            seconds(eldest_ms.unwrap_or_default()),
            estimate_ms.map_or_else(
                || "none has ended of late".to_owned(),
                |estimate| format!("at this pace {} more", seconds(estimate))
            ),
            seconds(*left_ms),
        )),
        _ => None,
    }
}

/// `1.2 s` of 1234.
pub(super) fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

fn set_text(one: &SetProgress) -> String {
    format!(
        "{}/{}: {} new flow(s), {} refused",
        one.alias, one.set, one.figures.flows_opened, one.figures.flows_refused
    )
}
