//! Secrets with a mark, wherever one may lie: the mark must come out nowhere (security row S12).

use std::path::Path;

use nixdeploy::event::harmless;
use nixdeploy::exit::Exit;
use nixdeploy::world::{Ended, Stream};

use super::shown;
use crate::support::home::Desk;
use crate::support::scripted::{Play, Scripted, line};
use crate::support::stage::{GO, TX, deploy, good, is, play, session};

/// The mark. Its letters are in no other text, and it is one that each form of a secret allows.
pub(super) const CANARY: &str = "C4narySecretC4nary";

/// Secrets as services and tools print them, with the mark inside.
pub(super) fn dressed() -> Vec<String> {
    let c = CANARY;
    [
        format!("token={c}"),
        format!("using token={c} for the upload"),
        format!("Authorization: Bearer {c}"),
        format!("> authorization: Basic {c}"),
        format!("password: {c}"),
        format!("PGPASSWORD={c} psql -h db"),
        format!("\"api_key\":\"{c}\""),
        format!("access-tokens = github.com={c}"),
        format!("machine cache.example.org login me password {c}"),
        format!("fetching git+https://me:{c}@git.example.org/flake"),
        format!("fetching https://{c}@git.example.org/flake.tar.gz"),
        format!("AGE-SECRET-KEY-1{}", c.to_uppercase()),
        format!("-----BEGIN OPENSSH PRIVATE KEY-----{c}-----END OPENSSH PRIVATE KEY-----"),
        format!("ghp_{c}"),
    ]
    .into()
}

/// Fails when a text holds the mark, in either case.
pub(super) fn assert_none(text: &str, place: &str) {
    let (lower, mark) = (text.to_lowercase(), CANARY.to_lowercase());
    let at = lower.find(&mark);
    let around = at.map(|at| &lower[lower.floor_char_boundary(at.saturating_sub(80))..]);
    let around = around.map(|text| text.chars().take(200).collect::<String>());
    assert!(around.is_none(), "a secret is in {place}: {around:?}");
}

#[test]
fn s12_every_form_of_a_secret_is_taken_out() {
    for secret in dressed() {
        for text in [secret.clone(), format!("{} {secret}", "x".repeat(300)), secret.repeat(300)] {
            assert_none(&harmless::line(&text), &secret);
            assert_none(&harmless::lines([text.as_str()]).concat(), &secret);
            assert_none(&harmless::redact(&text), &secret);
        }
    }
    let key = ["-----BEGIN PRIVATE KEY-----", CANARY, CANARY, "-----END PRIVATE KEY-----", "after"];
    let shown = harmless::lines(key);
    assert_none(&shown.join("\n"), "a key over several lines");
    assert_eq!(shown.last().map(String::as_str), Some("after"));
}

