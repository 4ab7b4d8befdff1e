//! `switcher split`.

use std::collections::BTreeMap;

use hyper::Method;

use super::End;
use super::client::Client;
use super::page::finish;
use super::printer::Printer;
use super::wait::WaitArgs;
use crate::api::{ApiError, ErrorCode, SplitRequest};
use crate::model::{AliasName, Receipt, SetName, Weight};

/// What `split` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The alias.
    alias: AliasName,
    /// A set's relative share of new flows, 0 to 1000; sets that are not named get 0.
    #[arg(value_name = "SET=WEIGHT", required = true, value_parser = share)]
    weights: Vec<(SetName, Weight)>,
    #[command(flatten)]
    wait: WaitArgs,
}

fn share(text: &str) -> Result<(SetName, Weight), String> {
    let (set, weight) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' is not SET=WEIGHT; write it as v1=50"))?;
    let set = set.parse::<SetName>().map_err(|error| error.to_string())?;
    let weight = weight.parse::<Weight>().map_err(|error| error.to_string())?;
    Ok((set, weight))
}

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let mut weights = BTreeMap::new();
    for (set, weight) in args.weights {
        if weights.insert(set.clone(), weight).is_some() {
            return Err(ApiError::new(
                ErrorCode::Invalid,
                format!("set '{set}' is named twice; give it one weight"),
            ));
        }
    }
    let path = format!("/v1/aliases/{}/split", args.alias);
    let receipt: Receipt = client
        .change(Method::POST, &path, &SplitRequest { weights }, args.wait.timeout)
        .await?;
    Ok(finish(&receipt, printer))
}
