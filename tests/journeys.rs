//! One host through its endings, played from recordings of the lab: what is said of it, with which
//! exit code, and what was asked of its guard.

use std::path::Path;
use std::time::Duration;

use nixdeploy::activate::guard::Tx;
use nixdeploy::activate::hand::Hand;
use nixdeploy::activate::hold::{Door, HoldError, hold};
use nixdeploy::event::stream::channel;
use nixdeploy::event::{Decider, Event, Outcome};
use nixdeploy::exit::Exit;
use nixdeploy::fleet::hosts_toml::parse;
use nixdeploy::fleet::{Generation, OnRevertFailure, StorePath};
use nixdeploy::plan::{Goal, Order, Phase, Request, decide};
use nixdeploy::preflight::answer::parse_early;
use nixdeploy::world::Ended;
use nixdeploy::world::Stream::{Err as Said, Out};
use nixdeploy::world::ssh::{Link, Target};

use crate::support::scripted::{Play, Scripted, line};
use crate::support::stage::{
    self, FACTS, GO, HOLD, HOSTS, NEW, OLD, Played, deploy, good, guard, is, play, play_by,
    play_with, recorded, session,
};

/// Plays a deploy in which some programs do other than they should.
async fn deployed(runner: Scripted) -> Played {
    play(good(runner), deploy()).await
}

/// The activation ends in another way.
fn went(act: &str) -> Play {
    recorded(&GO.replace("act=result=success code=exited status=0", act))
}

/// An ssh that loses its connection.
fn lost() -> Play {
    let last = line(Said, "ssh: connect to host p510 port 22: Connection timed out");
    Play::Says(vec![last], Ended::Exited(255))
}

#[tokio::test(start_paused = true)]
async fn a_good_deploy_is_committed_and_read_back() {
    let played = deployed(Scripted::new()).await;
    let report = played.report();
    assert!(matches!(report.outcome, Outcome::Committed { .. }), "{report:?}");
    assert_eq!((played.exit(), report.decided_by), (Exit::Done, Decider::Deployer));
    assert_eq!(played.requests(), ["hold", "go", "verify"], "commit goes through the session");
    let after = report.after.as_ref().expect("read back");
    assert_eq!(after.generation, Some(Generation(3)));
    assert_eq!(after.running.as_ref().map(ToString::to_string).as_deref(), Some(NEW));
    let armed = played.events.iter().position(|e| matches!(e.event, Event::Armed { .. }));
    let changed = played.events.iter().position(|e| matches!(e.event, Event::ChangesFound { .. }));
    assert!(changed < armed, "what changes is said before anything does");
}

