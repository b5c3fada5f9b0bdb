//! `update lock list|show|restore`: the flake.lock files that were kept.

use super::{place, pull_request_left, put_right, told};
use crate::cli::{Global, LockAction};
use crate::command::launch;
use crate::command::report::show;
use crate::error::Error;
use crate::event::harmless;
use crate::exit::Exit;
use crate::report::inputs::{self, Input, Kept, Moved};
use crate::report::{self, Format, Look, choice};
use crate::update::keep::{Id, Keep};
use crate::update::lock::{Lock, Locked, Move, moves};
use crate::world::World;

const DAY_S: i64 = 86_400;

/// Does it.
///
/// # Errors
/// When there is no lock, or the one that is meant was not kept.
pub(super) fn run(world: &World, global: &Global, action: &LockAction) -> Result<Exit, Error> {
    let setting = launch::setting(global);
    let look = choice::look(&setting, &world.environment);
    let place = place(world, global)?;
    match action {
        LockAction::List => list(&place.keep, setting.format, &look),
        LockAction::Show(args) => display(&place.keep, args.id.as_deref(), setting.format, &look),
        LockAction::Restore(args) => {
            let keep = place.keep.hold().map_err(|e| told(&e))?;
            let cut_off = keep.journal().map_err(|e| told(&e))?.is_some();
            let open = put_right(world, &keep);
            match (open, args.id.as_deref()) {
                // Whoever names a lock decides what nothing here can tell.
                (Err(error), Some(id)) if error.exit == Exit::Unknown => {
                    let exit = restore(&keep, Some(id))?;
                    let journal = keep.journal().map_err(|e| told(&e))?;
                    keep.finish().map_err(|e| told(&e))?;
                    journal.iter().for_each(pull_request_left);
                    Ok(exit)
                }
                (Err(error), _) => Err(error),
                // What was cut off is put right by now; nobody meant one more step back.
                (Ok(()), None) if cut_off => Ok(Exit::Done),
                (Ok(()), id) => restore(&keep, id),
            }
        }
    }
}

fn list(keep: &Keep, format: Format, look: &Look) -> Result<Exit, Error> {
    let current = keep.current().map_err(|e| told(&e))?;
    let (here, lock) = (Id::of(&current), Lock::parse(&current).ok());
    let kept = keep.list().into_iter().map(|backup| {
        let other = keep.bytes(&backup.id).ok().and_then(|b| Lock::parse(&b).ok());
        let differs = lock.as_ref().zip(other.as_ref());
        let differs = differs.map(|(old, new)| moves(old, new).iter().map(moved).collect());
        let (id, in_place) = (backup.id.as_str().to_owned(), backup.id == here);
        Kept { id, kept_ms: backup.kept_ms, in_place, moves: differs }
    });
    let kept: Vec<Kept> = kept.collect();
    if format == Format::Json {
        return show(&document("kept", &kept));
    }
    if kept.is_empty() {
        report::err("no flake.lock was kept yet: updates keep the one that they replace\n");
        return Ok(Exit::Done);
    }
    show(&(inputs::kept(&kept, look).join("\n") + "\n"))
}

fn display(keep: &Keep, id: Option<&str>, format: Format, look: &Look) -> Result<Exit, Error> {
    let bytes = match id {
        Some(word) => keep.find(word).and_then(|id| keep.bytes(&id)),
        None => keep.current(),
    };
    let bytes = bytes.map_err(|e| told(&e))?;
    let lock = Lock::parse(&bytes).map_err(|why| {
        Error::usage("it is no lock file").because(harmless::line(&why)).hint("nix flake lock")
    })?;
    let listed: Vec<Input> = lock.inputs().into_keys().map(|name| input(&lock, name)).collect();
    if format == Format::Json {
        return show(&document("inputs", &listed));
    }
    let head = format!("flake.lock {}\n", Id::of(&bytes).short());
    show(&(head + &inputs::locked(&listed, look).join("\n") + "\n"))
}

fn document<T: serde::Serialize>(key: &str, value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    serde_json::json!({ "schema": 1, key: value }).to_string() + "\n"
}

fn restore(keep: &Keep, id: Option<&str>) -> Result<Exit, Error> {
    let here = Id::of(&keep.current().map_err(|e| told(&e))?);
    let id = match id {
        Some(word) => keep.find(word).map_err(|e| told(&e))?,
        None => {
            let newest = keep.list().into_iter().map(|b| b.id).find(|id| *id != here);
            newest.ok_or_else(|| {
                Error::usage("no other flake.lock was kept").hint("git log -- flake.lock")
            })?
        }
    };
    if id == here {
        report::err(&format!("flake.lock is {} already\n", id.short()));
        return Ok(Exit::Done);
    }
    let replaced = keep.restore(&id).map_err(|e| told(&e))?;
    report::err(&format!(
        "flake.lock is {} again; the one it replaced: nixdeploy update lock restore {}\n",
        id.short(),
        replaced.short()
    ));
    Ok(Exit::Done)
}

fn input(lock: &Lock, name: &str) -> Input {
    let follows = lock.follows(name);
    let locked = lock.locked(name).filter(|_| follows.is_none());
    Input {
        input: harmless::line(name),
        rev: locked.and_then(commit),
        date: locked.and_then(date),
        follows: follows.map(|f| harmless::line(&f)),
    }
}

/// What moves, as it is shown.
pub(super) fn moved(moved: &Move) -> Moved {
    let (from, to) = (moved.from.as_ref(), moved.to.as_ref());
    let modified = |locked: Option<&Locked>| locked.and_then(|l| l.last_modified);
    let days = modified(from).zip(modified(to));
    Moved {
        input: harmless::line(&moved.input),
        from: from.and_then(commit),
        from_date: from.and_then(date),
        to: to.and_then(commit),
        to_date: to.and_then(date),
        days: days.map(|(from, to)| to.saturating_sub(from) / DAY_S),
        compare: from.zip(to).and_then(|(from, to)| from.compare(to)),
    }
}

/// A commit, or what else tells one content from another.
fn commit(locked: &Locked) -> Option<String> {
    let hash = || locked.nar_hash.as_deref().map(|h| h.chars().take(14).collect::<String>());
    locked.short().map(str::to_owned).or_else(hash).map(|word| harmless::line(&word))
}

fn date(locked: &Locked) -> Option<String> {
    let at = jiff::Timestamp::from_second(locked.last_modified?).ok()?;
    Some(at.strftime("%Y-%m-%d").to_string())
}
