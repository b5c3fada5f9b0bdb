//! Selections: names, `@tag`, globs, `all`.

use std::fmt;

use super::hosts_toml::nearest;
use super::{Fleet, Host, Role};

/// A selection that means no host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectError {
    /// The word that means nothing; `None`: every host was excluded, or there is none.
    pub word: Option<String>,
    /// The nearest name or `@tag`.
    pub nearest: Option<String>,
    /// Everything that could have been said, in the order of the file.
    pub known: Vec<String>,
}

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(word) = &self.word else {
            let empty =
                if self.known.is_empty() { "hosts.toml has no hosts" } else { "no host is left" };
            return f.write_str(empty);
        };
        let shown: String = word.escape_debug().take(64).collect();
        match word {
            word if word.starts_with('@') => write!(f, "no host has the tag '{shown}'"),
            word if is_glob(word) => write!(f, "no host matches '{shown}'"),
            _ => write!(f, "no host is called '{shown}'"),
        }
    }
}

impl std::error::Error for SelectError {}

/// The hosts that are meant, each once: by wave, then as in the file, network hosts last.
///
/// No word at all means every host, for the commands that only read.
///
/// # Errors
/// When a word means no host, or none is left: nothing is done by mistake for fewer hosts.
pub fn select<'a>(
    fleet: &'a Fleet,
    words: &[String],
    exclude: &[String],
) -> Result<Vec<&'a Host>, SelectError> {
    for word in words.iter().chain(exclude) {
        if !fleet.hosts.iter().any(|host| means(word, host)) {
            return Err(unknown(fleet, word));
        }
    }
    let wanted = |host: &&Host| {
        (words.is_empty() || words.iter().any(|word| means(word, host)))
            && !exclude.iter().any(|word| means(word, host))
    };
    let mut hosts: Vec<&Host> = fleet.hosts.iter().filter(wanted).collect();
    if hosts.is_empty() {
        return Err(SelectError { word: None, nearest: None, known: known(fleet) });
    }
    hosts.sort_by_key(|host| (host.role == Role::Network, host.wave));
    Ok(hosts)
}

/// Whether a word of a selection means a host.
fn means(word: &str, host: &Host) -> bool {
    match word.strip_prefix('@') {
        Some(tag) => host.tags.iter().any(|have| matches(tag, have)),
        None => word == "all" || matches(word, host.name.as_str()),
    }
}

fn unknown(fleet: &Fleet, word: &str) -> SelectError {
    let known = known(fleet);
    let nearest = nearest(word, known.iter().map(String::as_str)).map(str::to_owned);
    SelectError { word: Some(word.to_owned()), nearest, known }
}

/// Names, then tags, each once.
fn known(fleet: &Fleet) -> Vec<String> {
    let mut known: Vec<String> = fleet.hosts.iter().map(|h| h.name.to_string()).collect();
    for tag in fleet.hosts.iter().flat_map(|h| &h.tags) {
        let tag = format!("@{tag}");
        if !known.contains(&tag) {
            known.push(tag);
        }
    }
    known
}

fn is_glob(word: &str) -> bool {
    word.contains(['*', '?'])
}

/// `*` is any text, `?` any character; nothing else has a meaning (names hold no brackets).
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on when the text after the last star does not fit: one more byte for the star.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn fleet() -> Fleet {
        let text = "
            hosts.dex5550 = { role = 'network', tags = ['server'] }
            hosts.razer = { wave = 2, tags = ['laptop'] }
            hosts.p620 = { tags = ['server', 'fast'] }
            hosts.p510 = { tags = ['server'] }
        ";
        super::super::hosts_toml::parse(Path::new("hosts.toml"), text).expect("good")
    }

    fn chosen(words: &[&str], exclude: &[&str]) -> Result<Vec<String>, SelectError> {
        let own = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let fleet = fleet();
        let hosts = select(&fleet, &own(words), &own(exclude))?;
        Ok(hosts.iter().map(|h| h.name.to_string()).collect())
    }

    #[test]
    fn hosts_come_once_by_wave_and_file_and_network_hosts_last() {
        let all = ["p620", "p510", "razer", "dex5550"];
        assert_eq!(chosen(&["all"], &[]).expect("all"), all);
        assert_eq!(chosen(&[], &[]).expect("no word"), all);
        assert_eq!(chosen(&["dex5550", "razer", "p*", "p620"], &[]).expect("mixed"), all);
        assert_eq!(chosen(&["@server"], &["dex*"]).expect("tag"), ["p620", "p510"]);
        assert_eq!(chosen(&["@f*"], &[]).expect("tag glob"), ["p620"]);
        assert_eq!(chosen(&["p?10"], &[]).expect("one letter"), ["p510"]);
    }

    #[test]
    fn a_word_that_means_nothing_is_an_error_with_the_nearest_one() {
        let error = chosen(&["p602"], &[]).expect_err("unknown");
        assert_eq!(error.to_string(), "no host is called 'p602'");
        assert_eq!(error.nearest.as_deref(), Some("p620"));
        let error = chosen(&["@lapotp"], &[]).expect_err("unknown tag");
        assert_eq!(error.to_string(), "no host has the tag '@lapotp'");
        assert_eq!(error.nearest.as_deref(), Some("@laptop"));
        let error = chosen(&["x*"], &[]).expect_err("glob");
        assert_eq!(error.to_string(), "no host matches 'x*'");
        assert!(error.known.contains(&"@server".to_owned()));
        assert!(chosen(&["all"], &["razr"]).is_err(), "an excluded host that is not there");
        let error = chosen(&["razer"], &["@laptop"]).expect_err("none left");
        assert_eq!(error.to_string(), "no host is left");
    }

    #[test]
    fn globs_fit_whole_names() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("p*0", "p620", true),
            ("p*0", "p62", false),
            ("*5*5*", "dex5550", true),
            ("a*b*c", "aXbXbc", true),
            ("?", "", false),
            ("p620", "p6200", false),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
