//! Reading facts against a scripted ssh: addresses, rounds, and each way to fail.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;

use super::*;
use crate::fleet::Address;
use crate::world::process::Backstage;
use crate::world::prompt::Prompt;
use crate::world::{Clock, Conversation, Environment, Invocation, Line, Runner, StartError};

const FACTS: &str = include_str!("fixtures/facts-p620.txt");

/// Answers each call with the next of its lines and ends; keeps the calls.
struct Played {
    answers: Mutex<Vec<(String, &'static str, i32)>>,
    calls: Mutex<Vec<String>>,
}

impl Runner for Played {
    fn start(&self, invocation: Invocation) -> BoxFuture<'_, Result<Conversation, StartError>> {
        self.calls.lock().expect("calls").push(invocation.to_string());
        let (out, err, code) = self.answers.lock().expect("answers").remove(0);
        Box::pin(async move {
            let (talk, Backstage { lines, ended, .. }) = Conversation::pair();
            tokio::spawn(async move {
                let line = |stream, text: &str| Line { stream, text: text.to_owned() };
                for text in out.lines() {
                    let _ = lines.send(line(Stream::Out, text)).await;
                }
                for text in err.lines() {
                    let _ = lines.send(line(Stream::Err, text)).await;
                }
                drop(lines);
                let _ = ended.send(Ended::Exited(code));
            });
            Ok(talk)
        })
    }
}

fn target(address: &str) -> Target {
    Target::plain(Address::new(address).expect("address"))
}

type Tried = (Result<Answered, Refused>, Option<Early>, Vec<String>);

