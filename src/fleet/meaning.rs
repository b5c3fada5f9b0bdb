//! What hosts.toml means: defaults, names, references between hosts.
//!
//! Its input has the right shape already; here a value is judged by what it will be used for.
//! Every judge reports and goes on, so that all mistakes of a file come at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use super::jump;
use super::mistake::Mistake;
use super::names::RESERVED;
use super::place::Places;
use super::probe;
use super::raw::{
    RawBuilder, RawCache, RawCommon, RawFile, RawHost, RawIssues, RawMetrics, RawNotify,
};
use super::{
    Address, AttrName, BuildOn, Builder, Cache, Checks, Fleet, FleetLimits, History, Host,
    HostName, IgnoredIssue, Issues, Limits, Metrics, NameError, Notify, UserName,
};

/// Reads a file of the right shape; what it says is worth something only without mistakes.
pub(super) fn read(
    source: &Path,
    text: &str,
    raw: RawFile,
    places: &Places<'_>,
    mistakes: &mut Vec<Mistake>,
) -> Fleet {
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).collect();
    let mut judge = Judge { places, ends, mistakes, hosts: places.names("hosts") };
    let RawFile { defaults, hosts, cache, builders, check, issues, metrics, history, notify } = raw;
    judge.common(&["defaults"], &defaults.common, &builders);
    let canary = judge.canary(defaults.canary.as_deref());
    let hosts = judge.hosts(hosts, &defaults.common, &builders);
    Fleet {
        source: source.to_path_buf(),
        flake: judge.flake(defaults.flake),
        hosts,
        limits: FleetLimits {
            max_parallel: defaults.max_parallel.unwrap_or(8),
            max_unavailable: defaults.max_unavailable,
            canary,
            max_failures: defaults.max_failures,
            keep_going: defaults.keep_going,
        },
        cache: cache.and_then(|raw| judge.cache(raw)),
        builders: judge.builders(builders),
        issues: judge.issues(issues),
        metrics: judge.metrics(metrics),
        history: History { runs: history.runs, days: history.days },
        notify: judge.notify(notify),
        checks: Checks { baseline: check.baseline, rules: check.rules, paths: check.paths },
    }
}

