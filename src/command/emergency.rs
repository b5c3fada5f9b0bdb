//! `emergency HOST`: a person types the host's name and waives the checks; nixos-rebuild switches,
//! and the guard takes it back unless a quick look finds the host well.

use std::sync::Arc;

use super::deploy::{self, Preset};
use super::inventory;
use super::launch::{self, Terms};
use crate::cli::{DeployFlags, EmergencyArgs};
use crate::error::Error;
use crate::event::harmless;
use crate::exit::Exit;
use crate::fleet::{Fleet, HostName};
use crate::plan::Request;
use crate::validate::Consent;
use crate::world::{Environment, World};

const TOLD: &str = "\
emergency: the tree is not checked, the sums and the rehearsal forbid nothing.
Where there is a nixos-rebuild it sets the boot default before anybody has looked
at the new system, and a power cut until then boots it; without one, our own
activation does not. The guard takes it back as after any deploy.
";

/// Deploys.
///
/// # Errors
/// When it cannot begin, or nobody typed the host's name.
pub(super) async fn run(
    world: &World,
    typed: &deploy::Typed<'_>,
    args: &EmergencyArgs,
) -> Result<Exit, Error> {
    let fleet = inventory::load(&world.environment, typed.global)?;
    let host = one(&fleet, &args.host)?;
    let consent = consent(world, &host, args.confirm.as_deref()).await?;
    let flags = DeployFlags {
        build_on: args.flags.build_on.clone(),
        cached: args.flags.cached,
        issue: args.issue,
        message: args.message.clone(),
        ..DeployFlags::default()
    };
    let preset: Preset = deploy::preset("emergency");
    let request = deploy::request(&preset, typed.global, &flags, &fleet)?;
    let request = Request { emergency: true, external: true, ..request };
    let world = confirmed(world, &host, args);
    let terms = Terms { consent: Some(consent), ..Terms::default() };
    Ok(launch::launch_with(&world, typed.global, fleet, &[host], request, terms).await?.0)
}

/// The host that is named; a pattern is no name here.
fn one(fleet: &Fleet, word: &str) -> Result<HostName, Error> {
    if let Some(host) = fleet.host(word) {
        return Ok(host.name.clone());
    }
    inventory::hosts(fleet, &[word.to_owned()], &[], None)?;
    let shown = harmless::line(word);
    Err(Error::usage(format!("an emergency is about one host: '{shown}' is no name")))
}

/// The name, typed once more.
async fn consent(world: &World, host: &HostName, given: Option<&str>) -> Result<Consent, Error> {
    let again = format!("nixdeploy emergency {host} --confirm {host}");
    let who = &world.environment.operator;
    let by = |typed: &str| Consent::typed(host, typed, who, "emergency");
    if let Some(given) = given {
        let shown = harmless::line(given);
        let error = Error::usage(format!("--confirm names '{shown}', and not {host}"));
        return by(given).ok_or(error.hint(again));
    }
    if !world.prompt.allowed() {
        let text = "an emergency skips the checks: it wants the host's name once more";
        return Err(Error::usage(text).hint(again));
    }
    crate::report::err(TOLD);
    let (prompt, question) = (world.prompt.clone(), format!("Type the host's name ({host})"));
    let answer = tokio::task::spawn_blocking(move || prompt.line(&question)).await;
    let answer = answer.ok().flatten().unwrap_or_default();
    by(&answer).ok_or_else(|| {
        Error::new(Exit::Declined, "that is not the host's name: it is unchanged")
            .hint(format!("with the checks: nixdeploy deploy-fast {host}"))
    })
}

/// What this process was told is told to the unit too that deploys the machine we are on.
fn confirmed(world: &World, host: &HostName, args: &EmergencyArgs) -> World {
    let mut arguments = world.environment.arguments.clone();
    // One name for it in what is kept, whichever was typed.
    if let Some(word) = arguments.iter_mut().find(|word| *word == "emergency-deploy") {
        "emergency".clone_into(word);
    }
    if args.confirm.is_none() {
        arguments.extend(["--confirm".to_owned(), host.to_string()]);
    }
    let environment = Arc::new(Environment { arguments, ..(*world.environment).clone() });
    World { environment, ..world.clone() }
}
