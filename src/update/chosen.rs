//! Which inputs are to move: what was typed, held against the flake's own inputs. Pure.
//!
//! Nix itself takes a name that is none for a warning and moves nothing, so it is asked only for
//! names that are in flake.lock.

use super::lock::Lock;

/// What to ask Nix for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// Every input.
    All,
    /// These.
    Some(Vec<String>),
}

/// A name that cannot be moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// There is none of this name.
    #[error("flake.lock has no input '{name}'")]
    Unknown {
        /// What was typed, harmless.
        name: String,
        /// All that there are.
        known: Vec<String>,
    },
    /// It has no lock of its own.
    #[error("input {name} follows {of}, and moves with that alone")]
    Follows {
        /// What was typed.
        name: String,
        /// What it follows.
        of: String,
    },
    /// `--except` left nothing.
    #[error("no input is left to update")]
    Nothing,
}

/// Names and exceptions as what Nix is asked for. No name means every input.
///
/// # Errors
/// When a name is no input of the flake, or has no lock of its own.
pub fn chosen(lock: &Lock, names: &[String], except: &[String]) -> Result<Chosen, Mistake> {
    let inputs = lock.inputs();
    for name in names.iter().chain(except) {
        if !inputs.contains_key(name.as_str()) || !is_name(name) {
            let shown = name.escape_debug().take(64).collect();
            let known = inputs.keys().map(|k| k.escape_debug().collect()).collect();
            return Err(Mistake::Unknown { name: shown, known });
        }
    }
    if let Some(name) = names.iter().find(|n| inputs.get(n.as_str()) == Some(&true)) {
        let of = lock.follows(name).unwrap_or_default().escape_debug().collect();
        return Err(Mistake::Follows { name: name.clone(), of });
    }
    if names.is_empty() && except.is_empty() {
        return Ok(Chosen::All);
    }
    let own = inputs.iter().filter(|(_, follows)| !**follows).map(|(name, _)| *name);
    let wanted = |name: &&str| {
        (names.is_empty() || names.iter().any(|n| n == name)) && !except.iter().any(|n| n == name)
    };
    let some: Vec<String> = own.filter(wanted).filter(|n| is_name(n)).map(str::to_owned).collect();
    if some.is_empty() { Err(Mistake::Nothing) } else { Ok(Chosen::Some(some)) }
}

/// Nix's own rule (`flakeIdRegex`), so that no name is a flag.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str], except: &[&str]) -> Result<Chosen, Mistake> {
        let text = r#"{"version": 7, "root": "root", "nodes": {
          "root": {"inputs": {"nixpkgs": "nixpkgs_8", "hm": "hm", "odd": ["hm", "odd"],
            "-x": "hm"}},
          "hm": {"locked": {}}, "nixpkgs_8": {"locked": {}}}}"#;
        let lock = Lock::parse(text.as_bytes()).expect("a lock");
        let words = |w: &[&str]| w.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        chosen(&lock, &words(names), &words(except))
    }

    #[test]
    fn only_inputs_of_the_flake_itself_are_asked_for() {
        let some = |w: &[&str]| Ok(Chosen::Some(w.iter().map(|w| (*w).to_owned()).collect()));
        assert_eq!(of(&[], &[]), Ok(Chosen::All));
        assert_eq!(of(&["nixpkgs"], &[]), some(&["nixpkgs"]));
        assert_eq!(of(&[], &["nixpkgs"]), some(&["hm"]), "and no name that is a flag");
        assert_eq!(of(&[], &["nixpkgs", "hm"]), Err(Mistake::Nothing));
        for bad in ["nixpkg", "nixpkgs_8", "-x", "--help", ""] {
            assert!(matches!(of(&[bad], &[]), Err(Mistake::Unknown { .. })), "{bad}");
            assert!(matches!(of(&[], &[bad]), Err(Mistake::Unknown { .. })), "{bad}");
        }
        assert!(matches!(of(&["odd"], &[]), Err(Mistake::Follows { of, .. }) if of == "hm/odd"));
        assert_eq!(of(&[], &["odd"]), some(&["hm", "nixpkgs"]));
    }
}
