//! Verdicts on files that were looked at before, by what they hold: `CACHE/checks`.
//!
//! A verdict's name covers the file's path and every byte of it, and the whole file of verdicts
//! counts only for the very program that wrote it, so neither an edit nor a rule that changed can
//! meet an old verdict. What is unreadable or cut off is as good as not there. Severities of
//! hosts.toml, the baseline and what is new are not in a verdict: they are put on it each time.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufWriter, Seek, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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

/// Verdicts on the files of one tree.
#[derive(Debug)]
pub struct Verdicts {
    file: PathBuf,
    head: String,
    text: String,
    known: HashMap<Name, Range<usize>>,
    used: Mutex<Vec<Used>>,
}

#[derive(Debug)]
enum Used {
    Known(Name),
    Fresh(Name, String),
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
        let file = folder.join(&name[..32]);
        let mut verdicts = Self {
            text: files::read_private(&file, LIMIT).unwrap_or_default(),
            file,
            head,
            known: HashMap::new(),
            used: Mutex::default(),
        };
        verdicts.index();
        Some(verdicts)
    }

    /// Finds each line of a file that is whole and of this program.
    fn index(&mut self) {
        let Some((head, body)) = self.text.split_once('\n') else { return };
        let sum = blake3::hash(body.as_bytes()).to_hex();
        if head != format!("{} {sum}", self.head) {
            return;
        }
        let mut at = head.len() + 1;
        for line in body.split_inclusive('\n') {
            let (upto, name) = (at + line.len(), line.get(..32));
            if let Some(name) = name.and_then(|n| Name::from_str_radix(n, 16).ok()) {
                self.known.insert(name, at + 32..upto);
            }
            at = upto;
        }
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
        let line = self.text.get(self.known.get(&name)?.clone())?.trim();
        let kept = match line {
            "" => Kept { faults: Vec::new(), entry: None },
            line => serde_json::from_str(line).ok()?,
        };
        let faults: Option<Vec<_>> = kept.faults.into_iter().map(|f| f.restored(text)).collect();
        let verdict = Verdict { faults: faults?, entry: kept.entry };
        self.note(Used::Known(name));
        Some(verdict)
    }

    /// Keeps what was found, if that says all of it.
    pub(super) fn put(&self, name: Name, verdict: &Verdict) {
        let faults: Option<Vec<_>> = verdict.faults.iter().map(KeptFault::of).collect();
        let Some(faults) = faults else { return };
        let kept = Kept { faults, entry: verdict.entry.clone() };
        let line = match kept.faults.is_empty() && kept.entry.is_none() {
            true => String::new(),
            false => serde_json::to_string(&kept).unwrap_or_default().into_boxed_str().into(),
        };
        self.note(Used::Fresh(name, line));
    }

    fn note(&self, used: Used) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).push(used);
    }

    /// Keeps what was used, if there is something new; a disk that is full loses nothing but time.
    pub fn save(self) {
        let mut used = self.used.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !used.iter().any(|u| matches!(u, Used::Fresh(..))) {
            return;
        }
        used.sort_by_key(|u| match u {
            Used::Known(name) | Used::Fresh(name, _) => *name,
        });
        // A tree may have a great many: none is held twice, and each is let go when it is written.
        let told = files::put_with(&self.file, |file| {
            let mut out = BufWriter::with_capacity(1 << 16, file);
            writeln!(out, "{} {:064}", self.head, 0)?;
            let (mut sum, mut line) = (blake3::Hasher::new(), String::new());
            for used in used {
                let (name, kept) = match &used {
                    Used::Known(name) => {
                        (name, self.known.get(name).and_then(|r| self.text.get(r.clone())))
                    }
                    Used::Fresh(name, line) => (name, Some(line.as_str())),
                };
                line.clear();
                // Writing to a string cannot fail.
                let _ = writeln!(line, "{name:032x}{}", kept.unwrap_or_default().trim_end());
                sum.update(line.as_bytes());
                out.write_all(line.as_bytes())?;
            }
            out.seek(SeekFrom::Start(self.head.len() as u64 + 1))?;
            out.write_all(sum.finalize().to_hex().as_bytes())?;
            out.flush()
        });
        if let Err(error) = told {
            tracing::debug!(%error, "no verdict is kept");
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
        let used = verdicts.used.lock().expect("used");
        let fresh = used.iter().filter(|u| matches!(u, Used::Fresh(..))).count();
        let known = used.len() - fresh;
        drop(used);
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
        assert!(seen.faulty.iter().any(|f| f.path.starts_with(format!("{FEWEST:04}"))));
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
