//! Which unit files differ between two systems, and how: listed by the folder of each, with the
//! texts of those that may differ. Read from the local store where it has the system, from the
//! host in one conversation where it has not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use similar::algorithms::{Capture, Compact, Replace, myers};
use similar::udiff::UnifiedHunkHeader;
use similar::{ChangeTag, DiffOp};

use crate::event::facts::{FileChange, UnitFileChange, Wish};
use crate::event::harmless;
use crate::fleet::StorePath;
use crate::world::ssh::{Link, Target};
use crate::world::{Clock, Stream, World, files};

/// Asks a host.
const SCRIPT: &str = include_str!("units.sh");
/// Longest answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Files of a system, and texts that are asked for of each.
const FILES: usize = 8192;
const TEXTS: usize = 500;
/// Largest text that is compared, and lines of a difference that are kept.
const TEXT: u64 = 64 << 10;
const LINES: usize = 400;
/// Unit files of a system, below its toplevel.
const FOLDER: &str = "etc/systemd/system";

/// The unit files of a system: by name, where the link leads; empty: it is no link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Units {
    files: BTreeMap<String, String>,
    texts: BTreeMap<String, String>,
}

/// Compares what runs with what would run; `None`: one of them cannot be read anywhere. `path` is
/// `PATH` on the host.
pub async fn changes(
    world: &World,
    target: &Target,
    path: &str,
    [old, new]: [&StorePath; 2],
) -> Option<Difference> {
    let mut sides = [here(old), here(new)];
    let tops = [old, new];
    let away: Vec<usize> = (0..2).filter(|n| sides[*n].is_none()).collect();
    let mut asked = None;
    if !away.is_empty() {
        let words: Vec<&str> =
            std::iter::once(path).chain(away.iter().map(|n| tops[*n].as_str())).collect();
        let invocation = target.script(Link::Shared, SCRIPT, &words).conversing();
        let talk = world.start(invocation.timeout(PATIENCE)).await.ok()?;
        let mut asking = Asking { talk, answer: Answer::default() };
        asking.until(&Said::Ready).await?;
        for (place, n) in away.iter().enumerate() {
            sides[*n] = asking.answer.sides[place].take();
        }
        asked = Some(asking);
    }
    let [Some(mut old), Some(mut new)] = sides else { return None };
    let names = candidates(&old, &new);
    for (units, top) in [(&mut old, tops[0]), (&mut new, tops[1])] {
        read_here(units, top, &names);
    }
    if let Some(asking) = asked {
        let texts = asking.texts(&names).await?;
        for (n, texts) in away.iter().zip(texts) {
            let units = if *n == 0 { &mut old } else { &mut new };
            units.texts.extend(texts);
        }
    }
    Some(Difference { files: compare(&old, &new), wishes: wishes(&old, &new) })
}

/// What is another in the units of two systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Their files.
    pub files: Vec<UnitFileChange>,
    /// Units that are wanted and were not.
    pub wishes: Vec<Wish>,
}

/// Who wants what in the new system alone; the same as `wishes` of rehearse.sh.
fn wishes(old: &Units, new: &Units) -> Vec<Wish> {
    let fresh = new.files.keys().filter(|name| !old.files.contains_key(*name));
    let wish = |name: &String| {
        let (folder, unit) = name.split_once('/')?;
        let by = [".wants", ".requires"].iter().find_map(|end| folder.strip_suffix(end))?;
        Some(Wish { by: by.to_owned(), unit: unit.to_owned() })
    };
    fresh.filter_map(wish).collect()
}

/// Lists a system of the local store.
fn here(top: &StorePath) -> Option<Units> {
    let folder = Path::new(top.as_str()).join(FOLDER);
    let mut units = Units::default();
    list(&folder, "", &mut units)?;
    Some(units)
}

fn list(folder: &Path, before: &str, units: &mut Units) -> Option<()> {
    for entry in folder.read_dir().ok()?.flatten() {
        let Some(name) = entry.file_name().to_str().map(|n| format!("{before}{n}")) else {
            continue;
        };
        let kind = entry.file_type().ok()?;
        if kind.is_dir() && before.is_empty() {
            list(&entry.path(), &format!("{name}/"), units)?;
        } else if !kind.is_dir() {
            let link = entry.path().read_link().unwrap_or_default();
            units.put(&name, &link.to_string_lossy());
        }
    }
    Some(())
}

