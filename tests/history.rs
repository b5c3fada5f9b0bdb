//! What was kept, found again: filters, trends, and the page for a browser.

use nixdeploy::event::{Event, Outcome, Stamped};
use nixdeploy::report::html;
use nixdeploy::report::look::Look;
use nixdeploy::report::store;

use crate::report::keeping::keep;
use crate::report::recorder::{self, Recorder, ended};
use crate::support::home::{Desk, assert_harmless};

const HOUR_MS: i64 = 3_600_000;

fn now_ms() -> i64 {
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(now.as_millis()).expect("before long")
}

/// The same, begun so many hours ago.
fn ago(mut events: Vec<Stamped>, hours: i64) -> Vec<Stamped> {
    let moved = now_ms() - recorder::BEGAN_MS - hours * HOUR_MS;
    events.iter_mut().for_each(|s| s.at_ms += moved);
    events
}

/// With every phase of the build so many times as long.
fn slower(mut events: Vec<Stamped>, times: u64) -> Vec<Stamped> {
    for stamped in &mut events {
        if let Event::PhaseEnded { took_ms, .. } = &mut stamped.event {
            *took_ms *= times;
        }
    }
    events
}

/// Six deploys of p620, the last of them slow; one of p510 that was taken back; razer asleep.
fn desk() -> Desk {
    let desk = Desk::with_fleet("[hosts.p620]\n[hosts.p510]\n[hosts.razer]\n");
    let state = desk.path("home/.local/state/nixdeploy");
    for n in 0..6 {
        let events = slower(recorder::committed(), if n == 5 { 3 } else { 1 });
        keep(&state, &format!("aa0{n}"), ago(events, 100 - n));
    }
    keep(&state, "bb01", ago(recorder::rolled_back(), 30));
    keep(&state, "bb02", ago(recorder::unreachable(), 2));
    desk
}

/// The runs that are listed, newest first.
fn runs(desk: &Desk, args: &[&str]) -> Vec<String> {
    let said = desk.run(&[&["history", "--json"], args].concat());
    assert_eq!(said.code, 0, "{args:?} {}", said.stderr);
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
    let runs = document["runs"].as_array().expect("runs").iter();
    runs.map(|run| run["run"].as_str().expect("its name").to_owned()).collect()
}

#[test]
fn runs_are_found_by_host_outcome_and_time() {
    let desk = desk();
    assert_eq!(runs(&desk, &[]).len(), 8);
    assert_eq!(runs(&desk, &["--outcome", "failed"]), ["bb02", "bb01"]);
    assert_eq!(runs(&desk, &["--outcome", "rolled-back"]), ["bb01"]);
    assert_eq!(runs(&desk, &["--outcome", "changed", "--limit", "2"]), ["aa05", "aa04"]);
    assert_eq!(runs(&desk, &["razer", "--outcome", "rolled-back"]), [""; 0], "another host did");
    assert_eq!(runs(&desk, &["--since", "31h"]), ["bb02", "bb01"]);
    assert_eq!(runs(&desk, &["--since", "3h", "--outcome", "failed"]), ["bb02"]);
    assert_eq!(runs(&desk, &["--since", "1990-01-01", "p620"]).len(), 6);
    assert_eq!(runs(&desk, &["--since", "2190-01-01 12:30"]), [""; 0]);
    for wrong in [["--since", "yesterday"], ["--since", "7"], ["--outcome", "fine"]] {
        let said = desk.run(&[&["history"], &wrong[..]].concat());
        assert_eq!(said.code, 2, "{wrong:?}");
    }
    let none = desk.run(&["history", "--since", "1m"]);
    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
    assert!(none.stderr.contains("no run that was kept is like that"), "{}", none.stderr);
}

#[test]
fn a_summary_of_an_older_version_is_made_again() {
    let desk = desk();
    let state = desk.path("home/.local/state/nixdeploy");
    let summary = store::folder(&state, "bb01").join("summary.json");
    let text = std::fs::read_to_string(&summary).expect("a summary");
    let mut old: serde_json::Value = serde_json::from_str(&text).expect("a document");
    old.as_object_mut().expect("an object").remove("outcomes");
    std::fs::write(&summary, old.to_string()).expect("written");
    assert_eq!(runs(&desk, &["--outcome", "rolled-back"]), ["bb01"]);
    let again = std::fs::read_to_string(&summary).expect("a summary");
    assert!(again.contains("\"outcomes\":{\"p510\":\"rolled-back\"}"), "{again}");
}

