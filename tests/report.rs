//! Each renderer over recorded logs, as snapshots; and what must hold of every one of them.
//!
//! Write snapshots anew with `INSTA_UPDATE=always cargo test --test main report::` and read the
//! difference before it is committed.

#[path = "fixtures/report/recorder.rs"]
pub(crate) mod recorder;

#[path = "fixtures/report/keeping.rs"]
pub(crate) mod keeping;

use std::io;
use std::sync::{Arc, Mutex};

use indicatif::{InMemoryTerm, ProgressDrawTarget};
use insta::assert_snapshot;
use nixdeploy::event::state::RunState;
use nixdeploy::event::{BackTo, Changes, Event, Outcome, Phase, Severity, Stamped};
use nixdeploy::exit;
use nixdeploy::fleet::Generation;
use nixdeploy::plan::Goal;
use nixdeploy::report::look::{Look, columns_of};
use nixdeploy::report::{
    Sink, changes, github, human, json, plain, recap, screen, summary, terminal, words,
};
use recorder::{BEGAN_MS, Recorder, ended, host};

/// Every recorded run by its name.
fn logs() -> Vec<(&'static str, Vec<Stamped>)> {
    vec![
        ("committed", recorder::committed()),
        ("unchanged", recorder::unchanged()),
        ("rolled_back", recorder::rolled_back()),
        ("stranded", recorder::stranded()),
        ("unknown", recorder::unknown()),
        ("unreachable", recorder::unreachable()),
        ("mixed", recorder::mixed()),
    ]
}

fn looks() -> [(&'static str, Look); 2] {
    [("ascii", Look::plain()), ("unicode", Look { unicode: true, ..Look::plain() })]
}

/// Something to write into and to read afterwards.
#[derive(Clone, Default)]
pub(crate) struct Page(Arc<Mutex<String>>);

impl Page {
    pub(crate) fn out(&self) -> plain::Out {
        let page = self.0.clone();
        Box::new(move |text| {
            page.lock().expect("page").push_str(text);
            Ok(())
        })
    }

    pub(crate) fn text(&self) -> String {
        self.0.lock().expect("page").clone()
    }
}

/// Compares with the reviewed text of that name.
pub(crate) fn snapshot(name: &str, text: &str) {
    assert_snapshot!(name, text);
}

/// Hands a log to a sink as the fan-out does.
fn play(sink: &mut dyn Sink, events: &[Stamped]) -> RunState {
    let mut state = RunState::default();
    for stamped in events {
        state.apply(stamped);
        sink.event(stamped, &state).expect("a sink that works");
        sink.tick(&state, stamped.elapsed_ms);
    }
    sink.finish(&state).expect("a sink that works");
    state
}

/// The terminal after the run, on so many rows.
fn on_terminal(events: &[Stamped], look: &Look, rows: u16) -> String {
    let memory = InMemoryTerm::new(rows, 80);
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(memory.clone()), 255);
    play(&mut terminal::Terminal::on(target, look.clone(), rows.into(), false), events);
    memory.contents()
}

fn lines_of(events: &[Stamped], look: &Look) -> String {
    let page = Page::default();
    play(&mut plain::Plain::on(look.clone(), true, page.out()), events);
    page.text()
}

#[test]
fn recaps() {
    for (name, events) in logs() {
        for (kind, look) in looks() {
            let text = recap::text(&RunState::of(&events), &look);
            assert_snapshot!(format!("recap_{name}_{kind}"), text);
        }
    }
}

#[test]
fn terminals_at_the_end() {
    for (name, events) in logs() {
        for (kind, look) in looks() {
            assert_snapshot!(format!("terminal_{name}_{kind}"), on_terminal(&events, &look, 24));
        }
    }
}

#[test]
fn lines_without_a_terminal() {
    for (name, events) in logs() {
        assert_snapshot!(format!("plain_{name}"), lines_of(&events, &Look::plain()));
    }
}

