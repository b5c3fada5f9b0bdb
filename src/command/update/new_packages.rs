//! `update new-packages`: names that nixpkgs gains and loses with an update.

use std::collections::BTreeSet;

use serde::Serialize;

use super::asked::Which;
use super::find::find;
use super::{Place, held, place};
use crate::cli::{Global, NewPackagesArgs};
use crate::command::launch;
use crate::command::report::show;
use crate::error::Error;
use crate::event::harmless;
use crate::exit::Exit;
use crate::report::look::count;
use crate::report::{self, Format, Look, choice};
use crate::update::packages::names;
use crate::world::World;
use crate::world::signals::Signals;

/// Names that are shown without `--all`.
const SHOWN: usize = 40;

/// What comes and goes.
#[derive(Debug, Default, Serialize)]
struct Packages {
    schema: u32,
    input: String,
    added: Vec<String>,
    removed: Vec<String>,
}

/// Shows them.
///
/// # Errors
/// When the input is none, or its packages cannot be listed.
pub(super) async fn run(
    world: &World,
    global: &Global,
    args: &NewPackagesArgs,
) -> Result<Exit, Error> {
    let mut signals = Signals::listen()
        .map_err(|e| Error::new(Exit::Internal, "cannot listen to signals").because(e))?;
    let packages = tokio::select! {
        packages = look(world, global, args) => packages?,
        _ = signals.next() => return Ok(Exit::Interrupted),
    };
    let setting = launch::setting(global);
    let shape = choice::look(&setting, &world.environment);
    if setting.format == Format::Json {
        return show(&(serde_json::to_string(&packages).unwrap_or_default() + "\n"));
    }
    show(&page(&packages, args.all, &shape))
}

async fn look(world: &World, global: &Global, args: &NewPackagesArgs) -> Result<Packages, Error> {
    let Place { fleet, flake, keep } = place(world, global)?;
    let keep = held(world, keep)?;
    let input = args.input.clone();
    let wanted = Which { inputs: vec![input.clone()], ..Which::default() };
    let found = find(world, &fleet, &flake, &keep, &wanted).await?;
    let input = harmless::line(&input);
    let empty = Packages { schema: 1, input: input.clone(), ..Packages::default() };
    if found.moves.is_empty() {
        report::err(&format!("{input} is current already\n"));
        return Ok(empty);
    }
    let (Some(old), Some(new)) = found.both(&args.input) else { return Ok(empty) };
    let system = format!("{}-linux", std::env::consts::ARCH);
    let (old, new) = tokio::join!(names(world, old, &system), names(world, new, &system));
    let told = |why: String| {
        Error::new(Exit::NotBuilt, format!("the packages of {input} cannot be listed"))
            .because(why)
            .hint("name the input that is a nixpkgs: --input INPUT")
    };
    let (old, new) = (old.map_err(told)?, new.map_err(told)?);
    let only = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
        one.difference(other).cloned().collect::<Vec<_>>()
    };
    Ok(Packages { added: only(&new, &old), removed: only(&old, &new), ..empty })
}

fn page(packages: &Packages, all: bool, look: &Look) -> String {
    let mut lines = Vec::new();
    for (title, names) in [("new", &packages.added), ("gone", &packages.removed)] {
        lines.push(format!("{} {title}", count(names.len(), "package", "packages")));
        let most = if all { usize::MAX } else { SHOWN };
        let mut words: Vec<&str> = names.iter().take(most).map(String::as_str).collect();
        let more = format!("and {} more (--all)", names.len().saturating_sub(most));
        if names.len() > most {
            words.push(&more);
        }
        if !words.is_empty() {
            lines.extend(look.wrap("  ", "  ", &words.join(" ")));
        }
    }
    lines.join("\n") + "\n"
}