/// The first moment after a day, UTC.
fn end_of_day(day: &str) -> Option<i64> {
    let next = day.parse::<jiff::civil::Date>().ok()?.tomorrow().ok()?;
    Some(next.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// Collects mistakes while it turns raw values into names.
pub(super) struct Judge<'a, 'i> {
    places: &'a Places<'i>,
    /// Where its lines end, in bytes.
    ends: Vec<usize>,
    mistakes: &'a mut Vec<Mistake>,
    hosts: Vec<String>,
}

impl Judge<'_, '_> {
    /// Reports the value at a path.
    pub(super) fn refuse(&mut self, path: &[&str], message: impl Into<String>) {
        let span = self.places.value(path);
        self.mistakes.push(Mistake::new(span, message));
    }

    pub(super) fn refuse_key(&mut self, path: &[&str], message: impl Into<String>, note: &str) {
        let span = self.places.key(path);
        self.mistakes.push(Mistake::new(span, message).note(note));
    }

    /// Takes the value at a path if it is a good name.
    pub(super) fn name<T>(&mut self, path: &[&str], made: Result<T, NameError>) -> Option<T> {
        match made {
            Ok(name) => Some(name),
            Err(error) => {
                let key = path.iter().rev().find(|p| p.parse::<usize>().is_err());
                self.refuse(path, format!("`{}` {error}", key.unwrap_or(&"")));
                None
            }
        }
    }

    /// Whether a key or value of the table at a path was reported already.
    pub(super) fn blamed(&self, path: &[&str]) -> bool {
        let inside = self.places.entries(path);
        self.mistakes.iter().any(|mistake| inside.contains(&mistake.span))
    }

    /// Line of the key at the end of a path, from 1.
    pub(super) fn line_of(&self, path: &[&str]) -> usize {
        self.line(&self.places.key(path))
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.ends.partition_point(|end| *end < span.start) + 1
    }

    fn flake(&mut self, flake: Option<String>) -> Option<String> {
        let bad = |f: &String| {
            f.is_empty() || f.starts_with('-') || f.contains(|c: char| c.is_control() || c == '#')
        };
        if flake.as_ref().is_some_and(bad) {
            self.refuse(
                &["defaults", "flake"],
                "`flake` is a path or flake reference, without '#' and not beginning with '-'",
            );
        }
        flake
    }

    /// An ignored issue says which, until when and why, or it is forgotten for ever.
    fn issues(&mut self, raw: RawIssues) -> Issues {
        let mut ignore = Vec::new();
        for (at, one) in raw.ignore.into_iter().enumerate() {
            let (at, day) = (at.to_string(), one.until.as_deref().map(end_of_day));
            let path = ["issues", "ignore", at.as_str()];
            match (one.id, day, one.reason.filter(|r| !r.trim().is_empty())) {
                (Some(id), Some(Some(until_ms)), Some(reason)) => {
                    ignore.push(IgnoredIssue { id: u64::from(id), until_ms, reason });
                }
                (_, Some(None), _) => self.refuse(
                    &[&path[..], &["until"]].concat(),
                    "`until` is a day, for example \"2026-10-31\"",
                ),
                _ => self.refuse(&path, "an ignored issue needs `id`, `until` and `reason`"),
            }
        }
        Issues { api: raw.api, ignore, severity: raw.severity }
    }

    /// An address in a file that is shared holds no password.
    fn metrics(&mut self, raw: RawMetrics) -> Metrics {
        let http = |url: &str| {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | '?' | '#');
            rest.is_some_and(|rest| {
                !rest.is_empty() && !rest.starts_with('/') && !rest.contains(bad)
            })
        };
        if raw.push.as_deref().is_some_and(|url| !http(url)) {
            self.refuse(
                &["metrics", "push"],
                "`metrics.push` is an address such as http://dex5550:9091, without a password",
            );
        }
        if raw.textfile.as_deref().is_some_and(|t| t.is_empty() || t.contains(char::is_control)) {
            self.refuse(&["metrics", "textfile"], "`metrics.textfile` is a folder or a .prom file");
        }
        Metrics { textfile: raw.textfile, push: raw.push }
    }

    fn notify(&mut self, raw: RawNotify) -> Notify {
        let command = raw.command.unwrap_or_default();
        if command.first().is_some_and(|program| program.trim().is_empty()) {
            self.refuse(&["notify", "command"], "`command` begins with a program");
        }
        Notify { command, bell: raw.bell.unwrap_or(false), on: raw.on.unwrap_or_default() }
    }

    fn canary(&mut self, canary: Option<&str>) -> Option<HostName> {
        let path = ["defaults", "canary"];
        let canary = canary?;
        if !self.hosts.iter().any(|h| h == canary) {
            self.unknown_host(&path, "canary", canary, &[]);
            return None;
        }
        self.name(&path, HostName::new(canary))
    }

    fn unknown_host(&mut self, path: &[&str], key: &str, name: &str, more: &[&str]) {
        let shown: String = name.escape_debug().take(64).collect();
        let message = format!("`{key}` names `{shown}`, which this file does not know");
        let known = self.hosts.iter().map(String::as_str).chain(more.iter().copied());
        let mistake = Mistake::new(self.places.value(path), message).nearest(name, known);
        self.mistakes.push(mistake);
    }

    /// Judges keys that `[defaults]` and hosts share, where they were written.
    fn common(&mut self, at: &[&str], common: &RawCommon, builders: &BTreeMap<String, RawBuilder>) {
        let path = |key| [at, &[key]].concat();
        if let Some(user) = &common.user {
            self.name(&path("user"), UserName::new(user));
        }
        let Some(place) = &common.build_on else { return };
        let known = matches!(place.as_str(), "local" | "target")
            || builders.contains_key(place)
            || self.hosts.contains(place);
        if !known {
            let more: Vec<&str> = ["local", "target"]
                .into_iter()
                .chain(builders.keys().map(String::as_str))
                .collect();
            self.unknown_host(&path("build_on"), "build_on", place, &more);
        }
    }

    fn hosts(
        &mut self,
        raw: BTreeMap<String, RawHost>,
        defaults: &RawCommon,
        builders: &BTreeMap<String, RawBuilder>,
    ) -> Vec<Host> {
        let mut placed: Vec<(usize, Host)> = Vec::new();
        let mut ways = BTreeMap::new();
        for (name, host) in raw {
            let at = ["hosts", name.as_str()];
            let key = self.places.key(&at);
            self.common(&at, &host.common, builders);
            let own = host.common.jump.is_some();
            let way = host.common.jump.clone().or_else(|| defaults.jump.clone());
            ways.insert(name.clone(), (own, way.unwrap_or_default()));
            if let Some(host) = self.host(&name, &key, host, defaults) {
                placed.push((key.start, host));
            }
        }
        placed.sort_by_key(|(start, _)| *start);
        let mut hosts: Vec<Host> = placed.into_iter().map(|(_, host)| host).collect();
        jump::resolve(self, &ways, &mut hosts);
        hosts
    }

    fn host(
        &mut self,
        text: &str,
        key: &Range<usize>,
        raw: RawHost,
        defaults: &RawCommon,
    ) -> Option<Host> {
        let at = ["hosts", text];
        let path = |key| ["hosts", text, key];
        let name = self.host_name(text, key);
        let addresses = self.addresses(text, &raw);
        let attr = raw.attr.as_deref();
        let attr = match attr {
            Some(attr) => self.name(&path("attr"), AttrName::new(attr)),
            None => AttrName::new(text).ok(),
        };
        let tags = self.tags(&at, raw.tags);
        let critical_services = self.units(&at, &raw.critical_services);
        let health = probe::read(self, &at, raw.health);
        let common = raw.common.over(defaults);
        Some(Host {
            name: name.clone()?,
            addresses: addresses?,
            attr: attr?,
            tags,
            wave: raw.wave.unwrap_or(1),
            role: raw.role.unwrap_or_default(),
            critical_services,
            tailscale: raw.tailscale,
            limits: Limits {
                memory_percent: raw.limits.memory.unwrap_or(90),
                disk_percent: raw.limits.disk.unwrap_or(90),
            },
            health,
            user: common.user.and_then(|user| UserName::new(user).ok()),
            sudo: common.sudo.unwrap_or_default(),
            build_on: build_on(common.build_on.as_deref(), &name?),
            mode: common.mode.unwrap_or_default(),
            soak_s: common.soak_s.unwrap_or(15),
            activate_timeout_s: common.activate_timeout_s.unwrap_or(300),
            verify_timeout_s: common.verify_timeout_s.unwrap_or(120),
            commit_timeout_s: common.commit_timeout_s.unwrap_or(120),
            on_revert_failure: common.on_revert_failure,
            on_inhibitor: common.on_inhibitor.unwrap_or_default(),
            reboot: common.reboot.unwrap_or_default(),
            optional: common.optional.unwrap_or_default(),
            accept_flake_config: common.accept_flake_config.unwrap_or(false),
            ssh_control: common.ssh.control.unwrap_or_default(),
            jumps: Vec::new(),
            line: self.line(key),
        })
    }

    fn host_name(&mut self, text: &str, key: &Range<usize>) -> Option<HostName> {
        if RESERVED.contains(&text) {
            let message =
                format!("a host cannot be named `{text}`: nixdeploy has that word itself");
            let note = format!("name it otherwise and say `attr = \"{text}\"` in its table");
            self.mistakes.push(Mistake::new(key.clone(), message).note(note));
            return None;
        }
        match HostName::new(text) {
            Ok(name) => Some(name),
            Err(error) => {
                self.mistakes.push(Mistake::new(key.clone(), format!("host name {error}")));
                None
            }
        }
    }

    fn addresses(&mut self, name: &str, raw: &RawHost) -> Option<Vec<Address>> {
        let path = |key| ["hosts", name, key];
        match (&raw.address, &raw.addresses) {
            (Some(_), Some(_)) => {
                let message = format!("host `{name}` has both `address` and `addresses`");
                self.refuse_key(&path("addresses"), message, "put all of them into `addresses`");
                None
            }
            (Some(one), None) => {
                Some(vec![self.name(&path("address"), Address::new(one.as_str()))?])
            }
            (None, Some(several)) => {
                let mut good = Vec::new();
                for (index, text) in several.iter().enumerate() {
                    let index = index.to_string();
                    let at = ["hosts", name, "addresses", &index];
                    good.extend(self.name(&at, Address::new(text.as_str())));
                }
                (good.len() == several.len()).then_some(good)
            }
            // A name that is no address was refused as a name, but for empty labels: `a..b`.
            (None, None) => match Address::new(name) {
                Ok(address) => Some(vec![address]),
                Err(error) => {
                    if HostName::new(name).is_ok() {
                        let message = format!("host `{name}` needs an `address`: {error}");
                        self.refuse_key(&["hosts", name], message, "`address = \"10.0.0.7\"`");
                    }
                    None
                }
            },
        }
    }

    fn tags(&mut self, at: &[&str], tags: Vec<String>) -> Vec<String> {
        for (index, tag) in tags.iter().enumerate() {
            let index = index.to_string();
            self.name(&[at, &["tags", &index]].concat(), HostName::new(tag.as_str()));
        }
        let mut seen = BTreeSet::new();
        tags.into_iter().filter(|tag| seen.insert(tag.clone())).collect()
    }

    fn units(&mut self, at: &[&str], names: &[String]) -> Vec<String> {
        let mut units = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let index = index.to_string();
            let path = [at, &["critical_services", &index]].concat();
            units.extend(self.name(&path, probe::unit_name(name)));
        }
        units
    }

    fn cache(&mut self, raw: RawCache) -> Option<Cache> {
        let plain = |s: &str| !s.contains(|c: char| c.is_whitespace() || c.is_control());
        let Some(url) = raw.url else {
            if !self.blamed(&["cache"]) {
                self.refuse_key(
                    &["cache"],
                    "`[cache]` needs a `url`",
                    "`url = \"http://p620:5000\"`",
                );
            }
            return None;
        };
        if !url.contains("://") || !plain(&url) {
            self.refuse(&["cache", "url"], "`cache.url` is a URL such as http://p620:5000");
        }
        let key = raw.public_key;
        if key.as_ref().is_some_and(|key| !key.contains(':') || !plain(key)) {
            self.refuse(&["cache", "public_key"], "`cache.public_key` has the form NAME:BASE64");
        }
        Some(Cache { url, public_key: key })
    }

    fn builders(&mut self, raw: BTreeMap<String, RawBuilder>) -> BTreeMap<String, Builder> {
        let mut builders = BTreeMap::new();
        for (name, raw) in raw {
            let at = ["builders", name.as_str()];
            let path = |key| ["builders", name.as_str(), key];
            if let Err(error) = HostName::new(name.as_str()) {
                self.refuse_key(&at, format!("builder's name {error}"), "`[builders.NAME]`");
                continue;
            }
            let address = match &raw.address {
                Some(text) => self.name(&path("address"), Address::new(text.as_str())),
                None => None,
            };
            let user = match &raw.user {
                Some(text) => self.name(&path("user"), UserName::new(text.as_str())),
                None => None,
            };
            let systems = raw.systems.unwrap_or_else(|| vec!["x86_64-linux".to_owned()]);
            self.words(&path("systems"), &systems);
            self.words(&path("features"), &raw.features);
            let jobs = raw.jobs.unwrap_or(1);
            builders.insert(name, Builder { address, user, systems, jobs, features: raw.features });
        }
        builders
    }

    /// Words that go into Nix's `builders` line, where blanks, commas and `;` have a meaning.
    fn words(&mut self, path: &[&str], words: &[String]) {
        for (index, word) in words.iter().enumerate() {
            let index = index.to_string();
            self.name(&[path, &[&index]].concat(), HostName::new(word.as_str()));
        }
    }
}

