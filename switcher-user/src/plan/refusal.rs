//! Why a change is refused. Nothing has changed when one is returned.

use std::net::IpAddr;

use thiserror::Error;

use crate::model::{
    ALIASES_MAX, AliasName, BACKENDS_PER_SET_MAX, BackendAddress, LISTENERS_PER_ALIAS_MAX, Listener,
    SETS_PER_ALIAS_MAX, SetName, StackName,
};

/// Why a change is refused, with what to do about it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// No such alias.
    #[error("there is no alias '{alias}'; {known}")]
    UnknownAlias {
        /// The name that was given.
        alias: AliasName,
        /// A sentence that lists those there are.
        known: String,
    },
    /// No such set.
    #[error("alias '{alias}' has no set '{set}'; {known}")]
    UnknownSet {
        /// The alias.
        alias: AliasName,
        /// The name that was given.
        set: SetName,
        /// A sentence that lists those there are.
        known: String,
    },
    /// A split names a set that is not there.
    #[error("the split names set '{set}', which alias '{alias}' does not have; {known}")]
    UnknownSetInSplit {
        /// The alias.
        alias: AliasName,
        /// The name that was given.
        set: SetName,
        /// A sentence that lists those there are.
        known: String,
    },
    /// An upgrade that nobody has confirmed may have to go back.
    #[error(
        "set '{set}' of alias '{alias}' is what `switcher rollback {alias}` goes back to, and the upgrade from it is not confirmed; run: switcher confirm {alias}"
    )]
    Unconfirmed {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
    },
    /// Numbers of a health check.
    #[error("the health check of set '{set}' of alias '{alias}' makes no sense: {mistake}")]
    Health {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
        /// What is wrong.
        mistake: &'static str,
    },
    /// An alias without a listener.
    #[error("alias '{alias}' has no listener; give it one, as 198.51.100.10:80/tcp")]
    NoListeners {
        /// The alias.
        alias: AliasName,
    },
    /// A listener on loopback.
    #[error(
        "listener {listener} of alias '{alias}' is a loopback address, which only this host itself can reach: requests made on the host itself are not switched in this version; name an address that clients come to"
    )]
    ListenerIsLoopback {
        /// The alias.
        alias: AliasName,
        /// Where it stands in the list.
        index: usize,
        /// The listener.
        listener: Listener,
    },
    /// A listener that would take the clients of what this host is managed by.
    #[error(
        "listener {listener} of alias '{alias}' would take the clients of {service} on this host, new connections to {who}; name another address or port, or, if that is wanted, run the command again with --force"
    )]
    ListenerShadows {
        /// The alias.
        alias: AliasName,
        /// Where it stands in the list.
        index: usize,
        /// The listener.
        listener: Listener,
        /// `SSH`, `etcd`, or `this agent`.
        service: &'static str,
        /// Process, pid and address.
        who: String,
    },
    /// The address of a listener that was to be added.
    #[error("{address}, where alias '{alias}' listens, cannot be added to this host: {why}")]
    NoAddress {
        /// The alias.
        alias: AliasName,
        /// Where the listener stands in the list.
        index: usize,
        /// The address.
        address: IpAddr,
        /// Why not, and what to do.
        why: String,
    },
    /// Another alias has the listener.
    #[error("listener {listener} is claimed twice, by alias '{alias}' and by alias '{other}'; give it to one of them")]
    ListenerClaimed {
        /// The alias that asks for it.
        alias: AliasName,
        /// Where it stands in the alias's list.
        index: usize,
        /// The listener.
        listener: Listener,
        /// The alias that has it.
        other: AliasName,
    },
    /// The alias names the listener two times.
    #[error("alias '{alias}' names listener {listener} twice; remove one")]
    ListenerTwice {
        /// The alias.
        alias: AliasName,
        /// Where it stands in the list.
        index: usize,
        /// The listener.
        listener: Listener,
    },
    /// The set has no backend.
    #[error("set '{set}' of alias '{alias}' has no backends; give it at least one, or remove the set")]
    NoBackends {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
    },
    /// The set names a backend two times.
    #[error("set '{set}' of alias '{alias}' names backend {backend} twice; remove one")]
    BackendTwice {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
        /// Where it stands in the list.
        index: usize,
        /// The backend.
        backend: BackendAddress,
    },
    /// The backend is a listener.
    #[error(
        "backend {backend} of set '{set}' is a listener of alias '{other}': packets would go round in circles; name where the application itself listens"
    )]
    BackendIsListener {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
        /// Where it stands in the list.
        index: usize,
        /// The backend.
        backend: BackendAddress,
        /// The alias that listens there.
        other: AliasName,
    },
    /// A loopback address as a backend, and what that needs is not there.
    #[error(
        "backend {backend} of set '{set}' is a loopback address of this host, and {why}; or let the process listen on another address of this host, and name that"
    )]
    NoSocket {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
        /// Where it stands in the list.
        index: usize,
        /// The backend.
        backend: BackendAddress,
        /// Why it cannot be, and what to do.
        why: String,
    },
    /// `--hook xdp` and an interface where it cannot be right.
    #[error("interface '{interface}' cannot have the XDP hook: {why}; start the agent with --hook tc or --hook auto")]
    NoXdp {
        /// The interface.
        interface: String,
        /// Why not.
        why: String,
    },
    /// `--path bypass` and a backend that cannot be reached so.
    #[error(
        "path bypass of alias '{alias}' is impossible for backend {backend} of set '{set}': {why}; use --path auto or --path stack"
    )]
    NoBypass {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
        /// Where it stands in the list.
        index: usize,
        /// The backend.
        backend: BackendAddress,
        /// What lies between.
        why: String,
    },
    /// A set with a share lacks a family.
    #[error(
        "set '{set}' has a share of alias '{alias}' but no {family} backend, and the alias listens on {listener}; nothing translates between families: give the set an {family} backend, or remove the listener"
    )]
    FamilyMismatch {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
        /// A listener of the family.
        listener: Listener,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// All weights are 0.
    #[error("the split of alias '{alias}' gives no set a share; give at least one set a weight above 0")]
    SplitZero {
        /// The alias.
        alias: AliasName,
    },
    /// A new alias without a split.
    #[error("alias '{alias}' is new and has no split; say who gets its flows, as split: {{v1: 100}}")]
    SplitMissing {
        /// The alias.
        alias: AliasName,
    },
    /// `upgrade` without `--from` where it is not clear.
    #[error("alias '{alias}' has several sets with a share: {sets}; say which one is upgraded, with --from")]
    AmbiguousFrom {
        /// The alias.
        alias: AliasName,
        /// Their names.
        sets: String,
    },
    /// Nobody has a share.
    #[error("no set of alias '{alias}' has a share; give the first one with: switcher split {alias} SET=100")]
    NobodyHasShare {
        /// The alias.
        alias: AliasName,
    },
    /// FROM has no share.
    #[error("set '{set}' of alias '{alias}' has no share to give; with a share: {sets}")]
    FromHasNoShare {
        /// The alias.
        alias: AliasName,
        /// FROM.
        set: SetName,
        /// The sets that have one.
        sets: String,
    },
    /// FROM is TO.
    #[error("--from and --to both name set '{set}'; name two sets")]
    FromIsTo {
        /// The set.
        set: SetName,
    },
    /// Nothing to go back to.
    #[error("alias '{alias}' has no earlier split to go back to")]
    NoPrevious {
        /// The alias.
        alias: AliasName,
    },
    /// The earlier split's set is gone.
    #[error(
        "alias '{alias}' cannot go back to {split}: set '{set}' was removed; put it back with: switcher set put {alias} {set} --backend ADDR:PORT"
    )]
    PreviousSetGone {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
        /// The earlier split.
        split: String,
    },
    /// The set has a share.
    #[error("set '{set}' of alias '{alias}' gets new flows ({split}); give its share to another set first")]
    SetHasShare {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
        /// The split.
        split: String,
    },
    /// The set has flows.
    #[error(
        "set '{set}' of alias '{alias}' still carries {flows} flow(s); wait until they end (switcher status {alias}), then remove it"
    )]
    SetHasFlows {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
        /// How many.
        flows: u64,
    },
    /// Another stack owns the alias.
    #[error("alias '{alias}' belongs to stack '{owner}', not to '{stack}'; rename it here, or remove it there first")]
    OtherStack {
        /// The alias.
        alias: AliasName,
        /// Who owns it.
        owner: StackName,
        /// Who asks.
        stack: StackName,
    },
    /// Too many aliases.
    #[error("{count} aliases are more than the {max} one agent carries; remove some", max = ALIASES_MAX)]
    TooManyAliases {
        /// How many.
        count: usize,
    },
    /// Too many listeners.
    #[error("alias '{alias}' has {count} listeners, more than {max}; split it into two aliases", max = LISTENERS_PER_ALIAS_MAX)]
    TooManyListeners {
        /// The alias.
        alias: AliasName,
        /// How many.
        count: usize,
    },
    /// Too many sets.
    #[error("alias '{alias}' has {count} sets, more than {max}; remove old ones", max = SETS_PER_ALIAS_MAX)]
    TooManySets {
        /// The alias.
        alias: AliasName,
        /// How many.
        count: usize,
    },
    /// Too many backends.
    #[error("set '{set}' of alias '{alias}' has {count} backends, more than {max}; spread them over two sets", max = BACKENDS_PER_SET_MAX)]
    TooManyBackends {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
        /// How many.
        count: usize,
    },
    /// All numbers of sets are in use.
    #[error(
        "all {max} set numbers are in use by sets or by flows of removed ones; remove sets, or wait until flows end"
    )]
    SetNumbersUsedUp {
        /// How many there are.
        max: u32,
    },
    /// All numbers of aliases or backends were given once.
    #[error("all numbers of {what} were given once; detach and start with an empty state directory")]
    NumbersUsedUp {
        /// `aliases` or `backends`.
        what: &'static str,
    },
    /// The pool has no address left.
    #[error(
        "all addresses of the pool {pool} are given; start the agent with a larger --pool, or name the alias's address"
    )]
    PoolUsedUp {
        /// The range.
        pool: String,
    },
    /// The host has no address that an alias could be published at.
    #[error(
        "the interfaces {edges} have no IPv4 address to publish alias '{alias}' at; name an address, as \"198.51.100.10:8000:80\""
    )]
    NowhereToPublish {
        /// The alias.
        alias: AliasName,
        /// Their names.
        edges: String,
    },
    /// A backend was not looked at.
    #[error("the route to backend {address} is not known yet; try again")]
    NotObserved {
        /// Its address.
        address: IpAddr,
    },
}

