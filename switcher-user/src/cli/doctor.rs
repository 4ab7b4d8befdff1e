//! `switcher doctor`.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::End;
use super::agent::{BPFFS_PATH, STATE_PATH};
use super::client::Client;
use super::printer::Printer;
use crate::api::{ErrorCode, StatusDocument};
use crate::doctor::{self, Agent, DoctorDocument, Finding, Places};

/// What `doctor` takes: what `agent` would be given.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the agent would keep its state.
    #[arg(long, value_name = "DIR", default_value = STATE_PATH)]
    state_dir: PathBuf,
    /// Where the agent would pin programs, maps and links.
    #[arg(long, value_name = "DIR", default_value = BPFFS_PATH)]
    bpffs: PathBuf,
    /// An interface where clients come in; again for more [default: those of the default routes].
    #[arg(long = "interface", value_name = "IF")]
    interfaces: Vec<String>,
}

/// Exit code where something is missing.
const NOT_USABLE: u8 = 1;

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let places = Places {
        state_dir: args.state_dir,
        bpffs: args.bpffs,
        interfaces: args.interfaces,
    };
    let document = doctor::examine(&places, &agent(client).await).await;
    printer.result(&document, &page(&document));
    Ok(if document.usable { 0 } else { NOT_USABLE })
}

async fn agent(client: &Client) -> Agent {
    match client.get::<StatusDocument>("/v1/status").await {
        Ok(status) => Agent::Runs {
            version: status.version,
            pid: status.pid,
        },
        Err(error) if error.code == ErrorCode::NoAgent && client.nobody_listens() => Agent::None,
        Err(error) => Agent::Unclear(error.message),
    }
}

fn page(document: &DoctorDocument) -> String {
    let mut page = String::new();
    let mut area = "";
    for finding in &document.findings {
        if finding.area != area {
            let gap = if area.is_empty() { "" } else { "\n" };
            let _ = writeln!(page, "{gap}{}", finding.area);
            area = &finding.area;
        }
        lines(&mut page, finding);
    }
    let _ = writeln!(page, "\nlimits");
    for limit in &document.limits {
        let _ = writeln!(page, "  {:>12}  {}", limit.most, limit.what);
    }
    let end = if document.usable {
        "Nothing is missing that the agent needs."
    } else {
        "Something is missing that the agent needs; it says above what to do."
    };
    let _ = write!(page, "\n{end}");
    page
}

fn lines(page: &mut String, finding: &Finding) {
    let _ = writeln!(page, "  {:<8} {}", finding.level.text(), finding.what);
    if let Some(agent) = &finding.agent {
        let _ = writeln!(page, "           the agent {agent}");
    }
    if let Some(remedy) = &finding.remedy {
        let _ = writeln!(page, "           to do: {remedy}");
    }
}
