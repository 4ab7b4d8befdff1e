//! `switcher apply`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use hyper::Method;

use super::End;
use super::client::Client;
use super::page::changes_page;
use super::printer::Printer;
use super::wait::WaitArgs;
use crate::api::{ApiError, ApplyRequest, ChangesDocument, ErrorCode};
use crate::config::{self, FILE_BYTES_MAX, Spans};

/// What `apply` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The stack file; - reads stdin.
    #[arg(short, long, value_name = "FILE")]
    file: String,
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
    /// Remove what this stack owns and the file omits.
    #[arg(long)]
    prune: bool,
    /// Take new listeners also where SSH, etcd or this agent waits for clients, and addresses that others answer for.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let text = read(&args.file)?;
    let parsed = config::parse(&text, &args.file).map_err(|error| ApiError {
        field: Some(error.field().to_owned()),
        ..ApiError::new(ErrorCode::Invalid, error.to_string())
    })?;
    let request = ApplyRequest {
        spec: parsed.spec,
        dry_run: args.dry_run,
        prune: args.prune,
        force: args.force,
        take_over: false,
        places: BTreeMap::new(),
    };
    let answer = client
        .change::<ChangesDocument>(Method::POST, "/v1/apply", &request, args.wait.timeout)
        .await;
    let document = answer.map_err(|error| placed(error, &args.file, &parsed.spans))?;
    printer.result(&document, &changes_page(&document));
    Ok(0)
}

fn read(file: &str) -> Result<String, ApiError> {
    let wrong = |text: String| ApiError::new(ErrorCode::Invalid, text);
    let source: io::Result<Box<dyn Read>> = if file == "-" {
        Ok(Box::new(io::stdin()))
    } else {
        File::open(file).map(|file| Box::new(file) as _)
    };
    let mut bytes = Vec::new();
    // One byte more than may be, so that a file that is too large is seen as such.
    let read = source.and_then(|source| source.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| wrong(format!("{file}: {error}; name a stack file with -f, or - for stdin")))?;
    String::from_utf8(bytes).map_err(|_| wrong(format!("{file}: it is not UTF-8 text; a stack file is YAML")))
}

/// The agent names a field; the file knows its line.
pub(super) fn placed(error: ApiError, file: &str, spans: &Spans) -> ApiError {
    let Some((field, place)) = error
        .field
        .as_ref()
        .and_then(|field| Some((field, spans.locate(field)?)))
    else {
        return error;
    };
    let file = if file == "-" { "<stdin>" } else { file };
    let message = format!("{file}:{}:{}: {field}: {}", place.line, place.column, error.message);
    ApiError { message, ..error }
}
