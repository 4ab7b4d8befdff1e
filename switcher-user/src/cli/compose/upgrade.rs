//! `switcher compose upgrade`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::bring::Site;
use super::moves::Moves;
use super::ready::groups;
use super::renew::Followers;
use super::stack;
use crate::api::{ApiError, ChangesDocument, ErrorCode, StatusDocument, UpgradeRequest};
use crate::cli::End;
use crate::cli::upgrade::carry_out;
use crate::cli::wait::{WaitArgs, duration, millis};
use crate::compose::{SCALE_MAX, ServiceName};
use crate::discovery::Container;
use crate::model::{AliasName, RolloutOptions, Steps};

/// What `upgrade` takes: the options of rancher-compose.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service whose connections move.
    #[arg(value_name = "FROM")]
    pub(super) from: ServiceName,
    /// The service that gets them.
    #[arg(value_name = "TO")]
    pub(super) to: ServiceName,
    /// How many of TO's containers get their part of the connections in one step.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=i64::from(SCALE_MAX)))]
    batch_size: u32,
    /// From one step to the next: milliseconds, or a time as 2s [default: 2000].
    #[arg(long, value_name = "TIME", value_parser = interval)]
    interval: Option<Duration>,
    /// How many containers TO has in the end [default: as many as FROM].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SCALE_MAX)))]
    scale: Option<u32>,
    /// Aliases that lead to FROM lead to TO; false: TO is only started.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    update_links: bool,
    /// Return once FROM has no connection left; else once the first step is made, and the agent goes on.
    #[arg(short, long)]
    wait: bool,
    /// Stop and remove FROM's containers once they have no connection left; waits.
    #[arg(short, long)]
    pub(super) cleanup: bool,
    /// Fetch TO's image even where it is here already.
    #[arg(short, long)]
    pull: bool,
    /// How long connections of FROM may take to end.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(super) drain_timeout: Duration,
    #[command(flatten)]
    pub times: WaitArgs,
}

/// rancher-compose takes milliseconds.
fn interval(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(milliseconds) => Ok(Duration::from_millis(milliseconds)),
        Err(_) => duration(text),
    }
}

/// From one step to the next, where nobody says.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(2);

impl Args {
    pub(super) const fn pull(&self) -> bool {
        self.pull
    }
}

pub(super) async fn run(args: &Args, site: &Site<'_>) -> End {
    args.check(site)?;
    let status: StatusDocument = site.client.get("/v1/status").await?;
    let moves = args.moves(site, &status)?;
    site.refuse_foreign_aliases(&status)?;
    let followers = site.followers(&status);
    args.refuse_unconfirmed(site, &followers).await?;
    let old = site.running_of(&args.from).await?;
    args.refuse_to_clean_up(site, &status, &moves.names(), &old)?;
    let scale = match args.scale {
        Some(scale) => scale,
        None => u32::try_from(old.len()).unwrap_or(1).clamp(1, SCALE_MAX),
    };
    if !moves.moving.is_empty() || !args.update_links {
        args.refuse_stale(site, &status).await?;
        args.warn(site, scale).await?;
        let mut ports = site.targets(&args.to)?;
        ports.extend(groups(moves.moving.iter()));
        let new = site.bring_new(&args.to, scale, &ports, &|_| true).await?;
        if !args.update_links {
            let (to, stay) = (&args.to, "links stay as they are, so it gets no connection by an alias");
            nothing_moved(site, &status, &format!("{to} runs; {stay}"));
            return Ok(0);
        }
        let status: StatusDocument = site.client.get("/v1/status").await?;
        for alias in &moves.moving {
            site.put_set(alias, &args.to, &new, &status).await?;
        }
    }
    let names = moves.names();
    if names.is_empty() {
        let (from, to) = (&args.from, &args.to);
        nothing_moved(
            site,
            &status,
            &format!("nothing to do: {to} has everything that {from} had"),
        );
        return if args.cleanup && !old.is_empty() {
            args.clean_up(site, &followers, &old).await
        } else {
            Ok(0)
        };
    }
    let code = args.switch(site, &names, scale).await?;
    if code == 0 {
        return args.after(site, &followers, &old).await;
    }
    if args.cleanup {
        let text = format!(
            "{}'s containers stay: not all of their connections have moved",
            args.from
        );
        site.printer.note(&text);
    }
    Ok(code)
}

/// The result where no connection is to move.
fn nothing_moved(site: &Site<'_>, status: &StatusDocument, text: &str) {
    site.printer.result(&ChangesDocument::nothing(status.epoch), text);
}

impl Args {
    fn check(&self, site: &Site<'_>) -> Result<(), ApiError> {
        let project = &site.loaded.project;
        let wrong = |text: String| Err(ApiError::new(ErrorCode::Invalid, text));
        for name in [&self.from, &self.to] {
            if project.aliases.keys().any(|alias| alias.as_str() == name.as_str()) {
                return wrong(format!(
                    "'{name}' is an alias, which stays; name the services behind it: switcher compose upgrade FROM TO"
                ));
            }
        }
        if self.from == self.to {
            return wrong(format!(
                "FROM and TO are both '{}'; for other settings of one service: switcher compose up -d --upgrade",
                self.to
            ));
        }
        if !project.services.contains_key(&self.to) {
            let known: Vec<&str> = project.services.keys().map(ServiceName::as_str).collect();
            return wrong(format!(
                "service '{}' is not in the files; they have: {}",
                self.to,
                known.join(", ")
            ));
        }
        if self.cleanup && !self.update_links {
            return wrong(format!(
                "--cleanup with --update-links=false would remove {}, which goes on serving; leave one of them out",
                self.from
            ));
        }
        Ok(())
    }

