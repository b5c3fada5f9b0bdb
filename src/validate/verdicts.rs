//! Verdicts on files that were looked at before, by what they hold: `CACHE/checks`.
//!
//! A verdict's name covers the file's path and every byte of it, and the whole file of verdicts
//! counts only for the very program that wrote it, so neither an edit nor a rule that changed can
//! meet an old verdict. What is unreadable or cut off is as good as not there. Severities of
//! hosts.toml, the baseline and what is new are not in a verdict: they are put on it each time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::rules::{self, Entry};
use super::syntax::{Edit, Fault};
use crate::event::Severity;
use crate::world::{environment, files};

/// First word of the file; raised with what is in it.
const SCHEMA: &str = "nixdeploy-verdicts-1";
/// Larger files of verdicts are of no tree that a person keeps.
const LIMIT: u64 = 64 << 20;
/// Below this many files reading verdicts takes longer than looking.
const FEWEST: usize = 32;

/// The name of a file with its content.
type Name = u128;

/// Verdicts on the files of one tree. There can be tens of megabytes: none is held.
#[derive(Debug)]
pub struct Verdicts {
    path: PathBuf,
    head: String,
    /// Those of an earlier look, and where each stands.
    file: Option<File>,
    known: HashMap<Name, Line>,
    used: Mutex<Used>,
}

/// A line of a file: where it begins, and its bytes.
#[derive(Debug, Clone, Copy)]
struct Line {
    at: u64,
    length: u32,
}

/// What this look needed.
#[derive(Debug, Default)]
struct Used {
    known: Vec<Name>,
    fresh: usize,
    /// Lines of what was found now, and their sum so far; `None`: they cannot be kept.
    lines: Option<(BufWriter<File>, blake3::Hasher)>,
}

/// What was found in a file, each fault with the reason for which a comment lets it pass.
pub(super) struct Verdict {
    pub(super) faults: Vec<(Fault, Option<String>)>,
    pub(super) entry: Option<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    faults: Vec<KeptFault>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry: Option<Entry>,
}

#[derive(Serialize, Deserialize)]
struct KeptFault {
    code: String,
    severity: Severity,
    range: Range<usize>,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fix: Option<(Range<usize>, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Range<usize>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allowed: Option<String>,
}

impl Verdicts {
    /// Those on a tree of so many files; `None` where they would save nothing or cannot be kept.
    pub fn on(cache: &Path, root: &Path, files: usize) -> Option<Self> {
        let head = (files >= FEWEST).then(head)??;
        let name = blake3::hash(root.as_os_str().as_encoded_bytes()).to_hex();
        let folder = cache.join("checks");
        files::private_folder(&folder).ok()?;
        let path = folder.join(&name[..32]);
        let lines = files::nameless(&folder).ok()?;
        let lines = Some((BufWriter::with_capacity(1 << 16, lines), blake3::Hasher::new()));
        let file = files::open_private(&path, LIMIT).ok();
        let used = Mutex::new(Used { lines, ..Used::default() });
        let mut verdicts = Self { path, head, file, known: HashMap::new(), used };
        verdicts.known = verdicts.index().unwrap_or_default();
        Some(verdicts)
    }

    /// Finds each line of a file that is whole and of this program.
    fn index(&self) -> Option<HashMap<Name, Line>> {
        let mut file = BufReader::with_capacity(1 << 16, self.file.as_ref()?);
        let (mut line, mut sum, mut known) = (Vec::new(), blake3::Hasher::new(), HashMap::new());
        file.read_until(b'\n', &mut line).ok()?;
        let head = String::from_utf8(std::mem::take(&mut line)).ok()?;
        let expected = head.trim_end().strip_prefix(&self.head)?.trim_start().to_owned();
        let mut at = head.len() as u64;
        while file.read_until(b'\n', &mut line).ok()? > 0 {
            sum.update(&line);
            let name = line.get(..32).and_then(|name| std::str::from_utf8(name).ok());
            if let Some(name) = name.and_then(|name| Name::from_str_radix(name, 16).ok()) {
                let length = u32::try_from(line.len()).ok()?;
                known.insert(name, Line { at, length });
            }
            at += line.len() as u64;
            line.clear();
        }
        (sum.finalize().to_hex().as_str() == expected).then_some(known)
    }

