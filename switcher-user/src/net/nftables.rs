//! Rules of nftables, iptables-nft's included, that a redirected packet would walk past.

use std::collections::{BTreeMap, BTreeSet};

use super::NetError;
use super::nfnetlink::{self, Handle, Message};

// linux/netfilter/nf_tables.h
const GET_TABLE: u16 = 1;
const GET_CHAIN: u16 = 4;
const GET_RULE: u16 = 7;
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_DORMANT: u32 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
/// `NF_DROP` of linux/netfilter.h.
const POLICY_DROP: u32 = 0;

/// Most chains named; the rest is counted.
const SENTENCES_MAX: usize = 32;

/// A chain: family, table, chain.
type ChainId = (u8, String, String);

/// A sentence for each base chain that has rules or drops by policy. An empty chain that accepts says nothing.
pub(super) async fn sentences(handle: &Handle) -> Result<Vec<String>, NetError> {
    let tables = nfnetlink::list(handle, GET_TABLE, "the tables of nftables").await?;
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let chains = nfnetlink::list(handle, GET_CHAIN, "the chains of nftables").await?;
    let rules = nfnetlink::list(handle, GET_RULE, "the rules of nftables").await?;
    Ok(bounded(judge(&tables, &chains, &rules)))
}

fn judge(tables: &[Message], chains: &[Message], rules: &[Message]) -> Vec<String> {
    // The chains of a dormant table hook nothing.
    let dormant: BTreeSet<(u8, String)> = tables
        .iter()
        .filter(|table| table.number(TABLE_FLAGS).unwrap_or(0) & TABLE_DORMANT != 0)
        .filter_map(|table| Some((table.family, table.text(TABLE_NAME)?)))
        .collect();
    let mut rule_counts: BTreeMap<ChainId, usize> = BTreeMap::new();
    for chain in rules.iter().filter_map(|rule| chain_id(rule, RULE_TABLE, RULE_CHAIN)) {
        *rule_counts.entry(chain).or_default() += 1;
    }
    let base_chains: BTreeMap<ChainId, bool> = chains
        .iter()
        .filter(|chain| chain.attribute(CHAIN_HOOK).is_some())
        .filter_map(|chain| {
            let drops = chain.number(CHAIN_POLICY) == Some(POLICY_DROP);
            Some((chain_id(chain, CHAIN_TABLE, CHAIN_NAME)?, drops))
        })
        .collect();
    let said = base_chains.into_iter().filter_map(|((family, table, chain), drops)| {
        let family_name = family_name(family)?;
        if dormant.contains(&(family, table.clone())) {
            return None;
        }
        let rules = rule_counts
            .get(&(family, table.clone(), chain.clone()))
            .copied()
            .unwrap_or(0);
        let what = match (rules, drops) {
            (0, false) => return None,
            (0, true) => "policy drop".to_owned(),
            (_, false) => counted(rules),
            (_, true) => format!("{} and policy drop", counted(rules)),
        };
        Some(format!(
            "nftables: table {family_name} {table}, chain {chain} has {what}"
        ))
    });
    said.collect()
}

fn chain_id(message: &Message, table: u16, chain: u16) -> Option<ChainId> {
    Some((message.family, message.text(table)?, message.text(chain)?))
}

fn counted(rules: usize) -> String {
    if rules == 1 {
        "1 rule".to_owned()
    } else {
        format!("{rules} rules")
    }
}

/// The family's name, if its chains see IP packets that pass this host (`NFPROTO_*`; ARP's do not).
const fn family_name(family: u8) -> Option<&'static str> {
    match family {
        1 => Some("inet"),
        2 => Some("ip"),
        5 => Some("netdev"),
        7 => Some("bridge"),
        10 => Some("ip6"),
        _ => None,
    }
}

fn bounded(mut sentences: Vec<String>) -> Vec<String> {
    if sentences.len() > SENTENCES_MAX {
        let omitted_count = sentences.len() - SENTENCES_MAX;
        sentences.truncate(SENTENCES_MAX);
        sentences.push(format!("nftables: {omitted_count} more chains have rules"));
    }
    sentences
}
