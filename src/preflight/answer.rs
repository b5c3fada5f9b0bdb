//! The answer of facts.sh to [`Facts`]: total, whatever the host says. What cannot be understood
//! becomes an [`Oddity`]; nothing is ever guessed.

use crate::event::facts::Disk;
use crate::event::harmless;
use crate::fleet::{Generation, StorePath};

use super::facts::{
    BootFile, Early, Entry, Facts, Guard, Kept, Loader, Space, Switching, System, Transaction,
};

/// The first line of every answer.
pub const FIRST: &str = "nixdeploy-facts=1";
/// The last line of the first part.
pub const PART: &str = "part=1";
/// The last line of every answer.
pub const LAST: &str = "end=0";
/// Entries kept of any list.
const MOST: usize = 8192;
/// Oddities kept.
const MOST_ODDITIES: usize = 50;
/// Characters kept of a text that is only compared.
const LONGEST: usize = 1 << 16;

/// A line that was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oddity {
    /// The line, harmless.
    pub line: String,
    /// What is odd about it.
    pub why: &'static str,
}

/// Reads an answer, or as much of it as there is.
pub fn parse<L: AsRef<str>>(lines: &[L]) -> (Facts, Vec<Oddity>) {
    let mut reader = Reader::default();
    // What comes before the first line is a login shell's greeting.
    let lines = lines.iter().map(L::as_ref).skip_while(|l| *l != FIRST).skip(1);
    for line in lines {
        reader.line(line);
    }
    reader.finish()
}

/// Reads the first part alone.
pub fn parse_early<L: AsRef<str>>(lines: &[L]) -> (Early, Vec<Oddity>) {
    let (facts, oddities) = parse(lines);
    (facts.early, oddities)
}

#[derive(Default)]
struct Reader {
    facts: Facts,
    oddities: Vec<Oddity>,
}

/// What became of a line: `Ok(true)` taken, `Ok(false)` not one of these keys.
type Taken = Result<bool, &'static str>;

impl Reader {
    fn line(&mut self, line: &str) {
        let Some((key, value)) = line.split_once('=') else {
            return self.odd(line, "no key");
        };
        let readers: [fn(&mut Facts, &str, &str) -> Taken; 6] =
            [early, machine, boot, system, leftovers, connection];
        for reader in readers {
            match reader(&mut self.facts, key, value) {
                Ok(true) => return,
                Ok(false) => {}
                Err(why) => return self.odd(line, why),
            }
        }
        self.odd(line, "unknown key");
    }

    fn odd(&mut self, line: &str, why: &'static str) {
        if self.oddities.len() < MOST_ODDITIES {
            self.oddities.push(Oddity { line: harmless::line(line), why });
        }
    }

    fn finish(mut self) -> (Facts, Vec<Oddity>) {
        let facts = &mut self.facts;
        facts.generations.sort_by_key(|g| g.generation);
        let tops = [&facts.early.pointers.running, &facts.early.pointers.booted];
        for (system, top) in [&mut facts.running, &mut facts.booted].into_iter().zip(tops) {
            let inside = top.as_ref().is_some_and(|t| system.modules.starts_with(t.as_str()));
            if inside {
                system.modules.clear();
            }
        }
        (self.facts, self.oddities)
    }
}

fn early(facts: &mut Facts, key: &str, value: &str) -> Taken {
    let early = &mut facts.early;
    match key {
        "running" => early.pointers.running = store_path(value)?,
        "booted" => early.pointers.booted = store_path(value)?,
        "profile" => early.pointers.profile = store_path(value)?,
        "boot_default" => early.pointers.boot_default = store_path(value)?,
        "link" => early.pointers.generation = Generation::of_link(value),
        "etc" => early.pointers.etc_matches = value == "1",
        "host" => early.hostname = harmless::line(value),
        "machine_id" => early.machine_id = harmless::line(value),
        "boot_id" => early.boot_id = harmless::line(value),
        "uid" => early.uid = Some(number(value)?),
        "nixos" => early.nixos = value == "1",
        "guard" => {
            early.guard = match value {
                "none" => Guard::None,
                "idle" => Guard::Idle,
                "busy" => Guard::Busy,
                "done" => Guard::Done,
                _ => return Err("unknown word"),
            }
        }
        "part" => {}
        "end" => facts.complete = value == "0",
        _ => return Ok(false),
    }
    Ok(true)
}