    /// A line that is kept, with its name.
    fn line(&self, name: Name) -> Option<String> {
        let Line { at, length } = *self.known.get(&name)?;
        let mut bytes = vec![0; length as usize];
        self.file.as_ref()?.read_exact_at(&mut bytes, at).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// The name of a file's content.
    pub(super) fn name(path: &Path, bytes: &[u8]) -> Name {
        let path = path.as_os_str().as_encoded_bytes();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(path.len() as u64).to_le_bytes()).update(path).update(bytes);
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Name::from_be_bytes(short)
    }

    /// What was found in that text.
    pub(super) fn get(&self, name: Name, text: &str) -> Option<Verdict> {
        let line = self.line(name)?;
        let kept = match line.get(32..)?.trim() {
            "" => Kept { faults: Vec::new(), entry: None },
            line => serde_json::from_str(line).ok()?,
        };
        let faults: Option<Vec<_>> = kept.faults.into_iter().map(|f| f.restored(text)).collect();
        let verdict = Verdict { faults: faults?, entry: kept.entry };
        self.used().known.push(name);
        Some(verdict)
    }

    /// Keeps what was found, if that says all of it.
    pub(super) fn put(&self, name: Name, verdict: &Verdict) {
        let faults: Option<Vec<_>> = verdict.faults.iter().map(KeptFault::of).collect();
        let Some(faults) = faults else { return };
        let kept = Kept { faults, entry: verdict.entry.clone() };
        let line = match kept.faults.is_empty() && kept.entry.is_none() {
            true => String::new(),
            false => serde_json::to_string(&kept).unwrap_or_default(),
        };
        self.used().add(&format!("{name:032x}{line}\n"));
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was used, if there is something new; a disk that is full loses nothing but time.
    pub fn save(self) {
        let used = std::mem::take(&mut *self.used());
        let Some((lines, sum)) = used.lines.filter(|_| used.fresh > 0) else { return };
        let told = files::put_with(&self.path, |file| self.write(file, lines, sum, &used.known));
        if let Err(error) = told {
            tracing::debug!(%error, "no verdict is kept");
        }
    }

    /// What was found now, and what is still known.
    fn write(
        &self,
        file: &mut File,
        lines: BufWriter<File>,
        mut sum: blake3::Hasher,
        known: &[Name],
    ) -> io::Result<()> {
        let mut lines = lines.into_inner().map_err(io::IntoInnerError::into_error)?;
        lines.rewind()?;
        writeln!(file, "{} {:064}", self.head, 0)?;
        io::copy(&mut lines, file)?;
        let mut out = BufWriter::with_capacity(1 << 16, file);
        for line in known.iter().filter_map(|name| self.line(*name)) {
            sum.update(line.as_bytes());
            out.write_all(line.as_bytes())?;
        }
        out.seek(SeekFrom::Start(self.head.len() as u64 + 1))?;
        out.write_all(sum.finalize().to_hex().as_bytes())?;
        out.flush()
    }
}

impl Used {
    fn add(&mut self, line: &str) {
        self.fresh += 1;
        if let Some((lines, sum)) = &mut self.lines {
            sum.update(line.as_bytes());
            if lines.write_all(line.as_bytes()).is_err() {
                self.lines = None;
            }
        }
    }
}

/// Schema and program: its place, size, time and inode; another build differs in one of them.
fn head() -> Option<String> {
    let program = environment::program().ok()?;
    let meta = program.metadata().ok()?;
    let place = blake3::hash(program.as_os_str().as_encoded_bytes()).to_hex();
    let (size, second, nano) = (meta.len(), meta.mtime(), meta.mtime_nsec());
    Some(format!("{SCHEMA} {} {size} {second}.{nano} {}", &place[..16], meta.ino()))
}

impl KeptFault {
    fn of((fault, allowed): &(Fault, Option<String>)) -> Option<Self> {
        // What is told of two places blocks, and is gone soon; what no rule says is a doubt.
        if fault.other.is_some() || rules::rule(fault.code).is_none() {
            return None;
        }
        let Fault { code, severity, range, message, hint, fix, secret, keys, .. } = fault.clone();
        let fix = fix.map(|edit| (edit.range, edit.text));
        let (code, allowed) = (code.to_owned(), allowed.clone());
        Some(Self { code, severity, range, message, hint, fix, secret, keys, allowed })
    }

