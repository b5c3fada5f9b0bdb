//! Health checks of hosts.toml: exactly one kind each, judged by what it is handed to.

use std::path::{Component, Path, PathBuf};

use super::meaning::Judge;
use super::raw::RawProbe;
use super::{Address, Check, From, NameError, Probe};

const KINDS: &str = "script, unit, command, journal, dns, http or tcp";

/// Reads `[[hosts.NAME.health]]`; what is wrong is reported and left out.
pub(super) fn read(judge: &mut Judge<'_, '_>, host: &[&str], raw: Vec<RawProbe>) -> Vec<Probe> {
    let mut probes = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let index = index.to_string();
        probes.extend(one(judge, &[host, &["health", &index]].concat(), &raw));
    }
    probes
}

fn one(judge: &mut Judge<'_, '_>, at: &[&str], raw: &RawProbe) -> Option<Probe> {
    let kinds = kinds(raw);
    let path = |key| [at, &[key]].concat();
    let (key, text) = match kinds.as_slice() {
        [one] => *one,
        [] => {
            // A mistyped kind was reported as an unknown key already.
            if !judge.blamed(at) {
                judge.refuse(at, format!("a health check needs one of {KINDS}"));
            }
            return None;
        }
        [(first, _), (second, _), ..] => {
            let message = format!("a health check has both `{first}` and `{second}`");
            judge.refuse_key(&path(second), message, "write a second [[...health]] table");
            return None;
        }
    };
    let check = judge.name(&path(key), check(key, text));
    let anywhere = matches!(key, "http" | "tcp");
    if raw.from == Some(From::Deployer) && !anywhere {
        judge.refuse(&path("from"), format!("`{key}` runs on the target only"));
        return None;
    }
    let home = if anywhere { From::Deployer } else { From::Target };
    Some(Probe {
        check: check?,
        required: raw.required.unwrap_or(true),
        timeout_s: raw.timeout_s.unwrap_or(30),
        from: raw.from.unwrap_or(home),
        line: judge.line_of(&path(key)),
    })
}

fn kinds(raw: &RawProbe) -> Vec<(&'static str, &str)> {
    [
        ("script", &raw.script),
        ("unit", &raw.unit),
        ("command", &raw.command),
        ("journal", &raw.journal),
        ("dns", &raw.dns),
        ("http", &raw.http),
        ("tcp", &raw.tcp),
    ]
    .into_iter()
    .filter_map(|(key, text)| Some((key, text.as_deref()?)))
    .collect()
}

fn check(key: &str, text: &str) -> Result<Check, NameError> {
    match key {
        "script" => script(text).map(Check::Script),
        "unit" => unit_name(text).map(Check::Unit),
        "command" => line(text).map(Check::Command),
        "journal" => line(text).map(Check::Journal),
        "dns" => Address::new(text).map(|name| Check::Dns(name.into())),
        "http" => url(text).map(Check::Http),
        _ => host_port(text).map(Check::Tcp),
    }
}

fn script(text: &str) -> Result<PathBuf, NameError> {
    let path = Path::new(text);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if text.is_empty() || !inside || text.contains(char::is_control) {
        return refuse("wants a path inside the flake: relative, without '.' and '..'");
    }
    Ok(path.to_path_buf())
}

/// A unit's name; without a suffix it is a service, as for systemctl.
pub(super) fn unit_name(text: &str) -> Result<String, NameError> {
    const SUFFIXES: [&str; 10] = [
        "service",
        "socket",
        "target",
        "timer",
        "mount",
        "automount",
        "path",
        "slice",
        "scope",
        "swap",
    ];
    let plain = |c: char| c.is_ascii_alphanumeric() || ":_.\\@-".contains(c);
    let bad = text.is_empty() || text.len() > 240 || text.starts_with(['-', '.']);
    if bad || !text.chars().all(plain) {
        return refuse("wants the name of a unit, such as \"grafana.service\"");
    }
    let complete = text.rsplit_once('.').is_some_and(|(_, end)| SUFFIXES.contains(&end));
    Ok(if complete { text.to_owned() } else { format!("{text}.service") })
}

fn line(text: &str) -> Result<String, NameError> {
    if text.trim().is_empty() || text.contains(char::is_control) {
        return refuse("wants one line, not empty");
    }
    Ok(text.to_owned())
}

fn url(text: &str) -> Result<String, NameError> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let clean = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if host.is_empty() || !clean {
        return refuse("wants a URL that begins with http:// or https://");
    }
    Ok(text.to_owned())
}

fn host_port(text: &str) -> Result<String, NameError> {
    let parts = text.rsplit_once(':').filter(|(host, port)| {
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host_ok = match bracketed {
            Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.contains(':') && Address::new(*host).is_ok(),
        };
        host_ok && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    match parts {
        Some(_) => Ok(text.to_owned()),
        None => refuse("wants HOST:PORT, such as \"localhost:5432\" or \"[::1]:22\""),
    }
}

fn refuse<T>(why: &str) -> Result<T, NameError> {
    Err(NameError(why.to_owned()))
}