#[test]
fn what_was_slower_than_usual_is_told_from_its_own_past() {
    let desk = desk();
    let said = desk.run(&["history", "--trend"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("slower than usual: the median of the 5 before is"), "{said:?}");
    assert!(!said.stdout.contains("p510"), "what was taken back is no deploy to compare with");
    let said = desk.run(&["history", "--trend", "p620", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
    let rows = document["trends"].as_array().expect("rows");
    assert_eq!((&rows[0]["phase"], &rows[0]["slower"]), (&serde_json::Value::Null, &true.into()));
    let build = rows.iter().find(|row| row["phase"] == "build").expect("the build");
    assert_eq!(build["values_ms"].as_array().map(Vec::len), Some(6));
    assert_eq!((&build["usual"]["n"], &build["usual"]["median_ms"]), (&5.into(), &38_100.into()));
    // What is older than asked for is no past, and four are none.
    let said = desk.run(&["history", "--trend", "p620", "--since", "99h", "--json"]);
    assert!(!said.stdout.contains("\"slower\":true"), "{}", said.stdout);
    assert_eq!(desk.run(&["history", "--trend", "--limit", "3"]).code, 2);
}

#[test]
fn hosts_toml_says_how_long_runs_are_kept() {
    let desk = desk();
    desk.fake("ssh", "exit 255\n");
    desk.fake("nix", "exit 1\n");
    let fleet = "[hosts.p620]\n[hosts.p510]\n[hosts.razer]\n";
    desk.write("hosts.toml", format!("[history]\ndays = 2\n{fleet}"));
    assert_eq!(desk.run(&["build", "p620"]).code, 4);
    assert_eq!(runs(&desk, &[])[1..], ["bb02", "bb01"]);
    desk.write("hosts.toml", format!("[history]\nruns = 2\n{fleet}"));
    assert_eq!(desk.run(&["build", "p620"]).code, 4);
    assert_eq!(runs(&desk, &[]).len(), 2);
    desk.write("hosts.toml", format!("[history]\nruns = 0\n{fleet}"));
    assert_eq!(desk.run(&["build", "p620"]).code, 2);
}

/// A run whose every text is what somebody hostile would write.
fn hostile(text: &str) -> Vec<Stamped> {
    let mut it =
        Recorder::begin("nixdeploy deploy p620", nixdeploy::plan::Goal::Deploy, &[&["p620"]]);
    if let Some(Event::RunStarted { operator, flake, command, .. }) =
        it.events.first_mut().map(|s| &mut s.event)
    {
        (*operator, *flake) = (text.to_owned(), Some(text.to_owned()));
        command.push(text.to_owned());
    }
    it.facts("p620").failed("p620", nixdeploy::event::Phase::Build, text, 3_000);
    it.step(Some("p620"), nixdeploy::event::Phase::Verify, text, text, 5);
    it.found(
        Some("p620"),
        nixdeploy::event::Phase::Verify,
        recorder::finding(text, nixdeploy::event::Severity::Warn, text, text),
    );
    let evidence = nixdeploy::event::Evidence {
        source: text.to_owned(),
        status: text.to_owned(),
        lines: vec![text.to_owned()],
    };
    it.say(Event::Captured { host: recorder::host("p620"), evidence });
    it.say(Event::Recommended { host: recorder::host("p620"), text: text.to_owned() });
    let report = ended(Outcome::NotBuilt, text);
    let (causes, next) = (vec![text.to_owned()], vec![text.to_owned()]);
    it.last_word("p620", nixdeploy::event::HostReport { causes, next, ..report });
    it.finish()
}

/// Tags of a page, by name.
fn tags(page: &str) -> Vec<&str> {
    let opened = page.split('<').skip(1);
    opened.map(|rest| rest.split([' ', '>', '\n']).next().unwrap_or(rest)).collect()
}

#[test]
fn outside_text_is_text_in_a_browser() {
    let plain = html::page(&state(hostile("words")), &Look::plain());
    for text in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "</pre></style></title><iframe src=//evil>",
        "--><!-- <svg/onload=alert(1)>",
        "&#60;b&#62; &lt;",
        "\u{202e}gnp.exe\u{1b}[31m\u{0}\r\n",
    ] {
        let page = html::page(&state(hostile(text)), &Look::plain());
        assert_eq!(tags(&page), tags(&plain), "{text} became markup");
        assert_eq!(page.matches('"').count(), plain.matches('"').count(), "{text} left its quotes");
        assert_eq!(page.matches('\'').count(), plain.matches('\'').count(), "{text}");
        assert_harmless(&page);
    }
}

fn state(events: Vec<Stamped>) -> nixdeploy::event::state::RunState {
    nixdeploy::event::state::RunState::of(&events)
}

#[test]
fn the_page_is_whole_in_itself() {
    for events in [
        recorder::committed(),
        recorder::rolled_back(),
        recorder::mixed(),
        recorder::unreachable(),
        recorder::under_way().events,
    ] {
        let state = state(events);
        let page = html::page(&state, &Look::plain());
        let lower = page.to_lowercase();
        for outside in ["<script", "<link", "<img", " src=", "url(", "@import", "http://", "onload"]
        {
            assert!(!lower.contains(outside), "{outside}");
        }
        assert!(page.contains("default-src 'none'"), "nothing may be loaded");
        for tag in ["section", "details", "div", "dl", "ul", "ol", "table", "figure", "pre"] {
            let opened = tags(&page).iter().filter(|t| **t == tag).count();
            let closed = page.matches(&format!("</{tag}>")).count();
            assert_eq!(opened, closed, "{tag}");
        }
        for host in &state.hosts {
            let bars = host.spans.len() + host.open.len();
            assert!(bars == 0 || page.contains("class=\"timeline\""), "{}", host.name);
            assert!(page.contains(host.name.as_str()));
        }
    }
}

#[test]
fn a_report_comes_in_every_form() {
    let desk = desk();
    let of = |form: &str| desk.run(&["report", "bb01", "--format", form]);
    let page = of("html");
    assert_eq!(page.code, 0, "{}", page.stderr);
    assert!(page.stdout.starts_with("<!DOCTYPE html>"));
    assert!(page.stdout.contains("class=\"bar verify failed\""), "the phase that failed");
    assert!(page.stdout.contains("class=\"bar rollback\""), "and the way back");
    assert!(of("markdown").stdout.starts_with("# Deployment report: p510"));
    assert!(of("human").stdout.contains("FAILED, ROLLED BACK"));
    assert!(of("json").stdout.contains("\"rolled-back\""));
    let refused = desk.run(&["history", "--format", "html"]);
    assert!(refused.code == 2 && refused.stderr.contains("has no --format html"));
}

/// The same as if it had been typed so.
fn typed(mut events: Vec<Stamped>, words: &[&str]) -> Vec<Stamped> {
    if let Some(Event::RunStarted { command, .. }) = events.first_mut().map(|s| &mut s.event) {
        *command = words.iter().map(|word| (*word).to_owned()).collect();
    }
    events
}

/// Two hosts were built for an update, and one of them was deployed.
fn updated(state: &std::path::Path, message: &str) {
    let mut it = Recorder::begin("update", nixdeploy::plan::Goal::Build, &[&["p620", "razer"]]);
    for name in ["p620", "razer"] {
        it.facts(name).last_word(name, ended(Outcome::Planned { changes: true }, ""));
    }
    keep(state, "dd01", typed(ago(it.finish(), 5), &["update", "smart", "p*"]));
    let deploy = ["deploy", "p620", "--message", message];
    keep(state, "dd02", typed(ago(recorder::committed(), 4), &deploy));
}

#[test]
fn an_update_is_one_row() {
    let desk = Desk::with_fleet("[hosts.p620]\n[hosts.razer]\n");
    let state = desk.path("home/.local/state/nixdeploy");
    updated(&state, "flake: update nixpkgs, built by run dd01");
    let said = desk.run_with(&["history"], &[("COLUMNS", "200")]);
    let rows: Vec<&str> = said.stdout.lines().skip(1).collect();
    assert_eq!(rows.len(), 1, "{}", said.stdout);
    assert!(rows[0].starts_with("dd02 "), "{}", rows[0]);
    let told = "0 update smart 'p*'  1 host: 1 changed; held: razer";
    assert!(rows[0].ends_with(told), "{}", rows[0]);
    // Whoever asks for those that built gets the build; a program gets both, as they are.
    let built = desk.run(&["history", "--outcome", "built"]).stdout;
    assert!(built.lines().nth(1).is_some_and(|row| row.starts_with("dd01 ")), "{built}");
    assert_eq!(runs(&desk, &[]), ["dd02", "dd01"]);
}

#[test]
fn a_message_hides_no_run_and_is_quoted_where_it_is_typed() {
    let desk = Desk::with_fleet("[hosts.p620]\n[hosts.razer]\n");
    let state = desk.path("home/.local/state/nixdeploy");
    updated(&state, "it's mine, built by run aa00");
    keep(&state, "aa00", ago(recorder::rolled_back(), 9));
    let table = desk.run(&["history"]).stdout;
    assert_eq!(table.lines().count(), 4, "{table}");
    let quoted = r"deploy p620 --message 'it'\''s mine, built by run aa00'";
    let flat = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let report = flat(desk.run(&["report", "dd02"]).stdout);
    assert!(report.contains(quoted), "{report}");
    // A build that was cut off is begun again by typing it again.
    let mut cut = Recorder::begin("build", nixdeploy::plan::Goal::Build, &[&["p620"]]);
    cut.facts("p620");
    keep(&state, "ee01", typed(cut.events, &["build", "p620", "--message", "a b; $(c)"]));
    let report = flat(desk.run(&["report", "ee01"]).stdout);
    assert!(report.contains("nixdeploy build p620 --message 'a b; $(c)'"), "{report}");
}