async fn try_reading(targets: &[Target], answers: Vec<(String, &'static str, i32)>) -> Tried {
    let played = Arc::new(Played { answers: Mutex::new(answers), calls: Mutex::new(vec![]) });
    let world = world(played.clone());
    let (sender, mut receiver) = oneshot::channel();
    let answer = read(&world, targets, Link::Fresh, sender).await;
    let calls = played.calls.lock().expect("calls").clone();
    (answer, receiver.try_recv().ok().map(|first| first.early), calls)
}

fn world(runner: Arc<dyn Runner>) -> World {
    World {
        runner,
        clock: Clock::start(),
        environment: Arc::new(Environment::read().expect("environment")),
        prompt: Arc::new(Prompt::new(false)),
    }
}

fn full() -> (String, &'static str, i32) {
    (FACTS.to_owned(), "", 0)
}

fn ssh_said(err: &'static str) -> (String, &'static str, i32) {
    (String::new(), err, 255)
}

#[tokio::test]
async fn one_round_trip_brings_both_parts() {
    let (answer, early, calls) = try_reading(&[target("p620")], vec![full()]).await;
    let answered = answer.expect("answered");
    assert_eq!(answered.oddities, []);
    assert_eq!(early, Some(answered.facts.early));
    assert_eq!(calls.len(), 1);
    assert!(calls[0].ends_with("-- p620 '/bin/sh -s --'"), "{}", calls[0]);
}

#[tokio::test(start_paused = true)]
async fn addresses_are_tried_in_order_for_three_rounds() {
    let down = || ssh_said("ssh: connect to host a port 22: Connection refused");
    let targets = [target("a"), target("b")];
    let (answer, _, calls) = try_reading(&targets, vec![down(), full()]).await;
    assert_eq!(answer.expect("answered").target.address.as_str(), "b");
    assert_eq!(calls.len(), 2);
    let (answer, early, calls) = try_reading(&targets, (0..6).map(|_| down()).collect()).await;
    let refused = answer.expect_err("down");
    assert_eq!((refused.code(), refused.causes().len(), calls.len()), ("unreachable", 2, 6));
    assert_eq!(early, None);
}

#[tokio::test]
async fn what_another_attempt_cannot_mend_is_not_retried() {
    for (said, code) in [
        ("Host key verification failed.", "host-key"),
        ("root@p620: Permission denied (publickey).", "denied"),
    ] {
        let (answer, _, calls) = try_reading(&[target("p620")], vec![ssh_said(said)]).await;
        assert_eq!((answer.expect_err("refused").code(), calls.len()), (code, 1));
    }
}

#[tokio::test]
async fn a_script_that_fails_is_no_broken_connection() {
    let ended = ("nixdeploy-facts=1\n".to_owned(), "sh: not today", 2);
    let (answer, _, _) = try_reading(&[target("p620")], vec![ended]).await;
    let refused = answer.expect_err("refused");
    assert_eq!(
        (refused.code(), refused.causes()),
        ("unreadable", vec!["exit 2".to_owned(), "sh: not today".to_owned()],)
    );
}

#[tokio::test]
async fn sudo_that_wants_a_password_is_explained() {
    let mut admin = target("samsung");
    admin.user = Some(crate::fleet::UserName::new("admin").expect("name"));
    let said = (String::new(), "sudo: a password is required", 1);
    let (answer, _, calls) = try_reading(&[admin], vec![said]).await;
    let refused = answer.expect_err("refused");
    assert_eq!(refused.sentence(), "admin cannot become root");
    let host = crate::fleet::HostName::new("samsung").expect("name");
    let hints = refused.hints(&host).join("\n");
    assert!(hints.contains("--sudo-password-file") && hints.contains("NOPASSWD"), "{hints}");
    assert!(calls[0].contains("sudo -n -- /bin/sh"));
}

#[tokio::test]
async fn a_login_that_is_not_root_is_asked_again_through_sudo() {
    let user = (FACTS.replace("uid=0", "uid=1000"), "", 0);
    let (answer, early, calls) = try_reading(&[target("p620")], vec![user, full()]).await;
    assert_eq!(answer.expect("answered").target.sudo, Sudo::Always);
    assert!(early.is_some() && calls[1].contains("sudo -n"));
}

#[test]
fn the_script_that_is_sent_is_lean_and_whole() {
    let sent = lean(SCRIPT);
    assert!(sent.ends_with("\nrest\n"));
    assert!(!sent.lines().any(|l| l.is_empty() || l.starts_with('#') || l.starts_with(' ')));
    let early = sent.find("\nearly \"$@\"\n").expect("the first part is run");
    assert!(early < 8192, "bash reads {early} bytes one by one before the first part");
}

#[test]
fn who_only_pings_sends_the_first_part_alone() {
    let sent = Effort::PING.script().0 + &Effort::PING.script().1;
    assert!(sent.ends_with(&("\nearly \"$@\"\n".to_owned() + NO_REST)));
    let rest: Vec<&str> = NO_REST.lines().collect();
    assert_eq!((rest[0], rest[6]), ("say login \"${SUDO_USER:-${USER:-}}\"", "say end 0"));
    assert!(!sent.contains("\nrest"));
    let glance = Effort::GLANCE.script();
    assert_eq!(glance.0 + &glance.1, lean(SCRIPT));
    let shown = Effort::PING.invocation(&target("p620"), Link::Fresh, "").to_string();
    assert!(shown.starts_with("ssh -o ConnectTimeout=5 -T "), "{shown}");
}

/// A host that says its first part, and the rest when it is given the rest of the script.
struct Halved {
    said: Arc<Mutex<Vec<String>>>,
}

impl Runner for Halved {
    fn start(&self, invocation: Invocation) -> BoxFuture<'_, Result<Conversation, StartError>> {
        let said = self.said.clone();
        said.lock().expect("said").push(String::from_utf8(invocation.stdin).expect("a script"));
        Box::pin(async move {
            let (talk, Backstage { lines, ended, mut input, .. }) = Conversation::pair();
            tokio::spawn(async move {
                let (first, rest) = FACTS.split_at(FACTS.find("part=1").expect("a part") + 7);
                let line = |text: &str| Line { stream: Stream::Out, text: text.to_owned() };
                for text in first.lines() {
                    let _ = lines.send(line(text)).await;
                }
                if let Some(second) = input.recv().await {
                    said.lock().expect("said").push(String::from_utf8(second).expect("a script"));
                    for text in rest.lines() {
                        let _ = lines.send(line(text)).await;
                    }
                }
                drop(lines);
                let _ = ended.send(Ended::Exited(0));
            });
            Ok(talk)
        })
    }
}

/// Reads from such a host; `more` is called with the first part. What was sent, and how long
/// it took.
async fn halved(more: impl FnOnce(AskRest) -> Option<AskRest>) -> (Vec<String>, Duration) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let world = world(Arc::new(Halved { said: said.clone() }));
    let (sender, receiver) = oneshot::channel();
    let (ask, rest) = Rest::later();
    let (began, targets) = (tokio::time::Instant::now(), [target("p620")]);
    let reading = read_if(&world, &targets, Link::Fresh, sender, &rest);
    let asking = async {
        receiver.await.expect("the first part");
        more(ask)
    };
    let (answer, _ask) = tokio::join!(reading, asking);
    assert_eq!(answer.expect("answered").oddities, []);
    let said = said.lock().expect("said").clone();
    (said, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_sent_when_it_is_asked_for() {
    let (said, took) = halved(|ask| {
        ask.ask();
        Some(ask)
    })
    .await;
    assert_eq!(said.concat(), lean(SCRIPT));
    assert!(said[0].ends_with(FIRST_PART) && said.len() == 2);
    assert!(took < PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_nobody_asks_for_is_waited_for_in_vain_only_so_long() {
    let (said, took) = halved(Some).await;
    assert_eq!((said.concat(), took), (lean(SCRIPT), PATIENCE));
    // Whoever could have asked is gone.
    assert!(halved(|_| None).await.1 < PATIENCE);
}