    fn restored(self, text: &str) -> Option<(Fault, Option<String>)> {
        text.get(self.range.clone())?;
        let code = rules::rule(&self.code)?.id;
        let mut fault = Fault::at(code, self.severity, self.range, self.message);
        fault.hint = self.hint;
        fault.fix = self.fix.map(|(range, text)| Edit { range, text });
        (fault.secret, fault.keys) = (self.secret, self.keys);
        Some((fault, self.allowed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::{Base, Depth, Examined, Job, examine_with};

    const TEXTS: [&str; 5] = [
        "{ networking.firewall.enable = false; }",
        "{ a = https://example.org; } # ä",
        "{\n  # nixdeploy: allow(firewall-disabled) -- tested\n  networking.firewall.enable = \
         false;\n}",
        "{ imports = [ ./x.nix ]; networking.hostName = \"a\"; boot.loader.grub.enable = true; }",
        "{ a = 1; a = 2; }",
    ];

    fn jobs(last: &str) -> Vec<Job> {
        let texts = (0..FEWEST).map(|n| TEXTS[n % TEXTS.len()]).chain([last]);
        let job = |(n, text): (usize, &str)| Job {
            path: format!("{n:04}/configuration.nix").into(),
            bytes: Some(text.as_bytes().to_vec()),
            base: Base::None,
        };
        texts.enumerate().map(job).collect()
    }

    fn examined(cache: &Path, jobs: &[Job]) -> (Examined, usize, usize) {
        let depth = Depth { rules: true, drawn: 100, old: true };
        let root = Path::new("/");
        let verdicts = Verdicts::on(cache, root, jobs.len()).expect("verdicts");
        let examined = examine_with(root, jobs, depth, Some(&verdicts));
        let (known, fresh) = {
            let used = verdicts.used();
            (used.known.len(), used.fresh)
        };
        verdicts.save();
        (examined, known, fresh)
    }

    #[test]
    fn a_kept_verdict_is_the_same_as_a_fresh_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let jobs = jobs("{ }");
        let (first, known, fresh) = examined(folder.path(), &jobs);
        let faulty =
            jobs.iter().filter(|j| j.bytes.as_deref() == Some(TEXTS[4].as_bytes())).count();
        assert_eq!((known, fresh), (0, jobs.len() - faulty), "duplicates are told of two places");
        let (second, known, fresh) = examined(folder.path(), &jobs);
        assert_eq!((known, fresh), (jobs.len() - faulty, 0));
        assert_eq!(first, second);
        assert!(first.told().count() > FEWEST / 2, "{first:?}");
    }

    #[test]
    fn an_edit_another_path_and_a_damaged_file_are_looked_at_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        examined(folder.path(), &jobs("{ }"));
        let (seen, _, fresh) =
            examined(folder.path(), &jobs("{ networking.firewall.enable = false; }"));
        assert_eq!(fresh, 1);
        assert!(seen.faulty().any(|f| f.path.starts_with(format!("{FEWEST:04}"))));
        let mut moved = jobs("{ }");
        moved[0].path = "elsewhere/configuration.nix".into();
        assert_eq!(examined(folder.path(), &moved).2, 2, "and the edit is undone");
        let file = std::fs::read_dir(folder.path().join("checks")).expect("a folder").flatten();
        let file = file.map(|f| f.path()).next().expect("a file");
        let text = std::fs::read_to_string(&file).expect("a text");
        for damaged in [&text[..text.len() - 40], &text.replacen("verdicts-1", "verdicts-0", 1), ""]
        {
            std::fs::write(&file, damaged).expect("written");
            assert_eq!(examined(folder.path(), &moved).1, 0);
        }
    }
}
