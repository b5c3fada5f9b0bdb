//! What the TAB key offers: hosts and tags of hosts.toml, runs and generations that were kept,
//! inputs of flake.lock and locks that were kept, rules, pages; nothing is asked of Nix or of a
//! host for it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Command, CommandFactory};
use clap_complete::CompleteEnv;
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, SubcommandCandidates, complete,
};
use clap_complete::env::{EnvCompleter, Shells};

use super::{inventory, update};
use crate::cli::{Cli, Global, command_names};
use crate::docs::PAGES;
use crate::event::harmless;
use crate::fleet::Fleet;
use crate::report::look::Look;
use crate::report::{store, words};
use crate::update::keep::{Backup, Id, Keep};
use crate::update::lock::{Lock, Locked};
use crate::world::{Environment, environment};

/// The variable in which a shell's completion file tells who asks.
pub const VARIABLE: &str = "NIXDEPLOY_COMPLETE";
/// Where bash and zsh tell which word it is.
const INDEX: &str = "_CLAP_COMPLETE_INDEX";
/// Runs that are offered; an older one is typed, or found by `history`.
const RUNS: usize = 40;

/// Names of values in the help for which something is offered.
const OFFERED: [&str; 9] =
    ["BUILDER", "GEN", "HOST", "ID", "INPUT", "RULE", "RUN", "TOPIC", "target|local|HOST"];

/// The shells, bash by our own rules.
pub const SHELLS: Shells<'static> = Shells(&[
    &Bash,
    &clap_complete::env::Elvish,
    &clap_complete::env::Fish,
    &clap_complete::env::Powershell,
    &clap_complete::env::Zsh,
]);

/// Answers a shell that asks at the TAB key; `false`: nobody did.
pub fn answered(argv: &[OsString]) -> bool {
    let asked = environment::variables(|name| name == VARIABLE);
    if asked.is_empty() {
        return false;
    }
    let words = argv.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
    let typed = Arc::new(Typed::new(words, index()));
    let folder = typed.environment.as_ref().map(|e| e.folder.clone());
    let engine = CompleteEnv::with_factory(|| grown(&typed)).var(VARIABLE).shells(SHELLS);
    // At the TAB key there is no place for a message: without an answer nothing is offered.
    engine.try_complete(argv.iter().cloned(), folder.as_deref()).unwrap_or(true)
}

fn index() -> Option<usize> {
    let told = environment::variables(|name| name == INDEX);
    told.get(INDEX)?.to_str()?.parse().ok()
}

/// The line that is typed, and where.
struct Typed {
    words: Vec<String>,
    index: usize,
    environment: Option<Environment>,
}

impl Typed {
    fn new(words: Vec<OsString>, index: Option<usize>) -> Self {
        let index = index.unwrap_or(words.len().saturating_sub(1));
        let (words, index) = joined(words, index);
        let words = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
        Self { words, index, environment: Environment::read().ok() }
    }

    /// The word at the cursor.
    fn word(&self) -> &str {
        self.words.get(self.index).map_or("", String::as_str)
    }