impl Units {
    fn put(&mut self, name: &str, link: &str) {
        if is_name(name) && self.files.len() < FILES {
            self.files.insert(name.to_owned(), link.to_owned());
        }
    }

    /// The text of a file; `None`: it could not be read.
    fn text(&self, name: &str) -> Option<&str> {
        match self.files.get(name).map(String::as_str) {
            // a unit that is masked
            Some("/dev/null") => Some(""),
            _ => self.texts.get(name).map(String::as_str),
        }
    }
}

/// The same set as in units.sh: the name of a unit, or of a file in a folder beside it.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":_.@\\/-".contains(&b);
    let parts = name.split('/').count();
    (1..=512).contains(&name.len())
        && name.bytes().all(plain)
        && parts <= 2
        && !name.starts_with('/')
        && !name.contains("..")
}

/// Whether a name is no file of its own but what a target wants.
fn is_wish(name: &str) -> bool {
    let folder = name.split_once('/').map_or("", |(folder, _)| folder);
    [".wants", ".requires", ".upholds"].iter().any(|end| folder.ends_with(end))
}

/// Files that both have and that may differ: the same link into the store is the same text.
fn candidates(old: &Units, new: &Units) -> Vec<String> {
    let both = old.files.iter().filter_map(|(name, link)| Some((name, link, new.files.get(name)?)));
    let differ = both.filter(|(_, old, new)| old != new || old.is_empty());
    differ.map(|(name, ..)| name).filter(|n| !is_wish(n)).take(TEXTS).cloned().collect()
}

fn read_here(units: &mut Units, top: &StorePath, names: &[String]) {
    let folder: PathBuf = Path::new(top.as_str()).join(FOLDER);
    for name in names {
        if let Ok(text) = files::read_text(&folder.join(name), TEXT) {
            units.texts.insert(name.clone(), text);
        }
    }
}

/// What changes, by name.
fn compare(old: &Units, new: &Units) -> Vec<UnitFileChange> {
    let one = |name: &String, kind| UnitFileChange { name: name.clone(), kind, diff: Vec::new() };
    let lacks = |units: &Units, name: &str| !units.files.contains_key(name);
    let mut found: Vec<UnitFileChange> = Vec::new();
    found.extend(new.files.keys().filter(|n| lacks(old, n)).map(|n| one(n, FileChange::Added)));
    found.extend(old.files.keys().filter(|n| lacks(new, n)).map(|n| one(n, FileChange::Removed)));
    for (name, link) in &old.files {
        let Some(other) = new.files.get(name) else { continue };
        let same = link == other && !link.is_empty();
        if same || is_wish(name) {
            continue;
        }
        match (old.text(name), new.text(name)) {
            (Some(before), Some(after)) if before.lines().eq(after.lines()) => {}
            (Some(before), Some(after)) => found.push(UnitFileChange {
                diff: difference(before, after),
                ..one(name, FileChange::Changed)
            }),
            _ => found.push(one(name, FileChange::Changed)),
        }
    }
    // A unit that comes or goes takes along who wants it.
    let moved = |name: &str| lacks(old, name) != lacks(new, name);
    found.retain(|c| !is_wish(&c.name) || c.name.split('/').all(|part| !moved(unit_of(part))));
    found.sort();
    found
}

/// `multi-user.target.wants` is about `multi-user.target`.
fn unit_of(part: &str) -> &str {
    let ends = [".wants", ".requires", ".upholds"];
    ends.iter().find_map(|end| part.strip_suffix(end)).unwrap_or(part)
}

