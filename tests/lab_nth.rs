//! The n-th call of a deploy fails, hangs, is cut or lies, or a folder of ours is full: the machine
//! ends untouched, new or as before, and what is said of it is true; or that it is not known.
//!
//! A few cases are tried each time. `NIXDEPLOY_NTH=all` tries each mode on every call, any other
//! text the cases in whose `SCENARIO CALL MODE` it occurs (`tests/lab/README.md`).

mod lab {
    use crate::support::desk::Desk;
    use crate::support::nth::{Case, Nth, Scenario};
    use crate::support::variable;

    const GOOD: Scenario = Scenario {
        name: "good",
        knob: "lab.apps.greeter = { port = 8081; config = \"UNIQUE\"; };",
        args: &["quick-deploy"],
        exit: 0,
    };
    const BAD: Scenario = Scenario {
        name: "bad",
        knob: "lab.brokenService = true; lab.apps.greeter = { config = \"UNIQUE\"; };",
        args: &["quick-deploy"],
        exit: 6,
    };

    /// Which cases are wanted.
    struct Choice {
        /// `None`: the sample.
        text: Option<String>,
        sample: &'static [&'static str],
    }

    impl Choice {
        fn of(sample: &'static [&'static str]) -> Self {
            Self { text: variable("NIXDEPLOY_NTH"), sample }
        }

        fn has(&self, name: &str) -> bool {
            match self.text.as_deref() {
                Some("all") => true,
                Some(text) => name.contains(text),
                None => self.sample.contains(&name),
            }
        }

        /// Whether a case of a scenario can be among them.
        fn may_have(&self, scenario: &Scenario) -> bool {
            self.text.is_some() || self.sample.iter().any(|s| s.starts_with(scenario.name))
        }
    }

    /// Tries modes on every call of both scenarios, or the sample of them.
    fn every(modes: &[&str], sample: &'static [&'static str]) {
        let Some(desk) = Desk::any() else { return };
        let (choice, mut nth) = (Choice::of(sample), Nth::at(desk));
        let mut wrong = Vec::new();
        for scenario in [&GOOD, &BAD].into_iter().filter(|s| choice.may_have(s)) {
            let calls = nth.learn(scenario);
            let cases = modes.iter().flat_map(|mode| {
                let case = |call: &String| Case { call: call.clone(), mode: (*mode).to_owned() };
                calls.iter().map(case).collect::<Vec<_>>()
            });
            wrong.extend(try_each(&mut nth, scenario, cases, &choice));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Tries a folder of ours that takes no file, or ever more files and pages.
    fn full(folder: &str, sample: &'static [&'static str]) {
        let Some(desk) = Desk::any() else { return };
        let (choice, mut nth) = (Choice::of(sample), Nth::at(desk));
        let files = (1..20).map(|n| format!("files.{n}"));
        let pages = (1..16).map(|n| format!("pages.{n}"));
        let modes = std::iter::once("ro".to_owned()).chain(files).chain(pages);
        let cases = modes.map(|mode| Case { call: folder.to_owned(), mode });
        let wrong = try_each(&mut nth, &GOOD, cases, &choice);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Tries those that are wanted; what is wrong with them. A sample of none would prove nothing.
    fn try_each(
        nth: &mut Nth,
        scenario: &Scenario,
        cases: impl Iterator<Item = Case>,
        choice: &Choice,
    ) -> Vec<String> {
        let (mut wrong, mut tried) = (Vec::new(), 0);
        for case in cases {
            let name = format!("{} {} {}", scenario.name, case.call, case.mode);
            // Nix alone knows what a tree evaluates to: nobody can tell an old answer of its.
            if !choice.has(&name) || name.contains("path-info-derivation#1 stale") {
                continue;
            }
            tried += 1;
            let found = nth.try_case(scenario, &case);
            if !found.is_empty() {
                wrong.push(format!("=== {name}\n{}", found.join("\n")));
            }
        }
        let sample = choice.sample.iter().filter(|s| s.starts_with(scenario.name)).count();
        if choice.text.is_none() && tried != sample {
            wrong.push(format!("{}: {tried} of {sample} cases of the sample", scenario.name));
        }
        wrong
    }

    #[test]
    fn a_call_fails() {
        every(
            &["fail", "mute", "lost", "gone"],
            &[
                "good git-ls-files#1 fail",
                "good copy#1 mute",
                "good ssh-hold#1 lost",
                "bad ssh-abort#1 lost",
                "bad ssh-facts#2 fail",
            ],
        );
    }

    #[test]
    fn a_call_hangs() {
        every(&["hang", "stall.10", "stall.50", "stall.97"], &["good ssh-verify#1 stall.50"]);
    }

    #[test]
    fn a_call_is_cut() {
        every(
            &["cut.10", "cut.30", "cut.50", "cut.70", "cut.90", "cut.97"],
            &["good ssh-baseline#1 cut.90", "good ssh-verify#1 cut.50", "good ssh-verify#1 cut.97"],
        );
    }

    #[test]
    fn a_call_lies() {
        every(
            &["garbage", "stale", "other"],
            &["good ssh-hold#1 stale", "good ssh-baseline#1 garbage", "good ssh-verify#1 other"],
        );
    }

    #[test]
    fn the_state_folder_is_full() {
        full("state", &["good state ro", "good state files.9", "good state files.13"]);
    }

    #[test]
    fn the_cache_folder_is_full() {
        full("cache", &["good cache files.3", "good cache pages.4"]);
    }
}
