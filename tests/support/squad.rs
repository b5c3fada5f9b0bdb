//! Several machines of the lab and one desk to deploy them from.

use super::desk::{Desk, OWN_DEFAULTS};
use super::machines::{Lab, Said, State};
use super::rows::{Then, differences};

/// Machines that are ours, the first one's desk, and how they were.
pub(crate) struct Squad {
    desks: Vec<Desk>,
    before: Vec<State>,
}

impl Squad {
    /// Waits for these machines and brings each to its plain configuration; `None`: no lab.
    ///
    /// # Panics
    /// When the names do not ascend: tests that take machines in another order wait for each other.
    pub(crate) fn of(hosts: &[&str]) -> Option<Self> {
        assert!(hosts.is_sorted(), "{hosts:?}");
        drop(Lab::from_env()?);
        let desks: Vec<Desk> = hosts.iter().filter_map(|h| Desk::of(h)).collect();
        let before = std::thread::scope(|scope| {
            let good: Vec<_> = desks.iter().map(|desk| scope.spawn(|| desk.good())).collect();
            good.into_iter().map(|g| g.join().expect("a good machine")).collect()
        });
        Some(Self { desks, before })
    }

    /// The desk that all are deployed from.
    pub(crate) fn desk(&self) -> &Desk {
        &self.desks[0]
    }

    /// A machine.
    pub(crate) fn machine(&self, host: &str) -> &Desk {
        self.desks.iter().find(|d| d.host() == host).expect("a machine of the squad")
    }

    /// How it was when we took it.
    pub(crate) fn before(&self, host: &str) -> &State {
        let at = self.desks.iter().position(|d| d.host() == host).expect("a machine of the squad");
        &self.before[at]
    }

    /// Writes hosts.toml: short budgets, more lines of `[defaults]`, and of the tables of hosts.
    pub(crate) fn inventory(&self, defaults: &str, lines: &[(&str, &str)]) {
        let desk = self.desk().host();
        let mut text = format!(
            "[defaults]\nflake = \"/root/desks/{desk}/flake\"\nuser = \"root\"\n{OWN_DEFAULTS}\n\
             {defaults}\n"
        );
        for machine in &self.desks {
            let own = lines.iter().filter(|(host, _)| *host == machine.host());
            let own: Vec<&str> = own.map(|(_, text)| *text).collect();
            text.push_str(&format!("[hosts.{}]\n{}\n", machine.host(), own.join("\n")));
        }
        let put = r#"printf %s "$2" > "/root/desks/$1/hosts.toml""#;
        let _ = self.desk().deployer(put, &[desk, &text]);
    }

    /// What is wrong with a machine's configuration, or new in it.
    pub(crate) fn knob(&self, host: &str, settings: &str) {
        let text = format!("{{ lib, ... }}:\n{{\n  {settings}\n}}\n");
        self.desk().write(&format!("hosts/{host}/knobs.nix"), &text);
    }

    /// The same change for each.
    pub(crate) fn change(&self, name: &str) {
        for machine in &self.desks {
            self.knob(machine.host(), &format!("lab.apps.{name} = {{ port = 8081; }};"));
        }
    }

    /// What is not as it must be of a machine.
    pub(crate) fn wrong(&self, host: &str, then: Then) -> Vec<String> {
        differences(then, self.before(host), &self.machine(host).unguarded())
    }

    /// Each machine is as said.
    pub(crate) fn assert(&self, said: &Said, ends: &[(&str, &str, Then)]) {
        let told = format!("{}{}", said.stdout, said.stderr);
        for (host, word, then) in ends {
            assert!(super::rows::has_row(said, host, word), "{host} is not {word}\n{told}");
            let wrong = self.wrong(host, *then);
            assert!(wrong.is_empty(), "{host}: {wrong:?}\n{told}");
        }
    }
}
