//! Which input brings the trouble: told by evaluating candidates in which only some of the inputs
//! move. Nothing is built for it.

use super::asked::{Update, Which};
use super::find::Found;
use super::gate::Trouble;
use super::preview;
use crate::event::harmless;
use crate::package::StoreName;
use crate::report;
use crate::update::candidate::{Wanted, candidate};
use crate::update::chosen::Chosen;

/// Where trouble comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Culprit {
    /// This input alone, and others move without it.
    Input(String),
    /// Nixpkgs, and others move without it.
    Nixpkgs(String),
    /// This input, and no other moves.
    Only(String),
}

/// Traces what would be new to one input; `None`: there is nothing, or not one input alone.
pub(super) async fn culprit(
    update: &Update<'_>,
    which: &Which,
    found: &Found,
    troubles: &[Trouble],
) -> Option<Culprit> {
    let mut moving = found.own();
    moving.retain(|input| !which.except.contains(input));
    if troubles.is_empty() || moving.is_empty() {
        return None;
    }
    if let [only] = moving.as_slice() {
        return Some(Culprit::Only(only.clone()));
    }
    report::err("looking for the input that brings it\n");
    let nixpkgs = found.lock.nixpkgs_input().map(str::to_owned);
    let nixpkgs = nixpkgs.filter(|name| moving.contains(name));
    let mut rest: Vec<String> =
        moving.iter().filter(|i| Some(*i) != nixpkgs.as_ref()).cloned().collect();
    if let Some(nixpkgs) = nixpkgs
        && !brings(update, found, &rest, troubles).await?
    {
        return Some(Culprit::Nixpkgs(nixpkgs));
    }
    while rest.len() > 1 {
        let half = rest.split_off(rest.len() / 2);
        if brings(update, found, &half, troubles).await? {
            rest = half;
        }
    }
    let input = rest.pop()?;
    let alone = brings(update, found, std::slice::from_ref(&input), troubles).await?;
    alone.then_some(Culprit::Input(input))
}

/// Whether any of the trouble is there when only these inputs move; `None`: that is not known.
async fn brings(
    update: &Update<'_>,
    found: &Found,
    inputs: &[String],
    troubles: &[Trouble],
) -> Option<bool> {
    let draft = update.keep.part();
    let some = Chosen::Some(inputs.to_vec());
    let accept_flake_config = update.fleet.hosts.iter().any(|h| h.accept_flake_config);
    let (flake, lock) = (update.flake, &found.lock);
    let wanted = Wanted { flake, lock, chosen: &some, accept_flake_config, draft: &draft };
    let part = candidate(update.world, &wanted).await.ok()?;
    let mut hosts: Vec<_> = troubles.iter().map(|t| &t.host).collect();
    hosts.dedup();
    for name in hosts {
        let host = update.fleet.host(name.as_str())?;
        let graph = preview::graph(update, &part, host).await;
        let graph = graph.map_err(|why| {
            let why = harmless::line(&why);
            report::err(&format!("the input that brings it is not known: {why}\n"));
        });
        let graph = graph.ok()?;
        let read = graph.iter().map(|name| name.strip_suffix(".drv").unwrap_or(name));
        let there = read.filter_map(StoreName::parse).any(|read| {
            let mut of_host = troubles.iter().filter(|t| t.host == *name);
            of_host.any(|t| read.full() == t.package && read.version == t.version)
        });
        if there {
            return Some(true);
        }
    }
    Some(false)
}