#[test]
fn differences_come_before_the_recap_of_a_dry_run() {
    let events = recorder::would_change();
    for (kind, look) in looks() {
        let text = changes::result(&RunState::of(&events), &look);
        assert_snapshot!(format!("diff_{kind}"), text);
    }
    let coloured = Look { colour: true, ..Look::plain() };
    let text = changes::result(&RunState::of(&events), &coloured);
    let bare = console::strip_ansi_codes(&text).into_owned();
    assert_eq!(bare, changes::result(&RunState::of(&events), &Look::plain()));
    assert!(text.contains("\u{1b}[32m+\u{1b}[0m more.service"), "{text}");
    let committed = RunState::of(&recorder::committed());
    assert_eq!(changes::differences(&committed, &Look::plain()), "", "a deploy has its report");
}

#[test]
fn the_question_says_what_is_at_stake_in_few_lines() {
    let mut many = recorder::some_changes();
    let more = (0..40).map(|n| recorder::package(&format!("package-{n:02}"), "1.0", "2.0"));
    many.packages.get_or_insert_default().extend(more);
    many.units.stop = (0..30).map(|n| format!("very-long-name-of-a-unit-{n}.service")).collect();
    let text = changes::offers(&[(&host("p620"), &many)], &Look::plain());
    assert_snapshot!("question", text);
    assert!(text.lines().all(|l| columns_of(l) <= 80));
    let nothing = changes::offers(&[(&host("p620"), &Default::default())], &Look::plain());
    assert_eq!(
        nothing,
        "p620\n  packages unknown\n  nothing that runs is touched, and nothing new is started\n"
    );
    let to = BackTo { generation: Generation(12), made_ms: BEGAN_MS, name: "nixos-12".to_owned() };
    let back = Changes { back_to: Some(to), ..Changes::default() };
    let text = changes::offers(&[(&host("p620"), &back)], &Look::plain());
    assert!(text.contains("back to generation 12 of 2026-11-21 10:00: nixos-12"), "{text}");
    let staged = Changes { staged: Some(Generation(13)), ..Changes::default() };
    let text = changes::offers(&[(&host("p620"), &staged)], &Look::plain());
    assert!(text.contains("generation 13 already, staged for the next boot"), "{text}");
}

#[test]
fn a_next_line_is_a_command_and_nothing_behind_it() {
    let mut events = recorder::rolled_back();
    for stamped in &mut events {
        if let Event::HostFinished { report, .. } = &mut stamped.event {
            let long = format!("nixdeploy logs p510 {}", "-v ".repeat(40));
            report.next =
                ["ls  # a remark", "# write it by hand", long.trim()].map(Into::into).into();
        }
    }
    let state = RunState::of(&events);
    for text in [recap::text(&state, &Look::plain()), human::text(&state, &Look::plain())] {
        let lines: Vec<&str> =
            text.lines().map(|l| l.trim().trim_start_matches("*").trim()).collect();
        for line in ["a remark", "ls"] {
            let there = lines.iter().any(|l| l.strip_prefix("next   ").unwrap_or(l) == line);
            assert!(there, "{line}\n{text}");
        }
        assert!(text.lines().all(|l| !l.contains("ls ") || !l.contains('#')), "{text}");
        assert!(text.contains(&"-v ".repeat(39)), "never wrapped: {text}");
        assert!(!text.contains("# write it"), "{text}");
    }
}

#[test]
fn what_fails_on_a_host_that_ended_well_is_in_the_recap() {
    let mut events = recorder::committed();
    let last = events.iter().position(|s| matches!(s.event, Event::HostFinished { .. }));
    let last = last.expect("a last word");
    let mut found = events[last].clone();
    let finding =
        recorder::finding("health", Severity::Warn, "script x.sh", "failed before as well");
    found.event = Event::Found { host: Some(host("p620")), phase: Phase::Verify, finding };
    events.insert(last, found);
    let text = recap::text(&RunState::of(&events), &Look::plain());
    assert!(text.contains("! p620  script x.sh: failed before as well [health]"), "{text}");
}

#[test]
fn the_time_of_an_open_question_is_nobodys() {
    let mut events = recorder::committed();
    let whole = RunState::of(&events).elapsed_ms;
    let mut asked = events[5].clone();
    asked.elapsed_ms += 30_000;
    asked.event = Event::Answered { waited_ms: 30_000 };
    events.iter_mut().skip(6).for_each(|s| s.elapsed_ms += 30_000);
    events.insert(6, asked);
    let state = RunState::of(&events);
    assert_eq!((state.elapsed_ms, words::total(&state)), (whole + 30_000, whole));
    assert_eq!(words::took(&state, &state.hosts[0], state.elapsed_ms), whole);
    let document: serde_json::Value =
        serde_json::from_str(&json::document(&state)).expect("a document");
    assert_eq!((&document["took_ms"], &document["waited_ms"]), (&whole.into(), &30_000.into()));
    let text = human::text(&state, &Look::plain());
    assert!(text.contains(", and 30.0s for an answer"), "{text}");
}