#[tokio::test(start_paused = true)]
async fn every_ssh_is_strict_and_every_host_stands_behind_dashes() {
    let played = deployed(Scripted::new()).await;
    for call in &played.calls {
        let shown = call.to_string();
        if call.program == "ssh" {
            let at = call.args.iter().position(|a| a == "--").expect("dashes");
            assert_eq!(call.args[at + 1], "p510", "{shown}");
            assert_eq!(call.args.len(), at + 3, "{shown}");
            assert!(call.args[..at].iter().any(|a| a == "StrictHostKeyChecking=yes"), "{shown}");
        }
        if stage::purpose(call) == "copy" {
            let options = call.env.iter().find(|(name, _)| name == "NIX_SSHOPTS");
            let options = &options.expect("our own options").1;
            assert!(options.contains("-o StrictHostKeyChecking=yes"), "{options}");
            assert!(options.contains("-o ForwardAgent=no"), "{options}");
        }
        assert!(call.timeout.is_some() || call.converses, "no limit: {shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_what_it_should_be_is_looked_at_and_left_alone() {
    let request = Request { goal: Goal::Rollback { to: Some(Generation(2)) }, ..deploy() };
    let old = |checks: &str| checks.replace(NEW, OLD);
    let played = play(good(Scripted::new().on(is("verify"), session(old))), request).await;
    assert_eq!(played.report().outcome, Outcome::Unchanged { verified: true });
    assert_eq!((played.exit(), played.requests()), (Exit::Done, vec!["verify".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_is_not_there_is_told_with_those_that_are() {
    let request = Request { goal: Goal::Rollback { to: Some(Generation(9)) }, ..deploy() };
    let played = play(good(Scripted::new()), request).await;
    let report = played.report();
    assert_eq!((played.exit(), report.note.as_str()), (Exit::Refused, "there is no generation 9"));
    assert_eq!(report.causes, ["there are: 1 (2026-11-21), 2 (2026-11-21, runs)"]);
    assert_eq!(report.next, ["nixdeploy rollback p510 --to 1"]);
    assert_eq!(played.requests(), [""; 0], "nothing was asked of a guard");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_evaluate_touches_nothing() {
    let log = include_str!("fixtures/nix/eval-assertion.log").lines();
    let play = Play::Says(log.map(|l| line(Said, l)).collect(), Ended::Exited(1));
    let played = deployed(Scripted::new().on(is("eval"), play)).await;
    let report = played.report();
    assert_eq!((&report.outcome, report.phase), (&Outcome::NotBuilt, Some(Phase::Evaluate)));
    assert_eq!((played.exit(), played.requests()), (Exit::NotBuilt, vec![]));
    assert!(!report.next.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_somebody_has_is_left_to_them() {
    let words = ["locked=aa11", "owner=ada@laptop", "phase=observe 12", "age_s=40", "end=1"];
    let played = deployed(Scripted::new().on(is("hold"), Play::says(words))).await;
    let report = played.report();
    assert_eq!(played.exit(), Exit::Refused);
    assert!(report.note.contains("ada@laptop") && report.note.contains("40 s"), "{report:?}");
    assert_eq!(played.requests(), ["hold"]);
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_is_not_whole_is_given_back() {
    let no = guard(&["phase=hold", "refused=the closure is not whole on the host"]);
    let gone = guard(&["outcome=expired", "reason=aborted by the deployer"]);
    let played = deployed(Scripted::new().on(is("go"), no).on(is("abort"), gone)).await;
    assert!(
        matches!(&played.report().outcome, Outcome::Refused { code, .. } if code == "not-whole")
    );
    assert_eq!(played.exit(), Exit::Refused);
    assert_eq!(played.requests(), ["hold", "go", "abort"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_activation_script_is_taken_back() {
    let bad = went("act=result=exit-code code=exited status=2");
    let played = deployed(Scripted::new().on(is("go"), bad)).await;
    let report = played.report();
    assert_eq!((&report.outcome, report.phase), (&Outcome::RolledBack, Some(Phase::Activate)));
    assert!(report.note.contains("exit 2"), "{}", report.note);
    assert_eq!((played.exit(), report.decided_by), (Exit::RolledBack, Decider::Deployer));
    assert_eq!(played.requests(), ["hold", "go", "abort"]);
    assert!(played.state.hosts[0].evidence[0].lines.iter().any(|l| l.contains("setting up /etc")));
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_host_is_restored() {
    let sick = |checks: &str| {
        let good = "nginx.service loaded active running";
        assert!(checks.contains(good), "{checks}");
        checks.replace(good, "nginx.service loaded failed failed")
    };
    let played = deployed(Scripted::new().on(is("verify"), session(sick))).await;
    let report = played.report();
    assert_eq!((&report.outcome, report.phase), (&Outcome::RolledBack, Some(Phase::Verify)));
    assert!(report.note.contains("nginx.service"), "{}", report.note);
    assert_eq!(played.exit(), Exit::RolledBack);
    assert_eq!(played.requests(), ["hold", "go", "verify", "abort"]);
}

#[tokio::test(start_paused = true)]
async fn a_revert_that_is_said_and_not_true_needs_a_person() {
    let new = FACTS.replace(&format!("running={OLD}"), &format!("running={NEW}"));
    let bad = went("act=result=exit-code code=exited status=2");
    let rules = Scripted::new().once(is("facts"), recorded(FACTS)).on(is("facts"), recorded(&new));
    let played = deployed(rules.on(is("go"), bad)).await;
    assert_eq!(played.report().outcome, Outcome::Stranded);
    assert_eq!(played.exit(), Exit::Stranded);
}

#[tokio::test(start_paused = true)]
async fn a_way_back_that_fails_needs_a_person() {
    let bad = went("act=result=exit-code code=exited status=2");
    let back = guard(&[
        "outcome=revert_failed",
        "reason=aborted by the deployer; the way back failed",
        "revert_status=4",
        "missing=nginx.service",
        &format!("running={OLD}"),
    ]);
    let played = deployed(Scripted::new().on(is("go"), bad).on(is("abort"), back)).await;
    let report = played.report();
    assert_eq!((&report.outcome, played.exit()), (&Outcome::Stranded, Exit::Stranded));
    assert!(report.causes.iter().any(|c| c.contains("nginx.service")), "{report:?}");
    assert!(report.next.iter().any(|n| n.contains("status p510")), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn what_the_guard_decides_by_itself_is_waited_for() {
    let decided = GO
        .replace(
            "act=result=success code=exited status=0",
            "act=result=timeout code=killed status=TERM",
        )
        .replace("decision=", "decision=revert")
        .replace("started=", "reason=the activation took too long\nstarted=");
    let played = deployed(Scripted::new().on(is("go"), recorded(&decided))).await;
    let report = played.report();
    assert_eq!((&report.outcome, report.decided_by), (&Outcome::RolledBack, Decider::Guard));
    assert!(report.note.contains("took too long"), "{}", report.note);
    assert_eq!(played.requests(), ["hold", "go", "await"], "nobody aborts what is decided");
}

#[tokio::test(start_paused = true)]
async fn contact_that_is_lost_for_good_is_unknown_and_says_by_when() {
    let played = deployed(Scripted::new().on(is("go"), lost())).await;
    let report = played.report();
    let Outcome::Unknown { decides_by_ms } = report.outcome else { panic!("{report:?}") };
    let armed = played.events.iter().find(|e| matches!(e.event, Event::Armed { .. }));
    assert!(decides_by_ms > armed.expect("armed").at_ms);
    assert_eq!((played.exit(), report.decided_by), (Exit::Unknown, Decider::Guard));
    assert!(report.next.iter().any(|n| n.contains("resume")), "{report:?}");
    let tries = played.calls.iter().filter(|c| stage::purpose(c) == "go").count();
    assert!(tries > 5, "{tries} attempts");
}

#[tokio::test(start_paused = true)]
async fn contact_that_comes_back_is_no_failure() {
    let played = deployed(Scripted::new().once(is("go"), lost())).await;
    assert!(matches!(played.report().outcome, Outcome::Committed { .. }));
    assert_eq!(played.state.hosts[0].reconnects, 1);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_somebody_else_changed_is_left_as_it_is() {
    let told = |checks: &str| checks.to_owned();
    let Play::Talks(first, replies) = session(told) else { panic!("a session") };
    let why = "line=reason=profile or boot default were changed";
    let foreign = ["line=tx=b79ed5ae88df", "line=outcome=foreign", why];
    let foreign = foreign.into_iter().chain(["line=end=0", "done=0"]);
    let foreign: Vec<_> = foreign.map(|l| line(nixdeploy::world::Stream::Out, l)).collect();
    let replies = replies.into_iter().map(|(key, said)| match key.as_str() {
        "guard" => (key, foreign.clone()),
        _ => (key, said),
    });
    let talk = Play::Talks(first, replies.collect());
    let played = deployed(Scripted::new().on(is("verify"), talk)).await;
    assert_eq!((&played.report().outcome, played.exit()), (&Outcome::Foreign, Exit::Foreign));
    assert!(!played.requests().contains(&"abort".to_owned()), "{:?}", played.requests());
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_another_transaction_is_none() {
    let other = recorded(&GO.replace("tx=b79ed5ae88df", "tx=0123456789ab"));
    let played = deployed(Scripted::new().once(is("go"), other)).await;
    assert!(matches!(played.report().outcome, Outcome::Committed { .. }), "{:?}", played.report());
    assert_eq!(played.state.hosts[0].reconnects, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_answer_was_lost_is_looked_for() {
    let held = guard(&["phase=hold", &format!("new={NEW}"), "guard=active"]);
    let played = deployed(Scripted::new().once(is("hold"), lost()).on(is("show"), held)).await;
    assert!(matches!(played.report().outcome, Outcome::Committed { .. }), "{:?}", played.report());
    assert_eq!(played.requests(), ["hold", "show", "go", "verify"], "it is ours already");
    let gone = || Play::fails(127, ["sh: can't open '/run/nixdeploy/b79ed5ae88df/guard'"]);
    let played = deployed(Scripted::new().once(is("hold"), lost()).on(is("show"), gone())).await;
    assert_eq!(played.requests(), ["hold", "show", "hold", "go", "verify"], "asked once more");
    let played = deployed(Scripted::new().on(is("hold"), lost()).on(is("show"), gone())).await;
    assert_eq!(played.exit(), Exit::Refused);
    assert_eq!(played.requests(), ["hold", "show", "hold", "show"]);
    let another = Play::says(["held=0123456789ab", "end=0"]);
    let played = deployed(Scripted::new().once(is("hold"), another).on(is("show"), gone())).await;
    assert_eq!(played.requests(), ["hold", "show", "hold", "go", "verify"], "not our lock");
}

/// Takes the lock of p510 by a login that was made so many seconds before.
async fn taken(hold_says: Play, before_s: u64) -> (Result<(), HoldError>, usize) {
    let runner = Scripted::new().on(is("hold"), hold_says).shared();
    let folder = tempfile::tempdir().expect("a folder");
    let world = crate::support::world(folder.path(), runner.clone());
    let fleet = parse(Path::new("/fleet/hosts.toml"), HOSTS).expect("a fleet");
    let plan = decide(&deploy(), &fleet.hosts, &Order::of(&fleet.limits));
    let host = &fleet.hosts[0];
    let policy = &plan.hosts().next().expect("a host").policy;
    let (early, _) = parse_early(&FACTS.lines().map(str::to_owned).collect::<Vec<_>>());
    let (emitter, _events) = channel(std::sync::Arc::new(world.clock));
    let target = Target::new(host, &world.environment);
    let tx = || Tx::new("b79ed5ae88df").expect("a name");
    let hand = || Hand::new(&world, &emitter, &host.name, &target, tx());
    let new = StorePath::new(NEW).expect("a path");
    let door = Door::open(&hand(), Link::Fresh, &early, &new, policy).await;
    world.clock.sleep(Duration::from_secs(before_s)).await;
    let how = (Link::Fresh, door);
    let held = hold(hand(), how, &early, &new, policy, OnRevertFailure::Leave).await;
    (held.map(drop), runner.calls().len())
}

#[tokio::test(start_paused = true)]
async fn a_login_that_was_made_ahead_is_given_its_word_unless_it_is_old() {
    let said: Vec<_> = HOLD.lines().map(|l| line(Out, l)).collect();
    let (first, rest) = said.split_at(1);
    let waits = Play::Talks(first.to_vec(), vec![("leave\n".to_owned(), rest.to_vec())]);
    assert_eq!(taken(waits, 5).await, (Ok(()), 1));
    let at_once = Play::Says(said, Ended::Exited(0));
    assert_eq!(taken(at_once, 60).await, (Ok(()), 2), "another login, and the first one is gone");
}

fn at_all(played: &Played, word: &str) -> usize {
    played.calls.iter().filter(|c| stage::purpose(c) == word).count()
}

#[tokio::test(start_paused = true)]
async fn without_a_soak_one_login_verifies_and_a_refused_one_is_made_anew() {
    for (rules, logins) in [(Scripted::new(), 1), (Scripted::new().once(is("verify"), lost()), 2)] {
        let played = play_with("soak_s = 2", "soak_s = 0", good(rules), deploy()).await;
        let report = played.report();
        assert!(matches!(report.outcome, Outcome::Committed { .. }), "{report:?}");
        assert_eq!(played.requests(), ["hold", "go", "verify"]);
        assert_eq!(at_all(&played, "verify"), logins);
    }
    let bad = went("act=result=exit-code code=exited status=2");
    let rules = good(Scripted::new().on(is("go"), bad));
    let played = play_with("soak_s = 2", "soak_s = 0", rules, deploy()).await;
    assert_eq!(played.report().outcome, Outcome::RolledBack);
    assert_eq!(at_all(&played, "verify"), 0, "an activation that failed needs no look");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_booted_since_its_facts_is_left_alone() {
    let words = ["nixdeploy-hold=1", "changed=boot", "end=2"];
    let played = deployed(Scripted::new().on(is("hold"), Play::says(words))).await;
    let Outcome::Refused { code, .. } = &played.report().outcome else { panic!("not refused") };
    assert_eq!((code.as_str(), played.exit()), ("another-boot", Exit::Refused));
}

#[tokio::test(start_paused = true)]
async fn one_refused_connection_condemns_nothing() {
    let played = deployed(Scripted::new().once(is("verify"), lost())).await;
    assert!(matches!(played.report().outcome, Outcome::Committed { .. }), "{:?}", played.report());
    let played = deployed(Scripted::new().on(is("verify"), lost())).await;
    assert_eq!(played.exit(), Exit::RolledBack);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_leaves_time_for_another() {
    let bad = went("act=result=exit-code code=exited status=2");
    let rules = Scripted::new().on(is("go"), bad).once(is("abort"), Play::Hang(Vec::new()));
    let played = deployed(rules).await;
    assert_eq!(played.report().outcome, Outcome::RolledBack, "{:?}", played.report());
    assert_eq!(played.state.hosts[0].reconnects, 1);
}

#[tokio::test(start_paused = true)]
async fn a_deployer_that_slept_past_every_limit_asks_before_it_gives_up() {
    let slept = tokio::spawn(async {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        tokio::time::advance(std::time::Duration::from_secs(7200)).await;
    });
    let decided = GO
        .replace("decision=", "decision=revert")
        .replace("started=", "reason=no commit before the deadline\nstarted=");
    let rules = Scripted::new().once(is("go"), Play::Hang(Vec::new()));
    let played = deployed(rules.on(is("go"), recorded(&decided))).await;
    slept.await.expect("slept");
    let report = played.report();
    assert_eq!((&report.outcome, played.exit()), (&Outcome::RolledBack, Exit::RolledBack));
    assert_eq!(report.decided_by, Decider::Guard, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_changes_dates_and_nothing_else() {
    let steady = deployed(Scripted::new()).await;
    let (outcome, took) = (&steady.report().outcome, steady.state.elapsed_ms);
    for day_ms in [-86_400_000, 86_400_000] {
        let jumping = play_by(good(Scripted::new()), deploy(), day_ms).await;
        let report = jumping.report();
        assert_eq!((&report.outcome, jumping.exit()), (outcome, Exit::Done), "{report:?}");
        assert_eq!(jumping.requests(), steady.requests());
        assert_eq!(jumping.state.elapsed_ms, took, "the run took as long");
        let at = |i: usize| jumping.events[i].at_ms;
        let last = jumping.events.len() - 1;
        assert!((at(last) - at(0)).abs() > 80_000_000, "it jumped");
        assert_eq!(phases(&jumping), phases(&steady), "no phase took a day, or less than nothing");
    }
}

/// How long each phase took, as the report tells.
fn phases(played: &Played) -> Vec<u64> {
    let document = nixdeploy::report::json::document(&played.state);
    let document: serde_json::Value = serde_json::from_str(&document).expect("a document");
    let phases = document["hosts"][0]["phases"].as_array().expect("phases").iter();
    phases.map(|phase| phase["took_ms"].as_u64().expect("a length")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_missing_sudo_is_no_reboot() {
    let gone = Play::fails(127, ["sh: sudo: command not found"]);
    let played = deployed(Scripted::new().once(is("go"), gone)).await;
    assert!(matches!(played.report().outcome, Outcome::Committed { .. }), "{:?}", played.report());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_rebooted_says_by_its_pointers_what_was_decided() {
    let gone = Play::fails(127, ["sh: can't open '/run/nixdeploy/b79ed5ae88df/guard'"]);
    let rebooted = FACTS.replace("boot_id=99c4cc29", "boot_id=11111111");
    let rules = |facts: &str| {
        let rules = Scripted::new().once(is("facts"), recorded(FACTS));
        rules.on(is("facts"), recorded(facts)).on(is("go"), gone.clone())
    };
    let played = deployed(rules(&rebooted)).await;
    let report = played.report();
    assert_eq!((&report.outcome, report.decided_by), (&Outcome::RolledBack, Decider::Reboot));
    assert_eq!(played.exit(), Exit::RolledBack);
    let new = rebooted.replace(OLD, NEW);
    let played = deployed(rules(&new)).await;
    let report = played.report();
    assert_eq!(report.outcome, Outcome::Stranded, "no commit was asked for: {report:?}");
    assert!(report.note.contains("which was not verified"), "{report:?}");
    let committing = Scripted::new().once(is("facts"), recorded(FACTS));
    let committing = committing.on(is("facts"), recorded(&new)).on(is("commit"), gone.clone());
    let Play::Talks(checks, mut replies) = session(str::to_owned) else { panic!("no session") };
    replies.retain(|(asked, _)| asked != "guard");
    let checks_only = Play::Talks(checks, replies);
    let played = deployed(committing.on(is("verify"), checks_only)).await;
    assert_eq!(played.report().outcome, Outcome::Committed { reboot_required: false });
    let other = rebooted.replace(&format!("running={OLD}"), &format!("running={NEW}"));
    let played = deployed(rules(&other)).await;
    assert_eq!(played.report().outcome, Outcome::Stranded);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_of_a_host_after_its_last_word() {
    let played = deployed(Scripted::new()).await;
    let (last, renewals) = (played.calls.last(), played.calls.iter().filter(|c| is("renew")(c)));
    assert_eq!(last.map(stage::purpose).as_deref(), Some("verify"));
    assert_eq!(renewals.count(), 0, "a deploy of seconds needs no sign of life");
}
