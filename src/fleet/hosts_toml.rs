//! hosts.toml: text to [`super::Fleet`], with every mistake at its place.
//!
//! Three passes, each going on after a mistake: TOML itself, the shape (against the schema),
//! the meaning. Reads no file; the caller has the text.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, Deserializer};

use super::Fleet;
pub use super::mistake::{Mistake, drawable, nearest, render};
use super::place::Places;
use super::raw::RawFile;
use super::{meaning, schema, structure};

/// The name it is looked for under.
pub const FILE_NAME: &str = "hosts.toml";

/// Understands the text of a hosts.toml.
///
/// # Errors
/// Every mistake that could be found, in the order of the file; never an empty list.
pub fn parse(source: &Path, text: &str) -> Result<Fleet, Vec<Mistake>> {
    let (mut root, errors) = DeTable::parse_recoverable(text);
    // After a broken line the parser guesses; only a key that is there twice leaves it certain.
    let certain = errors.iter().all(|e| e.message().starts_with("duplicate key"));
    let mut mistakes: Vec<Mistake> = errors.iter().map(|e| of_toml(e, text)).collect();
    if !certain {
        return Err(in_order(mistakes));
    }
    let places = Places::new(root.clone());
    structure::check(root.get_mut(), &schema::SCHEMA, &mut mistakes);
    let raw = RawFile::deserialize(Deserializer::from(root)).unwrap_or_else(|error| {
        mistakes.push(of_toml(&error, text));
        RawFile::default()
    });
    let fleet = meaning::read(source, text, raw, &places, &mut mistakes);
    if mistakes.is_empty() { Ok(fleet) } else { Err(in_order(mistakes)) }
}

/// Looks for hosts.toml in a folder and the folders above it.
pub fn find(start: &Path, exists: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    start.ancestors().map(|folder| folder.join(FILE_NAME)).find(|path| exists(path))
}

fn of_toml(error: &toml::de::Error, text: &str) -> Mistake {
    let span = error.span().unwrap_or(0..0);
    let word = text.get(span.clone()).unwrap_or_default();
    let message = error.message().lines().next().unwrap_or_default();
    if message.starts_with("duplicate key") {
        return Mistake::new(span, format!("`{}` is there twice", word.escape_debug()));
    }
    Mistake::new(span, format!("this is no TOML: {message}"))
}

fn in_order(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort_by_key(|m| (m.span.start, m.span.end));
    mistakes
}

#[cfg(test)]
mod tests {
    use super::super::{BuildOn, Check, From, Host, Mode, Optional, Role, SshControl};
    use super::*;

    fn good(text: &str) -> Fleet {
        parse(Path::new("hosts.toml"), text).unwrap_or_else(|mistakes| {
            panic!("{}", render(&mistakes, Path::new("hosts.toml"), text, false))
        })
    }

    /// Mistakes as `LINE:COLUMN MESSAGE [-> NEAREST]`.
    fn bad(text: &str) -> Vec<String> {
        let mistakes = parse(Path::new("hosts.toml"), text).expect_err(text);
        let place = |at: usize| {
            let before = &text[..at];
            let line = before.matches('\n').count() + 1;
            (line, at - before.rfind('\n').map_or(0, |n| n + 1) + 1)
        };
        mistakes
            .iter()
            .map(|m| {
                let (line, column) = place(m.span.start);
                let nearest = m.nearest.as_ref().map(|n| format!(" -> {n}")).unwrap_or_default();
                format!("{line}:{column} {}{nearest}", m.message)
            })
            .collect()
    }