#[test]
fn reports_for_people() {
    for (name, events) in logs() {
        for (kind, look) in looks() {
            let text = human::text(&RunState::of(&events), &look);
            assert_snapshot!(format!("report_{name}_{kind}"), text);
        }
    }
}

#[test]
fn reports_in_markdown() {
    for (name, events) in logs() {
        let look = Look { unicode: true, ..Look::plain() };
        assert_snapshot!(
            format!("markdown_{name}"),
            summary::markdown(&RunState::of(&events), &look)
        );
    }
}

#[test]
fn documents() {
    for (name, events) in logs() {
        let text = json::document(&RunState::of(&events));
        assert_snapshot!(format!("json_{name}"), text);
    }
}

#[test]
fn github_logs() {
    for (name, events) in logs() {
        let page = Page::default();
        play(&mut github::Github::on(Look::plain(), false, None, page.out()), &events);
        assert_snapshot!(format!("github_{name}"), page.text());
    }
}

#[test]
fn live_screens() {
    let run = recorder::under_way();
    let state = RunState::of(&run.events);
    let now = state.elapsed_ms + 1_250;
    for (kind, look) in looks() {
        assert_snapshot!(
            format!("live_twelve_{kind}"),
            screen::frame(&state, &look, now, 24).join("\n")
        );
    }
    assert_snapshot!("live_small", screen::frame(&state, &Look::plain(), now, 10).join("\n"));

    let mut one = Recorder::begin("nixdeploy deploy p620", Goal::Deploy, &[&["p620"]]);
    one.facts("p620").start("p620", Phase::Validate).start("p620", Phase::Evaluate).pass(2_000);
    one.ok("p620", Phase::Build, "12 built, 40 fetched, 182 MiB", 38_100);
    one.start("p620", Phase::Copy).pass(3_000);
    one.progress("p620", Phase::Copy, "", (20 << 20, 61 << 20), "bytes");
    let state = RunState::of(&one.events);
    for (kind, look) in looks() {
        let lines = screen::frame(&state, &look, state.elapsed_ms + 500, 24);
        assert_snapshot!(format!("live_one_{kind}"), lines.join("\n"));
    }
}

#[test]
fn a_live_terminal_holds_at_most_rows_minus_four_lines() {
    let mut run = recorder::under_way();
    let state = RunState::of(&run.events);
    for rows in 7..30 {
        assert!(screen::frame(&state, &Look::plain(), 1, rows).len() <= rows - 4);
    }
    let done = ended(Outcome::Unchanged { verified: true }, "");
    run.last_word("dex5550", done);
    let memory = InMemoryTerm::new(24, 80);
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(memory.clone()), 255);
    let mut sink = terminal::Terminal::on(target, Look::plain(), 24, true);
    let mut state = RunState::default();
    for stamped in &run.events {
        state.apply(stamped);
        sink.event(stamped, &state).expect("a sink that works");
    }
    sink.tick(&state, state.elapsed_ms);
    assert_snapshot!("live_terminal", memory.contents());
}

#[test]
fn every_screen_fits_and_is_ascii_where_asked() {
    for (name, events) in logs() {
        for (kind, look) in looks() {
            let state = RunState::of(&events);
            let texts = [
                recap::text(&state, &look),
                human::text(&state, &look),
                on_terminal(&events, &look, 24),
                screen::frame(&state, &look, state.elapsed_ms, 24).join("\n"),
            ];
            for line in texts.iter().flat_map(|t| t.lines()) {
                assert!(columns_of(line) <= 80, "{name} {kind}: {line}");
                assert!(look.unicode || line.is_ascii(), "{name} {kind}: {line}");
                assert!(!line.contains('\u{1b}'), "{name} {kind}: {line}");
            }
            let coloured = Look { colour: true, ..look.clone() };
            let plain = recap::text(&state, &look);
            let inked = recap::text(&state, &coloured);
            assert_eq!(console::strip_ansi_codes(&inked), plain, "{name} {kind}");
            let lines = screen::frame(&state, &coloured, state.elapsed_ms, 24);
            assert!(lines.iter().all(|l| columns_of(l) <= 80), "{name} {kind}");
        }
    }
}