/// A secret near the place where a line is too long to be read on must not be cut in two.
#[test]
fn s12_a_line_of_any_length_hides_its_secrets() {
    for length in (3_800..4_100).chain([100_000]) {
        for secret in [format!("https://me:{CANARY}@host/"), format!("token={CANARY}")] {
            let long = format!("token={} {secret}", "y".repeat(length));
            assert_none(&harmless::line(&long), &secret);
            let words = format!("token=a {}{secret}", "-- ".repeat(length / 3));
            assert_none(&harmless::line(&words), &secret);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s12_what_a_host_prints_of_secrets_is_not_shown() {
    let journal = |text: &str| {
        let entry = serde_json::json!({ "MESSAGE": text, "__CURSOR": "s=1", "UNIT": "a.service" });
        line(Stream::Out, entry.to_string())
    };
    let spoken = || dressed().into_iter().map(|text| journal(&text));
    let heard: Vec<_> = spoken().chain(GO.lines().map(|l| line(Stream::Out, l))).collect();
    let heard = Play::Says(heard, Ended::Exited(0));
    let good_deploy = play(good(Scripted::new().on(is("go"), heard.clone())), deploy()).await;
    assert_eq!(good_deploy.exit(), Exit::Done, "{:?}", good_deploy.report());
    let broken = |checks: &str| {
        let journal: String = spoken().map(|l| l.text + "\n").collect();
        let units = checks
            .replace("nginx.service loaded active running", "nginx.service loaded failed failed");
        let oddities: String = dressed().iter().map(|s| format!("oddity={s}\n{s}\n")).collect();
        format!("{}\nsection=journal\n{journal}section=end\n{oddities}", units.trim_end())
    };
    let rules = || Scripted::new().on(is("verify"), session(broken)).on(is("go"), heard.clone());
    let taken_back = play(good(rules()), deploy()).await;
    assert_eq!(taken_back.exit(), Exit::RolledBack, "{:?}", taken_back.report());
    let logs = dressed().into_iter().map(|text| format!("log={text}"));
    let words = [TX, "outcome=revert_failed", "reason=token"].map(str::to_owned).into_iter();
    let back = Play::says(words.chain(logs).chain(["end=0".to_owned()]));
    let stranded = play(good(rules().on(is("abort"), back)), deploy()).await;
    assert_eq!(stranded.exit(), Exit::Stranded, "{:?}", stranded.report());
    for played in [good_deploy, taken_back, stranded] {
        assert_none(&shown(&played), "what is shown of a run");
        assert!(shown(&played).contains("[redacted]"), "the secrets were in what was heard");
        for call in &played.calls {
            assert_none(&format!("{call}"), "a command");
        }
    }
}

/// Every file below a folder, as one text.
fn everything_below(folder: &Path) -> String {
    let mut text = String::new();
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let path = entry.path();
        text += &path.to_string_lossy();
        match path.is_dir() {
            true => text += &everything_below(&path),
            false => text += &String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()),
        }
    }
    text
}

#[test]
fn s12_secrets_of_the_caller_stay_with_the_caller() {
    let desk = Desk::with_fleet("[hosts.p620]\n");
    let home = desk.path("home");
    std::fs::create_dir_all(home.join(".config/nix")).expect("made");
    let conf =
        format!("access-tokens = github.com={CANARY}\nnetrc-file = {}/netrc\n", home.display());
    std::fs::write(home.join(".config/nix/nix.conf"), &conf).expect("written");
    let netrc = format!("machine x login y password {CANARY}\n");
    std::fs::write(home.join("netrc"), netrc).expect("written");
    let says: String = dressed().iter().map(|s| format!("echo '{s}' >&2\n")).collect();
    let errors: String = dressed()
        .iter()
        .map(|s| serde_json::json!({ "action": "msg", "level": 0, "msg": format!("error: {s}") }))
        .map(|message| format!("printf '%s\\n' '@nix {message}' >&2\n"))
        .collect();
    desk.fake("nix", &format!("{says}{errors}exit 1\n"));
    desk.fake("ssh", &format!("{says}exit 255\n"));
    let variables = [
        ("GITHUB_TOKEN", CANARY),
        ("NIX_CONFIG", &format!("access-tokens = github.com={CANARY}")),
        ("AWS_SECRET_ACCESS_KEY", CANARY),
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_STEP_SUMMARY", &desk.path("summary").display().to_string()),
    ];
    let forms: [&[&str]; 6] =
        [&[], &["-vvv"], &["--json"], &["--format", "jsonl"], &["--format", "github"], &["-q"]];
    for form in forms {
        for command in [["quick-deploy", "p620"], ["build", "p620"], ["status", "p620"]] {
            let said = desk.run_with(&[&command, form].concat(), &variables);
            assert_none(&(said.stdout + &said.stderr), &format!("{command:?} {form:?}"));
        }
    }
    for command in [["report", "--json"].as_slice(), &["logs", "p620"], &["history", "--json"]] {
        let said = desk.run_with(command, &variables);
        assert_none(&(said.stdout + &said.stderr), &format!("{command:?}"));
    }
    for folder in ["home/.local/state", "home/.cache"] {
        let text = everything_below(&desk.path(folder));
        assert_none(&text, folder);
        assert!(folder.ends_with("cache") || text.contains("[redacted]"), "nothing was kept");
    }
    let summary = std::fs::read_to_string(desk.path("summary")).expect("a summary");
    assert_none(&summary, "the summary of the step");
    let calls = desk.calls().join("\n");
    assert_none(&calls, "arguments of a program");
}

/// A login in the flake's own address must be handed to Nix, and to nobody else.
#[test]
fn s12_a_login_in_the_address_of_a_flake_is_not_shown() {
    let desk = Desk::with_fleet(&format!(
        "[defaults]\nflake = \"git+https://me:{CANARY}@git.example.org/fleet\"\n[hosts.p620]\n"
    ));
    desk.fake("nix", "echo \"error: cannot fetch $*\" >&2; exit 1\n");
    desk.fake("ssh", "exit 255\n");
    let other = format!("git+https://{CANARY}@git.example.org/other");
    let forms: [&[&str]; 6] =
        [&[], &["-vvv"], &["--json"], &["--format", "jsonl"], &["--format", "github"], &["-q"]];
    for form in forms {
        for command in ["quick-deploy", "build", "status", "diff", "check"] {
            let host: &[&str] = if command == "check" { &[] } else { &["p620"] };
            let said = desk.run(&[&[command], host, form].concat());
            assert_none(&(said.stdout + &said.stderr), &format!("{command} {form:?}"));
            let flake = ["--flake", other.as_str()];
            let said = desk.run(&[&[command], host, form, flake.as_slice()].concat());
            assert_none(&(said.stdout + &said.stderr), &format!("{command} {form:?} --flake"));
        }
    }
    let init = desk.run(&["init", "--flake", &other, "--inventory", "new.toml"]);
    assert_none(&(init.stdout + &init.stderr), "init");
    let asked = desk.calls().iter().any(|c| c.contains(CANARY));
    assert!(asked, "Nix was given the address as it is: {:?}", desk.calls());
    for command in [["report", "--json"].as_slice(), &["logs", "p620"], &["history", "--json"]] {
        let said = desk.run(command);
        assert_none(&(said.stdout + &said.stderr), &format!("{command:?}"));
    }
    for folder in ["home/.local/state", "home/.cache"] {
        assert_none(&everything_below(&desk.path(folder)), folder);
    }
}