    /// The aliases of the project that it is about; an error: nothing leads to FROM, and no upgrade took it away.
    fn moves<'p>(&self, site: &'p Site<'_>, status: &StatusDocument) -> Result<Moves<'p>, ApiError> {
        let (from, to) = (&self.from, &self.to);
        let moves = Moves::of(stack::kernel_aliases(&site.loaded.project)?, status, from, to);
        if !moves.moving.is_empty() || moves.was_moved || !self.update_links {
            return Ok(moves);
        }
        let text = if moves.serves {
            format!(
                "no alias leads to '{from}', and '{to}' serves, where no upgrade moved it last: are the arguments the wrong way round? \
                 The old one comes first: switcher compose upgrade {to} {from}; nothing was changed"
            )
        } else {
            format!("no alias of these files leads to '{from}'; link it, and run: switcher compose up -d")
        };
        Err(ApiError::new(ErrorCode::Invalid, text))
    }

    /// What was asked for and has no effect. An image that was to be fetched is, also where no container is made of it.
    async fn warn(&self, site: &Site<'_>, scale: u32) -> Result<(), ApiError> {
        let warn = |text: String| site.printer.note(&format!("warning: {text}"));
        let to = &self.to;
        let running = site.running_of(to).await?.len();
        let wanted = usize::try_from(scale).unwrap_or(usize::MAX);
        if self.pull && running >= wanted {
            site.prepare(&site.recipe(to, &site.loaded.project.services[to]))
                .await?;
            warn(format!(
                "{to}'s image was fetched, and its {running} container(s), which run already, stay what they were made of"
            ));
        }
        if self.scale.is_some() && running > wanted {
            warn(format!(
                "--scale {scale} makes no fewer: {running} containers of {to} run, and all get connections; for fewer, write the scale in the files and run up -d"
            ));
        }
        if !self.update_links {
            return Ok(());
        }
        if self.interval.is_some() && self.batch_size >= scale {
            warn(format!(
                "--interval has no effect: all {scale} container(s) are in one batch"
            ));
        }
        if self.cleanup && !self.wait {
            warn("--cleanup waits, as with --wait: what has connections is not removed".to_owned());
        }
        Ok(())
    }

    async fn switch(&self, site: &Site<'_>, names: &[AliasName], scale: u32) -> End {
        let steps = steps(scale, self.batch_size);
        let interval = match steps.percent().len() {
            1 => Duration::ZERO,
            _ => self.interval.unwrap_or(INTERVAL_DEFAULT),
        };
        let request = UpgradeRequest {
            rollout: RolloutOptions {
                steps,
                interval_ms: millis(interval),
                ..RolloutOptions::default()
            },
            aliases: names.to_vec(),
            to: self.to.clone(),
            from: Some(self.from.clone()),
            drain_timeout_ms: millis(self.drain_timeout),
        };
        let detach = !(self.wait || self.cleanup);
        carry_out(&request, detach, site.left(), site.client, site.printer).await
    }

    /// The old containers go, or it is said that they do not; and the files are named, where they would move all back.
    async fn after(&self, site: &Site<'_>, followers: &Followers, old: &[Container]) -> End {
        let linked = site
            .loaded
            .project
            .aliases
            .values()
            .any(|alias| alias.links.contains(&self.from));
        if linked {
            let text = format!(
                "the files still link {}: write {} there, else the next up -d moves connections back",
                self.from, self.to
            );
            site.printer.note(&text);
        }
        self.name_scale(site).await;
        if self.cleanup {
            return self.clean_up(site, followers, old).await;
        }
        if !old.is_empty() {
            let text = format!("{}'s containers run on; --cleanup removes them", self.from);
            site.printer.note(&text);
        }
        Ok(0)
    }
}

impl Args {
    /// The next `up` makes TO as many as the files say.
    async fn name_scale(&self, site: &Site<'_>) {
        let to = &self.to;
        // A hint: what Docker refuses is told where something hangs on it.
        let Ok(running) = site.running_of(to).await else {
            return;
        };
        let runs = running.len();
        let files = site.loaded.project.services[to].scale;
        if usize::try_from(files).ok() != Some(runs) {
            let text = format!(
                "the files have scale {files} for {to}, and {runs} run: write scale: {runs} there, else the next up -d makes them {files}"
            );
            site.printer.note(&text);
        }
    }
}

/// A step for each batch, as percentages. More batches than there are percentages share steps.
fn steps(scale: u32, batch_size: u32) -> Steps {
    let batches = scale.div_ceil(batch_size).max(1);
    let percent: BTreeSet<u32> = (1..=batches)
        .map(|batch| ((batch * batch_size).min(scale) * 100 / scale.max(1)).max(1))
        .collect();
    percent.into_iter().collect::<Vec<u32>>().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_become_percentages() {
        for (scale, batch_size, percent) in [
            (1, 2, vec![100]),
            (2, 2, vec![100]),
            (3, 2, vec![66, 100]),
            (4, 1, vec![25, 50, 75, 100]),
            (10, 4, vec![40, 80, 100]),
        ] {
            assert_eq!(steps(scale, batch_size).percent(), percent, "{scale} by {batch_size}");
        }
        let most = steps(SCALE_MAX, 1);
        assert_eq!((most.percent().len(), most.percent().last()), (100, Some(&100)));
    }

    #[test]
    fn an_interval_is_milliseconds_or_a_time() {
        assert_eq!(interval("2000"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("3s"), Ok(Duration::from_secs(3)));
        assert!(interval("soon").is_err());
    }
}