impl Refusal {
    /// The field that it is about, as a path into a stack file: `aliases.web.listen[0]`.
    #[must_use]
    pub fn field(&self) -> Option<String> {
        let alias = |alias: &AliasName| Some(format!("aliases.{alias}"));
        let listen = |alias: &AliasName, index: &usize| Some(format!("aliases.{alias}.listen[{index}]"));
        let split = |alias: &AliasName| Some(format!("aliases.{alias}.split"));
        let set = |alias: &AliasName, set: &SetName| Some(format!("aliases.{alias}.sets.{set}"));
        match self {
            Self::ListenerClaimed { alias, index, .. }
            | Self::ListenerTwice { alias, index, .. }
            | Self::ListenerShadows { alias, index, .. }
            | Self::NoAddress { alias, index, .. }
            | Self::ListenerIsLoopback { alias, index, .. } => listen(alias, index),
            Self::NoListeners { alias } | Self::TooManyListeners { alias, .. } => {
                Some(format!("aliases.{alias}.listen"))
            }
            Self::UnknownSetInSplit { alias, set, .. } => Some(format!("aliases.{alias}.split.{set}")),
            Self::SplitZero { alias } | Self::SplitMissing { alias } => split(alias),
            Self::NoBackends { alias, set } | Self::TooManyBackends { alias, set, .. } => {
                Some(format!("aliases.{alias}.sets.{set}.backends"))
            }
            Self::BackendTwice { alias, set, index, .. }
            | Self::BackendIsListener { alias, set, index, .. }
            | Self::NoSocket { alias, set, index, .. }
            | Self::NoBypass { alias, set, index, .. } => Some(format!("aliases.{alias}.sets.{set}.backends[{index}]")),
            Self::FamilyMismatch { alias, set: name, .. }
            | Self::SetHasShare { alias, set: name, .. }
            | Self::Unconfirmed { alias, set: name }
            | Self::Health { alias, set: name, .. }
            | Self::SetHasFlows { alias, set: name, .. }
            | Self::UnknownSet { alias, set: name, .. }
            | Self::PreviousSetGone { alias, set: name, .. }
            | Self::FromHasNoShare { alias, set: name, .. } => set(alias, name),
            Self::TooManySets { alias, .. } => Some(format!("aliases.{alias}.sets")),
            Self::UnknownAlias { alias: name, .. }
            | Self::AmbiguousFrom { alias: name, .. }
            | Self::NobodyHasShare { alias: name }
            | Self::NoPrevious { alias: name }
            | Self::OtherStack { alias: name, .. } => alias(name),
            Self::TooManyAliases { .. } => Some("aliases".to_owned()),
            Self::NowhereToPublish { alias: name, .. } => alias(name),
            Self::FromIsTo { .. }
            | Self::PoolUsedUp { .. }
            | Self::SetNumbersUsedUp { .. }
            | Self::NumbersUsedUp { .. }
            | Self::NoXdp { .. }
            | Self::NotObserved { .. } => None,
        }
    }
}

/// A sentence that lists names: `it has: v1, v2`.
pub(super) fn known<N: std::fmt::Display>(what: &str, names: impl Iterator<Item = N>) -> String {
    const NAMES_MAX: usize = 20;
    let mut names = names.map(|name| name.to_string());
    let shown: Vec<String> = names.by_ref().take(NAMES_MAX).collect();
    let more = if names.next().is_some() { " and more" } else { "" };
    if shown.is_empty() {
        format!("{what}: none")
    } else {
        format!("{what}: {}{more}", shown.join(", "))
    }
}
