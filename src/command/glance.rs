//! Asking one host at a glance: over the connection that is there, and over a new one when that
//! is silent. Nothing is decided here and nothing changed.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::fleet::Host;
use crate::preflight::read::{self, Answered, Effort};
use crate::preflight::{Pins, Refused, admit_early};
use crate::world::World;
use crate::world::ssh::{Link, Target};

/// A shared connection that is silent for longer may be dead.
const SILENCE: Duration = Duration::from_secs(2);

/// Asks a host. Our shared connection may be to a machine that has gone since, which shows only
/// in its silence: then a new one, made beside it, tells.
pub(super) async fn glance(
    world: &World,
    host: &Host,
    effort: Effort,
) -> Result<Answered, Refused> {
    let targets = read::targets(host, world);
    let shared = targets.iter().any(|t| t.socket.as_ref().is_some_and(|s| s.exists()));
    let (early, mut heard) = oneshot::channel();
    let mut old = pin!(read::look(world, &targets, Link::Shared, effort, early));
    let answer = tokio::select! {
        answer = &mut old => match answer {
            Err(refused) if shared && refused.unreachable() => {
                anew(world, &targets, effort).await
            }
            answer => answer,
        },
        Ok(_) = &mut heard => old.await,
        () = world.clock.sleep(SILENCE), if shared => {
            let mut new = pin!(anew(world, &targets, effort));
            tokio::select! {
                answer = &mut new => answer,
                answer = &mut old => match answer {
                    Err(refused) if refused.unreachable() => new.await,
                    answer => answer,
                },
            }
        }
    };
    answer.and_then(|answered| right_host(world, host, answered))
}

async fn anew(world: &World, targets: &[Target], effort: Effort) -> Result<Answered, Refused> {
    read::look(world, targets, Link::Fresh, effort, oneshot::channel().0).await
}

/// Another machine under this name is not this host.
fn right_host(world: &World, host: &Host, answered: Answered) -> Result<Answered, Refused> {
    let pins = Pins::below(&world.environment.state);
    // A record that cannot be read forbids a deploy, not a look.
    let pin = pins.read(&host.name).ok().flatten();
    match admit_early(&answered.facts.early, pin.as_ref(), &pins.file(&host.name)) {
        Err(refused @ Refused::WrongHost { .. }) => Err(refused),
        _ => Ok(answered),
    }
}