#[test]
fn every_outcome_has_words_and_one_exit_code() {
    for outcome in recorder::outcomes() {
        let mut run = Recorder::begin("nixdeploy deploy p620", Goal::Deploy, &[&["p620"]]);
        run.facts("p620").last_word("p620", ended(outcome.clone(), ""));
        let state = RunState::of(&run.finish());
        let known = state.host(&host("p620")).expect("p620");
        let word = words::result(known, words::goal(&state));
        assert!(!word.is_empty() && !word.contains(' '), "{outcome:?}");
        assert!(!words::truth(known, words::goal(&state), &|_| "10:07".into()).is_empty());
        assert!(recap::text(&state, &Look::plain()).contains(word), "{outcome:?}");
        assert!(human::text(&state, &Look::plain()).contains("Deployment status"));
        let document: serde_json::Value =
            serde_json::from_str(&json::document(&state)).expect("a document");
        assert_eq!(document["exit"], exit::of_run(&state, false) as u8, "{outcome:?}");
        assert_eq!(document["hosts"][0]["exit"], exit::of_outcome(&outcome) as u8);
        let bad = !matches!(words::tone(known), words::Tone::Good | words::Tone::Quiet);
        assert_eq!(bad, !words::next(&state, known).is_empty(), "{outcome:?}");
    }
}

#[test]
fn the_document_and_the_fold_agree_on_every_log() {
    for (name, events) in logs() {
        let state = RunState::of(&events);
        let document: serde_json::Value =
            serde_json::from_str(&json::document(&state)).expect("a document");
        assert_eq!(document["exit"], exit::of_run(&state, false) as u8, "{name}");
        assert_eq!(document["schema"], json::SCHEMA);
        assert_eq!(document["hosts"].as_array().map(Vec::len), Some(state.hosts.len()));
    }
}

#[test]
fn a_run_that_was_cut_off_says_so() {
    let run = recorder::under_way();
    let state = RunState::of(&run.events);
    assert_snapshot!("recap_cut_off", recap::text(&state, &Look::plain()));
    assert!(human::text(&state, &Look::plain()).contains("ends before the run did"));
    assert_eq!(exit::of_run(&state, false), exit::Exit::Unknown, "it was armed");
}

#[test]
fn github_never_obeys_outside_text() {
    let mut run = Recorder::begin("nixdeploy deploy p620", Goal::Deploy, &[&["p620"]]);
    for hostile in
        ["::error::mine", "  ::set-output name=x::y", "##[error]mine", "a\r\n::add-mask::x"]
    {
        run.line("p620", Phase::Build, hostile);
        run.found(
            Some("p620"),
            Phase::Verify,
            recorder::finding("x", nixdeploy::event::Severity::Block, hostile, hostile),
        );
    }
    run.last_word("p620", ended(Outcome::RolledBack, "::error::note"));
    let page = Page::default();
    play(&mut github::Github::on(Look::plain(), true, None, page.out()), &run.finish());
    for line in page.text().lines() {
        let obeyed = line.trim_start().starts_with("::") || line.contains("##[");
        let own = ["::group::p620", "::endgroup::", "::error title=p620"];
        assert!(!obeyed || own.iter().any(|o| line.starts_with(o)), "{line}");
    }
}

#[test]
fn github_shows_ten_of_a_kind_and_counts_the_rest() {
    let mut run = Recorder::begin("nixdeploy deploy p620", Goal::Deploy, &[&["p620"]]);
    for n in 0..25 {
        let subject = format!("modules/a.nix:{n}");
        run.found(
            None,
            Phase::Validate,
            recorder::finding("rule", nixdeploy::event::Severity::Warn, &subject, "bad"),
        );
    }
    run.last_word("p620", ended(Outcome::Stranded, "no way back"));
    let lines = github::annotations(&RunState::of(&run.finish()));
    assert_eq!(lines[0], "::error title=p620%3A stranded::no way back");
    assert_eq!(lines[1], "::warning file=modules/a.nix,line=0,title=rule::modules/a.nix:0: bad");
    assert_eq!(lines.len(), 11);
    assert_eq!(lines[10], "::warning::16 warnings more: see the summary");
}

