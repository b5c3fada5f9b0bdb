//! An update that deploys is two runs, one that builds and one that deploys what was built: in the
//! history it is one row.
//!
//! The deploy's message names the build, also where a unit of this machine deploys, which knows no
//! more than what would be typed.

use super::store::Entry;

/// What stands in a message before the name of the run that built.
const BUILT_BY: &str = ", built by run ";

/// The end of a deploy's message.
pub fn built_by(run: &str) -> String {
    format!("{BUILT_BY}{run}")
}

/// The run that built what this one deployed, by its message.
fn build_of(entry: &Entry) -> Option<&str> {
    let flag = entry.command.iter().position(|word| word == "--message")?;
    let (_, run) = entry.command.get(flag + 1)?.rsplit_once(BUILT_BY)?;
    Some(run)
}

/// Of these runs, all of them kept, the rows: a deploy takes in the build that it names.
///
/// It is shown under what was typed, from when the build began, with the time of both.
pub fn rows(entries: Vec<Entry>, kept: &[Entry]) -> Vec<Entry> {
    let build = |deploy: &Entry| {
        let named = build_of(deploy)?;
        // A message may say what it likes: only what an update began is a part of one.
        let update =
            |e: &&Entry| e.run == named && e.command.first().is_some_and(|w| w == "update");
        kept.iter().find(update).filter(|build| build.started_ms <= deploy.started_ms)
    };
    let pairs: Vec<(&Entry, &Entry)> =
        entries.iter().filter_map(|deploy| Some((deploy, build(deploy)?))).collect();
    let taken_in = |entry: &Entry| pairs.iter().any(|(_, build)| build.run == entry.run);
    let row = |entry: &Entry| match pairs.iter().find(|(deploy, _)| deploy.run == entry.run) {
        Some((deploy, build)) => of_both(deploy, build),
        None => entry.clone(),
    };
    entries.iter().filter(|entry| !taken_in(entry)).map(row).collect()
}

fn of_both(deploy: &Entry, build: &Entry) -> Entry {
    let left = build.names.iter().filter(|name| !deploy.names.contains(name));
    let left: Vec<&str> = left.map(|name| name.as_str()).collect();
    let left = if left.is_empty() { String::new() } else { format!("; held: {}", left.join(", ")) };
    Entry {
        started_ms: build.started_ms,
        took_ms: build.took_ms.saturating_add(deploy.took_ms),
        command: build.command.clone(),
        result: format!("{}{left}", deploy.result),
        ..deploy.clone()
    }
}