    #[test]
    fn a_fleet_needs_only_names() {
        let fleet = good("[hosts.p620]\n[hosts.a]\n");
        let names: Vec<&str> = fleet.hosts.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, ["p620", "a"], "order of the file");
        assert_eq!(fleet.limits.max_parallel, 8);
        assert_eq!((fleet.hosts[0].line, fleet.hosts[1].line), (1, 2));
        assert_eq!(good("").hosts, Vec::new());
    }

    #[test]
    fn the_defaults_are_those_that_the_schema_tells() {
        let schema = schema::schema();
        let keys = &schema["properties"]["hosts"]["additionalProperties"]["properties"];
        let told = |key: &str| keys[key]["default"].clone();
        let fleet = good("[hosts.a]");
        let host: &Host = &fleet.hosts[0];
        assert_eq!(told("soak_s"), host.soak_s);
        assert_eq!(told("activate_timeout_s"), host.activate_timeout_s);
        assert_eq!(told("verify_timeout_s"), host.verify_timeout_s);
        assert_eq!(told("commit_timeout_s"), host.commit_timeout_s);
        assert_eq!(told("wave"), host.wave);
        assert_eq!(told("accept_flake_config"), host.accept_flake_config);
        let word = |value: serde_json::Result<serde_json::Value>| value.expect("a word");
        assert_eq!(told("sudo"), word(serde_json::to_value(host.sudo)));
        assert_eq!(told("mode"), word(serde_json::to_value(host.mode)));
        assert_eq!(told("role"), word(serde_json::to_value(host.role)));
        assert_eq!(told("reboot"), word(serde_json::to_value(host.reboot)));
        assert_eq!(told("optional"), word(serde_json::to_value(host.optional)));
        assert_eq!(told("on_inhibitor"), word(serde_json::to_value(host.on_inhibitor)));
        assert_eq!(told("build_on"), word(serde_json::to_value(&host.build_on)));
        let limits = &keys["limits"]["properties"];
        assert_eq!(limits["memory"]["default"], host.limits.memory_percent);
        assert_eq!(limits["disk"]["default"], host.limits.disk_percent);
        let control = &keys["ssh"]["properties"]["control"]["default"];
        assert_eq!(*control, word(serde_json::to_value(host.ssh_control)));
        let top = &schema["properties"]["defaults"]["properties"];
        assert_eq!(top["max_parallel"]["default"], fleet.limits.max_parallel);
    }

    #[test]
    fn a_host_says_otherwise_than_the_defaults() {
        let fleet = good(
            "[defaults]\nflake = '~/.config/nixos'\nuser = 'root'\nssh.control = 'user'\n\
             build_on = 'p620'\nsoak_s = 3\ncanary = 'p620'\n\
             [hosts.p620]\naddresses = ['10.0.0.1', 'p620.lan']\nattr = 'workstation'\n\
             [hosts.dex]\nrole = 'network'\nuser = 'admin'\nmode = 'fast'\noptional = 'defer'\n\
             critical_services = ['grafana', 'dns.socket']\nlimits.disk = 80\n\
             [hosts.dex.ssh]\ncontrol = 'none'\n\
             [builders.big]\njobs = 16\n[cache]\nurl = 'http://p620:5000'\n",
        );
        assert_eq!(fleet.flake.as_deref(), Some("~/.config/nixos"));
        let [p620, dex] = fleet.hosts.as_slice() else { panic!("two hosts") };
        assert_eq!(p620.build_on, BuildOn::Target, "built on itself");
        assert!(matches!(&dex.build_on, BuildOn::Host(h) if h.as_str() == "p620"));
        assert_eq!((p620.ssh_control, dex.ssh_control), (SshControl::User, SshControl::None));
        assert_eq!((p620.soak_s, dex.soak_s), (3, 3));
        assert_eq!(
            (dex.role, dex.mode, dex.optional),
            (Role::Network, Mode::Fast, Optional::Defer)
        );
        assert_eq!(p620.addresses.len(), 2);
        assert_eq!((p620.attr.as_str(), dex.attr.as_str()), ("workstation", "dex"));
        assert_eq!(dex.critical_services, ["grafana.service", "dns.socket"]);
        assert_eq!((dex.limits.disk_percent, dex.limits.memory_percent), (80, 90));
        assert_eq!(fleet.builders["big"].systems, ["x86_64-linux"]);
    }

    #[test]
    fn probes_have_one_kind_and_run_where_they_can() {
        let fleet = good(
            "[[hosts.a.health]]\nscript = 'checks/a.sh'\n\
             [[hosts.a.health]]\nhttp = 'https://a/health'\nrequired = false\ntimeout_s = 5\n\
             [[hosts.a.health]]\ntcp = '[::1]:22'\nfrom = 'target'\n\
             [[hosts.a.health]]\nunit = 'grafana'\n",
        );
        let probes = &fleet.hosts[0].health;
        assert_eq!(probes[0].check, Check::Script("checks/a.sh".into()));
        assert_eq!((probes[0].from, probes[0].timeout_s), (From::Target, 30));
        assert_eq!((probes[1].from, probes[1].required), (From::Deployer, false));
        assert_eq!(probes[2].from, From::Target);
        assert_eq!(probes[3].check, Check::Unit("grafana.service".to_owned()));
        assert_eq!(probes.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 4, 8, 11]);
    }

    #[test]
    fn each_kind_of_mistake_is_told_at_its_place() {
        for (text, expected) in [
            ("[default]", "1:2 unknown key `default` at the top level -> defaults"),
            ("[hosts.a]\nsoak = 1", "2:1 unknown key `soak` in `hosts.a` -> soak_s"),
            (
                "[hosts.a]\nssh.contol = 'own'",
                "2:5 unknown key `contol` in `hosts.a.ssh` -> control",
            ),
            (
                "[hosts.a]\nsoak_s = 'x'",
                "2:10 `hosts.a.soak_s` is a whole number from 0 to 3600, found a string",
            ),
            (
                "[hosts.a]\nsoak_s = 9999",
                "2:10 `hosts.a.soak_s` is a whole number from 0 to 3600, found 9999",
            ),
            (
                "[hosts.a]\nsoak_s = -1",
                "2:10 `hosts.a.soak_s` is a whole number from 0 to 3600, found -1",
            ),
            ("[hosts.a]\nwave = 0", "2:8 `hosts.a.wave` is a whole number from 1 to 1000, found 0"),
            (
                "[hosts.a]\nmode = 'fats'",
                "2:8 `hosts.a.mode` is \"standard\", \"fast\" or \"auto\", found \"fats\" -> fast",
            ),
            (
                "[hosts.a]\ntailscale = 'yes'",
                "2:13 `hosts.a.tailscale` is true or false, found a string",
            ),
            ("[hosts.a]\ntags = 'x'", "2:8 `hosts.a.tags` is a list, found a string"),
            ("[hosts.a]\ntags = [1]", "2:9 `hosts.a.tags` is a string, found a whole number"),
            ("[hosts]\na = 1", "2:5 `hosts.a` is a table, found a whole number"),
            ("[hosts.a]\naddresses = []", "2:13 `hosts.a.addresses` is empty"),
            ("[hosts.a]\n[hosts.b]\n[hosts.a]", "3:8 `a` is there twice"),
            ("[hosts.a]\nwave = 1\nwave = 2", "3:1 `wave` is there twice"),
            ("[hosts.check]", "1:8 a host cannot be named `check`: nixdeploy has that word itself"),
            ("[hosts.-x]", "1:8 host name '-x'"),
            ("[hosts.\"a\\u001bb\"]", "1:8 host name 'a\\u{1b}b'"),
            (
                "[hosts.\"a..b\"]",
                "1:8 host `a..b` needs an `address`: 'a..b' must be a host name or an IP address",
            ),
            (
                "[hosts.a]\naddress = 'x'\naddresses = ['y']",
                "3:1 host `a` has both `address` and `addresses`",
            ),
            (
                "[hosts.a]\naddress = '-oProxyCommand=x'",
                "2:11 `address` '-oProxyCommand=x' must be a host name or an IP address",
            ),
            ("[hosts.a]\nuser = 'a b'", "2:8 `user` 'a b'"),
            (
                "[hosts.a]\nattr = 'a\"b'",
                "2:8 `attr` 'a\\\"b' is no name of a configuration: letters, digits, '.', '_', '-'",
            ),
            (
                "[hosts.a]\nbuild_on = 'taregt'",
                "2:12 `build_on` names `taregt`, which this file does not know -> target",
            ),
            (
                "[defaults]\ncanary = 'p602'\n[hosts.p620]",
                "2:10 `canary` names `p602`, which this file does not know -> p620",
            ),
            (
                "[defaults]\nflake = '-x'",
                "2:9 `flake` is a path or flake reference, without '#' and not beginning with '-'",
            ),
            (
                "[hosts.a]\ncritical_services = ['a b']",
                "2:22 `critical_services` wants the name of a unit, such as \"grafana.service\"",
            ),
            (
                "[[hosts.a.health]]\nrequired = true",
                "1:1 a health check needs one of script, unit, command, journal, dns, http or tcp",
            ),
            (
                "[[hosts.a.health]]\nhtpp = 'http://x'",
                "2:1 unknown key `htpp` in `hosts.a.health` -> http",
            ),
            (
                "[[hosts.a.health]]\nunit = 'a'\ndns = 'b'",
                "3:1 a health check has both `unit` and `dns`",
            ),
            (
                "[[hosts.a.health]]\nunit = 'a'\nfrom = 'deployer'",
                "3:8 `unit` runs on the target only",
            ),
            (
                "[[hosts.a.health]]\nscript = '../x'",
                "2:10 `script` wants a path inside the flake: relative, without '.' and '..'",
            ),
            (
                "[[hosts.a.health]]\nhttp = 'ftp://x'",
                "2:8 `http` wants a URL that begins with http:// or https://",
            ),
            (
                "[[hosts.a.health]]\ntcp = 'x:99999'",
                "2:7 `tcp` wants HOST:PORT, such as \"localhost:5432\" or \"[::1]:22\"",
            ),
            ("[cache]", "1:2 `[cache]` needs a `url`"),
            ("[cache]\nurl = 'p620'", "2:7 `cache.url` is a URL such as http://p620:5000"),
            ("[builders.b]\nfeatures = ['a,b']", "2:13 `features` 'a,b'"),
            ("[hosts.a", "1:9 this is no TOML: unclosed table, expected `]`"),
        ] {
            let told = bad(text);
            let ok = told.len() == 1 && told[0].starts_with(expected);
            assert!(ok, "{text}\n{told:#?}\n{expected}");
        }
    }

    #[test]
    fn all_mistakes_of_a_file_come_at_once() {
        let text = "[defaults]\nmax_paralel = 4\ncanary = 'b'\n[hosts.a]\nwave = 0\nuser = '$x'\n\
                    [hosts.diff]\n[hosts.c]\nwave = 1\nwave = 2\n";
        let lines: Vec<String> =
            bad(text).iter().map(|m| m.split(' ').next().unwrap_or_default().to_owned()).collect();
        assert_eq!(lines, ["2:1", "3:10", "5:8", "6:8", "7:8", "10:1"]);
    }

    #[test]
    fn a_mistake_is_drawn_with_its_line() {
        let text = "[hosts.p620]\nsoak = 20\n";
        let mistakes = parse(Path::new("/etc/hosts.toml"), text).expect_err("unknown key");
        let drawn = render(&mistakes, Path::new("/etc/hosts.toml"), text, false);
        insta::assert_snapshot!(drawn, @r"
        error: unknown key `soak` in `hosts.p620`
         --> /etc/hosts.toml:2:1
          |
        2 | soak = 20
          | ^^^^ did you mean `soak_s`?
        ");
        assert!(render(&mistakes, Path::new("x"), text, true).contains('\u{1b}'));
    }

    #[test]
    fn the_first_users_fleet_is_understood() {
        let fleet = good(include_str!("../../hosts.toml"));
        let names: Vec<&str> = fleet.hosts.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, ["p620", "razer", "p510", "dex5550", "samsung"]);
        assert_eq!(fleet.flake.as_deref(), Some("~/.config/nixos"));
        assert_eq!(fleet.cache.as_ref().map(|c| c.url.as_str()), Some("http://p620:5000"));
        assert!(fleet.builders.contains_key("p620"));
        let host = |name: &str| fleet.host(name).expect("a host");
        for name in names {
            assert!(host(name).accept_flake_config && host(name).build_on == BuildOn::Target);
            let skipped = matches!(name, "dex5550" | "samsung");
            assert_eq!(host(name).optional == Optional::Skip, skipped, "{name}");
            assert_eq!(host(name).role == Role::Network, name == "dex5550");
        }
    }

    #[test]
    fn the_example_of_the_documentation_is_understood() {
        let text = include_str!("../docs/hosts.md");
        let examples = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        for example in examples {
            good(example);
        }
    }

    #[test]
    fn the_documentation_names_every_key() {
        let text = include_str!("../docs/hosts.md");
        let schema = schema::schema();
        let top = &schema["properties"];
        for keys in [
            &top["defaults"]["properties"],
            &top["hosts"]["additionalProperties"]["properties"],
            &top["hosts"]["additionalProperties"]["properties"]["health"]["items"]["properties"],
            &top["cache"]["properties"],
            &top["check"]["properties"],
            &top["builders"]["additionalProperties"]["properties"],
        ] {
            for key in keys.as_object().expect("keys").keys() {
                let told = [
                    format!("`{key}`"),
                    format!(".{key}`"),
                    format!("`{key}."),
                    format!(".{key}]]`"),
                ];
                assert!(told.iter().any(|t| text.contains(t)), "{key}");
            }
        }
    }

    #[test]
    fn it_is_found_in_the_folder_or_above() {
        let exists = |path: &Path| path == Path::new("/home/me/nixos/hosts.toml");
        let found = find(Path::new("/home/me/nixos/hosts/p620"), exists);
        assert_eq!(found, Some(PathBuf::from("/home/me/nixos/hosts.toml")));
        assert_eq!(find(Path::new("/home/me"), exists), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            if let Err(mistakes) = parse(Path::new("x"), &text) {
                render(&mistakes, Path::new("x"), &text, true);
            }
        }

        #[test]
        fn no_text_of_its_own_words_makes_it_panic(words in proptest::collection::vec(
            proptest::sample::select(vec![
                "[", "]", "[[", "]]", "hosts", ".", "a", "\"é\"", "=", "\n", "health", "ssh",
                "control", "'own'", "{", "}", ",", "1", "-", "true", "soak_s", "address",
                "addresses", "defaults", "builders", "cache", "url", "canary", "\u{1b}", "\r", "#",
                "build_on", "'b'", "\"\\u001b\"", "\u{202e}",
                "unit", "tcp", "\"\"\"", "1979-05-27", "inf", "0x", "limits",
            ]), 0..40,
        )) {
            let text = words.concat();
            if let Err(mistakes) = parse(Path::new("x"), &text) {
                let drawn = render(&mistakes, Path::new("x"), &text, false);
                let draws = drawn.contains(['\u{1b}', '\r', '\u{202e}']);
                proptest::prop_assert!(!draws, "{:?}", drawn);
            }
        }
    }
}