fn machine(facts: &mut Facts, key: &str, value: &str) -> Taken {
    match key {
        "uptime" => facts.uptime_s = number(value.split('.').next().unwrap_or(""))?,
        "now" => facts.now_s = number(value)?,
        "load" => facts.load.one = decimal(value)?,
        "cpus" => facts.load.cpus = number(value)?,
        "memory_total" => facts.load.memory_total_kib = number(value)?,
        "memory_available" => facts.load.memory_available_kib = number(value)?,
        "state" => facts.state = harmless::line(value),
        "systemctl" => facts.systemd = value == "1",
        "unit" => unit(facts, value)?,
        "service" => service(facts, value)?,
        "cursor" => facts.cursor = Some(harmless::line(value)),
        "missing" => push(&mut facts.missing, harmless::line(value))?,
        "graphical" => facts.graphical = value == "1",
        _ => return Ok(false),
    }
    Ok(true)
}

fn unit(facts: &mut Facts, value: &str) -> Result<(), &'static str> {
    let [name, load, active, sub] = words(value)?;
    if facts.units.len() >= MOST {
        return Err("too many");
    }
    let unit = facts.units.entry(harmless::line(name)).or_default();
    unit.load = harmless::line(load);
    unit.active = harmless::line(active);
    unit.sub = harmless::line(sub);
    Ok(())
}

fn service(facts: &mut Facts, value: &str) -> Result<(), &'static str> {
    let [name, restarts, result, file_state, fragment] = words(value)?;
    let unit = facts.units.get_mut(name).ok_or("a service that is no unit")?;
    unit.restarts = if restarts == "-" { 0 } else { number(restarts)? };
    unit.result = harmless::line(result);
    unit.fragment = harmless::line(fragment);
    unit.enabled = file_state == "enabled";
    Ok(())
}