    /// What a flag was given in the words.
    fn given(&self, flag: &str) -> Option<&str> {
        let after = self.words.iter().position(|w| w == flag).and_then(|n| self.words.get(n + 1));
        let tied = || self.words.iter().find_map(|w| w.strip_prefix(flag)?.strip_prefix('='));
        after.map(String::as_str).or_else(tied)
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|w| w == word)
    }

    fn global(&self) -> Global {
        let inventory = self.given("--inventory").map(PathBuf::from);
        Global { inventory, flake: self.given("--flake").map(str::to_owned), ..Global::default() }
    }

    fn fleet(&self) -> Option<Fleet> {
        inventory::load(self.environment.as_ref()?, &self.global()).ok()
    }

    fn locks(&self) -> Option<Keep> {
        update::locks(self.environment.as_ref()?, &self.global(), self.fleet()?)
    }

    /// Whether it stands before the cursor already.
    fn before(&self, word: &str) -> bool {
        self.words.iter().take(self.index).any(|w| w == word)
    }

    /// Inputs of the flake itself that can move; what follows another moves with that.
    fn inputs(&self) -> Vec<(String, String)> {
        let lock = self.locks().and_then(|keep| Lock::parse(&keep.current().ok()?).ok());
        let Some(lock) = lock else { return Vec::new() };
        // The file is somebody's: a name that a terminal would obey is none to type.
        let fine = |name: &str| harmless::line(name) == name;
        let own = lock.inputs().into_iter().filter(|(name, follows)| !follows && fine(name));
        let about = |name: &str| lock.locked(name).and_then(Locked::short).unwrap_or_default();
        own.filter(|(name, _)| !self.before(name))
            .map(|(name, _)| (name.to_owned(), about(name).to_owned()))
            .collect()
    }

    /// Files that `update lock` has kept, newest first.
    fn kept_locks(&self) -> Vec<(String, String)> {
        let Some(keep) = self.locks() else { return Vec::new() };
        let look = Look { zone: jiff::tz::TimeZone::system(), ..Look::plain() };
        let here = keep.current().ok().map(|bytes| Id::of(&bytes));
        let about = |kept: &Backup| {
            let place = if here.as_ref() == Some(&kept.id) { ", in place" } else { "" };
            format!("kept {}{place}", look.date(kept.kept_ms))
        };
        keep.list().iter().map(|kept| (kept.id.short().to_owned(), about(kept))).collect()
    }

    /// Hosts, then tags; what stands in the line already is not offered again.
    fn hosts(&self) -> Vec<(String, String)> {
        let Some(fleet) = self.fleet() else { return Vec::new() };
        let mut tags: Vec<&String> = fleet.hosts.iter().flat_map(|h| &h.tags).collect();
        tags.sort();
        tags.dedup();
        let tags = tags.into_iter().map(|tag| (format!("@{tag}"), "hosts with this tag".into()));
        let names = fleet.hosts.iter().map(|h| (h.name.to_string(), h.tags.join(" ")));
        names.chain(tags).filter(|(word, _)| !self.before(word)).collect()
    }

    fn builders(&self) -> Vec<(String, String)> {
        let builders = self.fleet().map(|f| f.builders).unwrap_or_default();
        let builders = builders.into_keys().map(|name| (name, "builder".to_owned()));
        builders
            .chain(self.hosts().into_iter().filter(|(name, _)| !name.starts_with('@')))
            .collect()
    }

    /// Newest first; after a host's name only those that it had a part in.
    fn runs(&self) -> Vec<(String, String)> {
        let Some(environment) = &self.environment else { return Vec::new() };
        let look = Look { zone: jiff::tz::TimeZone::system(), ..Look::plain() };
        let named = |entry: &store::Entry| entry.names.iter().any(|n| self.has(n.as_str()));
        let newest = store::newest(&environment.state, RUNS);
        let wanted = self.words.get(1).is_some_and(|command| command == "logs");
        let told = newest
            .into_iter()
            .filter(|(_, entry)| !wanted || self.index < 3 || entry.as_ref().is_none_or(&named));
        let about = |entry: &store::Entry| {
            format!("{} {}", look.date(entry.started_ms), words::typed_line(&entry.command))
        };
        let open = || "goes on, or was interrupted".to_owned();
        told.map(|(run, entry)| (run, entry.as_ref().map_or_else(open, about))).collect()
    }

    /// Generations of the host that stands in the line, as kept runs met them.
    fn generations(&self) -> Vec<(String, String)> {
        let Some(environment) = &self.environment else { return Vec::new() };
        let look = Look { zone: jiff::tz::TimeZone::system(), ..Look::plain() };
        let mut known: Vec<(u64, String)> = Vec::new();
        for (_, entry) in store::newest(&environment.state, store::KEPT) {
            let Some(entry) = entry else { continue };
            for (host, generation) in &entry.generations {
                if self.has(host.as_str()) && known.iter().all(|(n, _)| n != generation) {
                    let command = words::typed_line(&entry.command);
                    let about = format!("met {} by {command}", look.date(entry.started_ms));
                    known.push((*generation, about));
                }
            }
        }
        known.sort_by_key(|known| std::cmp::Reverse(known.0));
        known.into_iter().map(|(number, about)| (number.to_string(), about)).collect()
    }

    /// What may stand for a value of this name in the help.
    fn offers(&self, value: &str) -> Vec<(String, String)> {
        let plain = |word: &str| (word.to_owned(), String::new());
        match value {
            "HOST" => self.hosts(),
            "BUILDER" => self.builders(),
            "target|local|HOST" => {
                let places = ["target", "local"].map(plain);
                places.into_iter().chain(self.builders()).collect()
            }
            "RUN" => self.runs(),
            "GEN" => self.generations(),
            "ID" => self.kept_locks(),
            "INPUT" => self.inputs(),
            "RULE" => crate::validate::rules::RULES
                .iter()
                .map(|rule| (rule.id.to_owned(), rule.flags.to_owned()))
                .collect(),
            "TOPIC" => {
                let pages = PAGES.iter().map(|(name, about, _)| ((*name).into(), (*about).into()));
                pages.chain(command_names().iter().map(|name| plain(name))).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The commands with their values; while no dash is typed, flags stand back.
fn grown(typed: &Arc<Typed>) -> Command {
    let top = Cli::command();
    let hosts = Arc::clone(typed);
    let bare = SubcommandCandidates::new(move || {
        let hosts = hosts.hosts();
        hosts.into_iter().map(candidate).collect::<Vec<_>>()
    });
    dressed(top, typed).add(bare)
}

fn dressed(command: Command, typed: &Arc<Typed>) -> Command {
    let quiet = !typed.word().starts_with('-');
    let command = command.disable_help_flag(quiet).disable_version_flag(quiet).mut_args(|arg| {
        let value = arg.get_value_names().and_then(|n| n.first()).map(ToString::to_string);
        let hide = quiet && !arg.is_positional();
        let arg = if hide { arg.hide(true) } else { arg };
        let Some(value) = value.filter(|v| OFFERED.contains(&v.as_str())) else { return arg };
        let typed = Arc::clone(typed);
        arg.add(ArgValueCompleter::new(move |word: &OsStr| offered(&typed, &value, word)))
    });
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |below| dressed(below, typed)))
}

fn offered(typed: &Typed, value: &str, word: &OsStr) -> Vec<CompletionCandidate> {
    let word = word.to_string_lossy();
    let all = typed.offers(value);
    all.into_iter().filter(|(text, _)| text.starts_with(&*word)).map(candidate).collect()
}

fn candidate((word, about): (String, String)) -> CompletionCandidate {
    let about = Some(harmless::line(&about)).filter(|about| !about.is_empty());
    CompletionCandidate::new(word).help(about.map(Into::into))
}

/// bash breaks words at `@` and `=` too: `@server` are two, and the word at the cursor has its `@`
/// twice (it is `$2`, which is whole from the `@` on). Here they are one again.
fn joined(words: Vec<OsString>, index: usize) -> (Vec<OsString>, usize) {
    let (mut whole, mut at): (Vec<String>, usize) = (Vec::new(), index);
    for (n, word) in words.iter().enumerate() {
        let word = word.to_string_lossy();
        let Some(last) = whole.last_mut().filter(|last| tied(last, &word)) else {
            whole.push(word.into_owned());
            continue;
        };
        if n == index && last.ends_with('@') && word.starts_with('@') {
            last.pop();
        }
        last.push_str(&word);
        at -= usize::from(n <= index);
    }
    (whole.into_iter().map(Into::into).collect(), at)
}

/// Whether bash broke one word between these two.
fn tied(before: &str, word: &str) -> bool {
    let flag = before.starts_with("--");
    let list = before.ends_with(',') && word.starts_with('@');
    before.ends_with('@') || list || (flag && (before.ends_with('=') || word.starts_with('=')))
}

/// bash, with the words as they were typed; of what is offered it wants the last part alone.
struct Bash;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn is(&self, name: &str) -> bool {
        name == "bash"
    }

    fn write_registration(
        &self,
        var: &str,
        name: &str,
        bin: &str,
        completer: &str,
        buf: &mut dyn io::Write,
    ) -> io::Result<()> {
        clap_complete::env::Bash.write_registration(var, name, bin, completer, buf)
    }

    fn write_complete(
        &self,
        cmd: &mut Command,
        args: Vec<OsString>,
        current_dir: Option<&Path>,
        buf: &mut dyn io::Write,
    ) -> io::Result<()> {
        let at = index().unwrap_or_default();
        let broken = args.get(at).cloned().unwrap_or_default();
        let (words, index) = joined(args, at);
        let whole = words.get(index).cloned().unwrap_or_default();
        let (whole, broken) = (whole.to_string_lossy(), broken.to_string_lossy());
        // "=" and "@" themselves are kept when they are the word at the cursor.
        let kept = if broken == "=" { "" } else { &*broken };
        let before = whole.strip_suffix(kept).unwrap_or_default().to_owned();
        for (n, found) in complete(cmd, words, index, current_dir)?.iter().enumerate() {
            let found = found.get_value().to_string_lossy().into_owned();
            let found = found.strip_prefix(&before).unwrap_or(&found);
            // The completion file sets IFS to a vertical tab.
            write!(buf, "{}{found}", if n == 0 { "" } else { "\u{b}" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(words: &[&str], index: usize) -> (Vec<String>, usize) {
        let (words, at) = joined(words.iter().map(Into::into).collect(), index);
        (words.iter().map(|w| w.to_string_lossy().into_owned()).collect(), at)
    }

    #[test]
    fn words_that_bash_broke_are_whole_again() {
        let own = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let words = ["nixdeploy", "deploy", "@", "ser"];
        assert_eq!(whole(&words, 3), (own(&["nixdeploy", "deploy", "@ser"]), 2));
        let words = ["nixdeploy", "deploy", "--canary", "=", "p6", "--yes"];
        let told = own(&["nixdeploy", "deploy", "--canary=p6", "--yes"]);
        assert_eq!(whole(&words, 4), (told.clone(), 2));
        assert_eq!(whole(&words, 5), (told, 3));
        let words = ["nixdeploy", "deploy", "@", "@se"];
        assert_eq!(whole(&words, 3), (own(&["nixdeploy", "deploy", "@se"]), 2));
        let words = ["nixdeploy", "deploy", "--exclude", "=@", "a", "x,", "@", "@s"];
        let told = own(&["nixdeploy", "deploy", "--exclude=@a", "x,@s"]);
        assert_eq!(whole(&words, 7), (told, 3));
        assert_eq!(whole(&["nixdeploy", "="], 1), (own(&["nixdeploy", "="]), 1));
        assert_eq!(whole(&[], 0), (Vec::new(), 0));
    }
}