/// A host that is to be built on itself is built on the target.
fn build_on(place: Option<&str>, own: &HostName) -> BuildOn {
    match place {
        None | Some("local") => BuildOn::Local,
        Some("target") => BuildOn::Target,
        Some(name) if name == own.as_str() => BuildOn::Target,
        Some(name) => HostName::new(name).map_or(BuildOn::Local, BuildOn::Host),
    }
}

impl RawCommon {
    /// What a host says, and where it says nothing, what `[defaults]` says.
    fn over(self, defaults: &Self) -> Self {
        Self {
            user: self.user.or_else(|| defaults.user.clone()),
            jump: self.jump.or_else(|| defaults.jump.clone()),
            sudo: self.sudo.or(defaults.sudo),
            build_on: self.build_on.or_else(|| defaults.build_on.clone()),
            mode: self.mode.or(defaults.mode),
            soak_s: self.soak_s.or(defaults.soak_s),
            activate_timeout_s: self.activate_timeout_s.or(defaults.activate_timeout_s),
            verify_timeout_s: self.verify_timeout_s.or(defaults.verify_timeout_s),
            commit_timeout_s: self.commit_timeout_s.or(defaults.commit_timeout_s),
            on_revert_failure: self.on_revert_failure.or(defaults.on_revert_failure),
            on_inhibitor: self.on_inhibitor.or(defaults.on_inhibitor),
            reboot: self.reboot.or(defaults.reboot),
            optional: self.optional.or(defaults.optional),
            accept_flake_config: self.accept_flake_config.or(defaults.accept_flake_config),
            ssh: super::raw::RawSsh { control: self.ssh.control.or(defaults.ssh.control) },
        }
    }
}