fn boot(facts: &mut Facts, key: &str, value: &str) -> Taken {
    let boot = &mut facts.boot;
    match key {
        "disk" => {
            let [place, kind, size, free, mount] = words(value)?;
            let (size_kib, free_kib) = (number(size)?, number(free)?);
            let disk = Disk { mount: harmless::line(mount), size_kib, free_kib };
            let (place, kind) = (harmless::line(place), harmless::line(kind));
            push(&mut facts.space, Space { place, kind, disk })?;
        }
        "boot_mount" => boot.mount = Some(harmless::line(value)),
        "boot_limit" => boot.limit = Some(number(value)?),
        "loader" => {
            boot.loader = match value {
                "systemd-boot" => Loader::SystemdBoot,
                "lanzaboote" => Loader::Lanzaboote,
                "grub" => Loader::Grub,
                "extlinux" => Loader::Extlinux,
                "none" => Loader::None,
                _ => Loader::Unknown,
            }
        }
        "entry" => {
            let mut words = value.split_ascii_whitespace();
            let id = harmless::line(words.next().ok_or("too few words")?);
            let toplevel = words.next().and_then(|t| StorePath::new(t).ok());
            let files = words.take(16).map(harmless::line).collect();
            push(&mut boot.entries, Entry { id, toplevel, files })?;
        }
        "file" => {
            let (size, path) = value.split_once(' ').ok_or("too few words")?;
            let path = harmless::line(path);
            push(&mut boot.files, BootFile { path, size: number(size)? })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn system(facts: &mut Facts, key: &str, value: &str) -> Taken {
    let (system, key): (&mut System, &str) = match key.split_once('_') {
        Some(("running", rest)) => (&mut facts.running, rest),
        Some(("booted", rest)) => (&mut facts.booted, rest),
        _ => return generations(facts, key, value),
    };
    match key {
        "kernel" => system.kernel = harmless::line(value),
        "initrd" => system.initrd = harmless::line(value),
        "modules" => system.modules = harmless::line(value),
        "params" => system.params = cut(value),
        "init" => system.init = harmless::line(value),
        "inhibitors" => system.inhibitors = Some(cut(value)),
        _ => return Ok(false),
    }
    Ok(true)
}

fn generations(facts: &mut Facts, key: &str, value: &str) -> Taken {
    match key {
        "generation" => {
            let (made, link) = value.split_once(' ').ok_or("too few words")?;
            let (link, target) = linked(link).ok_or("no link")?;
            let generation = Generation::of_link(link).ok_or("no generation")?;
            let toplevel = store_path(target)?.ok_or("no store path")?;
            push(&mut facts.generations, Kept { generation, made_s: number(made)?, toplevel })?;
        }
        "switched" => facts.switched_s = Some(number(value)?),
        "specialisation" => facts.specialisation = Some(harmless::line(value)),
        _ => return Ok(false),
    }
    Ok(true)
}

fn leftovers(facts: &mut Facts, key: &str, value: &str) -> Taken {
    match key {
        "tx" => {
            let name = harmless::line(value);
            push(&mut facts.transactions, Transaction { name, ..Transaction::default() })?;
        }
        "root" => {
            let (link, target) = linked(value).ok_or("no link")?;
            let name = link.rsplit('/').next().unwrap_or_default();
            push(&mut facts.roots, (harmless::line(name), harmless::line(target)))?;
        }
        "list" => push(&mut facts.lists, harmless::line(value))?,
        "switch_pid" => {
            let pid = number(value)?;
            facts.switching = Some(Switching { pid, command: String::new() });
        }
        "switch_command" => {
            let switching = facts.switching.as_mut().ok_or("nobody holds the lock")?;
            switching.command = harmless::line(value.trim());
        }
        _ => return transaction(facts, key, value),
    }
    Ok(true)
}

fn transaction(facts: &mut Facts, key: &str, value: &str) -> Taken {
    let Some(key) = key.strip_prefix("tx_") else { return Ok(false) };
    let tx = facts.transactions.last_mut().ok_or("no transaction yet")?;
    match key {
        "current" => tx.current = value == "1",
        "owner" => tx.owner = harmless::line(value),
        "phase" => tx.phase = harmless::line(value),
        "deadline" => tx.deadline_s = Some(number(value)?),
        "decision" => tx.decision = harmless::line(value),
        "outcome" => {
            let outcome = value.strip_prefix("outcome=").unwrap_or(value);
            tx.outcome = harmless::line(outcome);
        }
        "since" => tx.since_s = number(value)?,
        "ended" => tx.ended_s = Some(number(value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn connection(facts: &mut Facts, key: &str, value: &str) -> Taken {
    let network = &mut facts.network;
    let list = |value: &str| value.split_ascii_whitespace().take(256).map(harmless::line).collect();
    match key {
        "address" => push(&mut network.addresses, harmless::line(value))?,
        "route" => push(&mut network.routes, harmless::line(value.trim()))?,
        "nameserver" => push(&mut network.nameservers, harmless::line(value))?,
        "tailscale" => network.tailscale = Some(harmless::line(value)),
        "login" => facts.login.user = harmless::line(value),
        "groups" => facts.login.groups = list(value),
        "trusted_users" => facts.login.trusted_users = list(value),
        _ => return Ok(false),
    }
    Ok(true)
}

fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), &'static str> {
    if list.len() >= MOST {
        return Err("too many");
    }
    list.push(item);
    Ok(())
}

fn number<N: std::str::FromStr>(value: &str) -> Result<N, &'static str> {
    value.parse().map_err(|_| "no number")
}

/// "nan" and "inf" are numbers to Rust, not to us.
fn decimal(value: &str) -> Result<f64, &'static str> {
    value.parse().ok().filter(|n: &f64| n.is_finite()).ok_or("no number")
}

/// Nothing, a store path, or an error.
fn store_path(value: &str) -> Result<Option<StorePath>, &'static str> {
    match value {
        "" => Ok(None),
        text => StorePath::new(text).map(Some).map_err(|_| "no store path"),
    }
}

/// Exactly so many words.
fn words<const N: usize>(value: &str) -> Result<[&str; N], &'static str> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    words.try_into().map_err(|_| "another number of words")
}

/// `'A' -> 'B'`, as GNU stat prints a link.
fn linked(value: &str) -> Option<(&str, &str)> {
    let (link, target) = value.split_once("' -> '")?;
    Some((link.strip_prefix('\'')?, target.strip_suffix('\'')?))
}

fn cut(value: &str) -> String {
    value.chars().take(LONGEST).collect()
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