/// A unified difference without the names of files, harmless line by line. Of the library only the
/// one algorithm: `TextDiff` brings all of them, half a megabyte of them.
fn difference(before: &str, after: &str) -> Vec<String> {
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let (old, new) = (old.as_slice(), new.as_slice());
    let mut found = Compact::new(Replace::new(Capture::new()), old, new);
    let until = Clock::deadline(Duration::from_millis(200));
    let whole = (0..old.len(), 0..new.len());
    let Ok(()) = myers::diff_deadline(&mut found, old, whole.0, new, whole.1, Some(until));
    let hunks = found.into_inner().into_inner().into_grouped_ops(2);
    let text = hunks.iter().flat_map(|hunk| hunk_lines(hunk, old, new));
    let mut lines = harmless::lines(text.collect::<Vec<_>>().iter().map(String::as_str));
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("@@ {more} lines more @@"));
    }
    lines
}

/// The lines of one hunk of a unified difference, its head first.
fn hunk_lines(hunk: &[DiffOp], old: &[&str], new: &[&str]) -> Vec<String> {
    let changes = hunk.iter().flat_map(|op| op.iter_changes(old, new));
    let lines = changes.map(|change| {
        let sign = match change.tag() {
            ChangeTag::Equal => ' ',
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        format!("{sign}{}", change.value())
    });
    std::iter::once(UnifiedHunkHeader::new(hunk).to_string()).chain(lines).collect()
}

/// A host that is being asked.
struct Asking {
    talk: crate::world::Conversation,
    answer: Answer,
}

impl Asking {
    /// Listens up to there; `None`: it never came.
    async fn until(&mut self, wanted: &Said) -> Option<()> {
        while let Some(line) = self.talk.line().await {
            if line.stream == Stream::Out && self.answer.take(&line.text) == *wanted {
                return Some(());
            }
        }
        None
    }

    /// The texts of these files, of each side that is away.
    async fn texts(mut self, names: &[String]) -> Option<[BTreeMap<String, String>; 2]> {
        let sides = 1..=self.answer.listed;
        let wanted = sides.flat_map(|side| names.iter().map(move |n| format!("{side} {n}\n")));
        self.talk.say(&wanted.collect::<String>()).await;
        self.talk.hush();
        self.until(&Said::End).await?;
        Some(self.answer.texts)
    }
}

/// Reads what the script says: total, whatever a host sends.
#[derive(Debug, Default)]
struct Answer {
    sides: [Option<Units>; 2],
    listed: usize,
    texts: [BTreeMap<String, String>; 2],
    current: Option<(usize, String)>,
    bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Ready,
    End,
    Other,
}

impl Answer {
    fn take(&mut self, line: &str) -> Said {
        if let (Some(text), Some((side, name))) = (line.strip_prefix('|'), &self.current) {
            self.bytes += text.len() + 1;
            if self.bytes <= TEXT as usize + 1
                && let Some(all) = self.texts[*side].get_mut(name)
            {
                all.push_str(text);
                all.push('\n');
            }
            return Said::Other;
        }
        match line.split_once('=') {
            Some(("ready", _)) => return Said::Ready,
            Some(("end", "0")) => return Said::End,
            Some(("file", value)) => self.file(value),
            Some(("text", value)) => self.begin(value),
            _ => {}
        }
        Said::Other
    }

    fn file(&mut self, value: &str) {
        let mut words = value.splitn(3, ' ');
        let side = words.next().and_then(side_of);
        if let (Some(side), Some(name)) = (side, words.next()) {
            self.listed = self.listed.max(side + 1);
            let units = self.sides[side].get_or_insert_with(Units::default);
            units.put(name, words.next().unwrap_or_default());
        }
    }

    fn begin(&mut self, value: &str) {
        let named = value.split_once(' ').and_then(|(s, name)| Some((side_of(s)?, name)));
        let room = |side: usize| self.texts[side].len() < TEXTS;
        self.bytes = 0;
        self.current = named
            .filter(|(side, name)| is_name(name) && room(*side))
            .map(|(side, name)| (side, name.to_owned()));
        if let Some((side, name)) = &self.current {
            self.texts[*side].insert(name.clone(), String::new());
        }
    }
}

/// `1` or `2`, counted from 0.
fn side_of(word: &str) -> Option<usize> {
    match word {
        "1" => Some(0),
        "2" => Some(1),
        _ => None,
    }
}

#[cfg(test)]
#[path = "units_tests.rs"]
mod tests;
