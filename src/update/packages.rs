//! Which packages a revision of nixpkgs has: the names of its attributes, none of them evaluated.

use std::collections::BTreeSet;
use std::time::Duration;

use super::lock::Locked;
use crate::build::nix;
use crate::event::harmless;
use crate::world::World;

/// The source is fetched meanwhile.
const PATIENCE: Duration = Duration::from_secs(900);

/// The names, aliases left out.
///
/// # Errors
/// With what Nix says, when the source cannot be fetched or is no nixpkgs.
pub async fn names(
    world: &World,
    locked: &Locked,
    system: &str,
) -> Result<BTreeSet<String>, String> {
    let text = expression(locked, system)?;
    let asked = nix(["eval", "--json", "--expr", &text]).timeout(PATIENCE);
    let said = world.run(asked).await.map_err(|e| harmless::line(&e.to_string()))?;
    if !said.ended.ok() {
        return Err(why(&said.err).unwrap_or_else(|| said.ended.to_string()));
    }
    let names: BTreeSet<String> =
        serde_json::from_str(&said.out.join("\n")).map_err(|e| harmless::line(&e.to_string()))?;
    Ok(names.iter().map(|name| harmless::line(name)).collect())
}

/// What Nix says is wrong: with a trace the first `error:` stands alone, and the last one says it.
fn why(said: &[String]) -> Option<String> {
    let errors = said.iter().filter_map(|line| line.trim_start().strip_prefix("error:"));
    let mut told = errors.map(str::trim).filter(|text| !text.is_empty());
    told.next_back().map(harmless::line)
}

/// Pure evaluation takes what a lock fixes (`builtins.fetchTree`, Nix manual).
fn expression(locked: &Locked, system: &str) -> Result<String, String> {
    let locked = serde_json::to_string(locked).map_err(|e| e.to_string())?;
    Ok(format!(
        "builtins.attrNames (import (builtins.fetchTree (builtins.fromJSON {})) {{ \
         system = {}; config.allowAliases = false; }})",
        quoted(&locked),
        quoted(system)
    ))
}

/// As a string of the Nix language: what would end it or mean something in it is escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_error_that_says_something() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let traced = "error:\n       … while evaluating a branch condition\n         at x:1:2:\n\n\
            \x20      error: function 'anonymous lambda' called with unexpected argument 'system'\n\
            \x20      at /nix/store/x/default.nix:1:1:\n";
        let wanted = "function 'anonymous lambda' called with unexpected argument 'system'";
        assert_eq!(why(&lines(traced)).as_deref(), Some(wanted));
        assert_eq!(why(&lines("warning: x\nerror: no route")).as_deref(), Some("no route"));
        assert_eq!(why(&lines("error:\n")), None);
    }

    #[test]
    fn no_text_of_a_lock_is_code() {
        assert_eq!(quoted(r#"a"b\c${d}$"#), r#""a\"b\\c\${d}\$""#);
        let text = r#"{"type": "path", "path": "\" + (abort \"x\") + \"${y}\u0007"}"#;
        let locked: Locked = serde_json::from_str(text).expect("locked");
        let text = expression(&locked, "x86_64-linux").expect("an expression");
        let inner = text.split("fromJSON \"").nth(1).expect("a string");
        let end = inner.replace("\\\\", "").replace("\\\"", "");
        let end = end.find('"').expect("its end");
        assert!(inner.replace("\\\\", "").replace("\\\"", "")[end..].starts_with("\")) { system"));
        assert!(!text.contains(" ${") && !text.contains('\u{7}'), "{text}");
    }
}