#[test]
fn markdown_stays_text() {
    let hostile = "<img src=x> @everyone #1 [a](b) `x` | *y* ```";
    let mut run = Recorder::begin("nixdeploy deploy p620", Goal::Deploy, &[&["p620"]]);
    let evidence = nixdeploy::event::Evidence {
        source: hostile.into(),
        status: "failed".into(),
        lines: vec!["```".into(), hostile.into()],
    };
    run.say(Event::Captured { host: host("p620"), evidence });
    run.last_word("p620", ended(Outcome::RolledBack, hostile));
    assert_snapshot!(
        "markdown_hostile",
        summary::markdown(&RunState::of(&run.finish()), &Look::plain())
    );
}

#[test]
fn a_silent_build_has_a_heartbeat() {
    let page = Page::default();
    let mut sink = plain::Plain::on(Look::plain(), false, page.out());
    let mut run = Recorder::begin("nixdeploy deploy p620", Goal::Deploy, &[&["p620"]]);
    run.start("p620", Phase::Build);
    run.progress("p620", Phase::Build, "building grafana-12.0", (3, 44), "builds");
    let mut state = RunState::default();
    for stamped in &run.events {
        state.apply(stamped);
        sink.event(stamped, &state).expect("a sink that works");
    }
    for second in 1..=95 {
        sink.tick(&state, second * 1_000);
    }
    assert_snapshot!("heartbeat", page.text());
}

/// Two hundred hosts: five at work, three failed, the rest still to come or done.
fn crowd() -> Recorder {
    let names: Vec<String> = (0..200).map(|n| format!("host-{n:03}")).collect();
    let (first, rest) = names.split_at(100);
    let waves = [first, rest].map(|w| w.iter().map(String::as_str).collect::<Vec<_>>());
    let waves = [waves[0].as_slice(), waves[1].as_slice()];
    let mut run = Recorder::begin("nixdeploy deploy-all-parallel", Goal::Deploy, &waves);
    for name in &names[..40] {
        run.facts(name).last_word(name, ended(Outcome::Unchanged { verified: true }, ""));
    }
    for name in &names[40..43] {
        run.failed(name, Phase::Verify, "greeter.service failed", 3_000);
        run.last_word(name, ended(Outcome::RolledBack, "greeter.service failed"));
    }
    for name in &names[43..48] {
        run.start(name, Phase::Copy);
        run.progress(name, Phase::Copy, "31/52 paths, glibc-2.40", (43 << 20, 0), "bytes");
    }
    run.pass(4_000);
    run
}

#[test]
fn two_hundred_hosts_on_twenty_four_rows() {
    let mut run = crowd();
    let state = RunState::of(&run.events);
    for (kind, look) in looks() {
        let lines = screen::frame(&state, &look, state.elapsed_ms, 24);
        assert!(lines.len() <= 20 && lines.iter().all(|l| columns_of(l) <= 80), "{lines:?}");
        assert_snapshot!(format!("live_two_hundred_{kind}"), lines.join("\n"));
    }
    for width in [40, 60, 140] {
        let look = Look { width, ..Look::plain() };
        let lines = screen::frame(&state, &look, state.elapsed_ms, 24);
        assert!(lines.iter().all(|l| columns_of(l) <= width), "{width}: {lines:?}");
    }
    let shown = on_terminal(&run.finish(), &Look::plain(), 24);
    assert!(shown.contains("host-042"), "a failure stands there at the end\n{shown}");
}

/// A sink that fails at its n-th event.
pub(crate) struct Broken(pub(crate) usize);

impl Sink for Broken {
    fn event(&mut self, _: &Stamped, _: &RunState) -> io::Result<()> {
        self.0 =
            self.0.checked_sub(1).ok_or_else(|| io::Error::other("no space left on device"))?;
        Ok(())
    }

    fn finish(&mut self, _: &RunState) -> io::Result<()> {
        Ok(())
    }
}
