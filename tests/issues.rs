//! `issues` against a web server on loopback that answers as GitHub does, or does not.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use nixdeploy::issues::Inventory;
use nixdeploy::issues::address::{Address, Named};
use nixdeploy::issues::fetch::{Asking, Listing, State, fetch};
use serde_json::Value;

use crate::support::home::{Desk, assert_harmless};
use crate::support::machines::Said;
use crate::support::scripted::Scripted;

const PAGES: [&str; 2] = [
    include_str!("fixtures/issues/first/issues-page1.json"),
    include_str!("fixtures/issues/first/issues-page2.json"),
];
const INVENTORY: &str = include_str!("fixtures/issues/first/inventory.json");
const HEADERS: &str = include_str!("fixtures/issues/first/headers.json");
const NOW: &str = "2026-09-24T12:00:00Z";

/// A server until it is dropped.
struct Server {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
}

impl Server {
    /// Answers each request, given as it came, with the bytes of an answer.
    fn start(answer: impl Fn(&str, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (heard, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (told, ended, answer) = (Arc::clone(&heard), Arc::clone(&over), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let (told, answer) = (Arc::clone(&told), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, address, &told, answer.as_ref()));
            }
        });
        Self { address, heard, over }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests so far, lower case, and forgets them.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.lock().expect("the list"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut stream: TcpStream,
    address: SocketAddr,
    told: &Mutex<Vec<String>>,
    answer: &(impl Fn(&str, &str) -> Vec<u8> + ?Sized),
) {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    told.lock().expect("the list").push(request.to_lowercase());
    let _ = stream.write_all(&answer(&request, &format!("http://{address}")));
}

fn reply(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\n{headers}connection: close\r\n");
    format!("{head}content-length: {length}\r\n\r\n{body}").into_bytes()
}

/// The two pages for every list; nothing has changed for who knows them.
fn github(request: &str, url: &str) -> Vec<u8> {
    let lower = request.to_lowercase();
    if lower.contains("if-none-match: w/\"a1\"") {
        return reply(304, "etag: W/\"a1\"\r\n", "");
    }
    if lower.contains("page=2") {
        return reply(200, "etag: W/\"a2\"\r\n", PAGES[1]);
    }
    let next =
        format!("etag: W/\"a1\"\r\nlink: <{url}/repositories/1/issues?page=2>; rel=\"next\"\r\n");
    reply(200, &next, PAGES[0])
}

fn desk(now: &str) -> Desk {
    let desk = Desk::new();
    desk.write("packages.json", INVENTORY.replace(NOW, now));
    desk
}

fn ask(desk: &Desk, url: &str, args: &[&str], variables: &[(&str, &str)]) -> Said {
    let args = [&["issues", "--inventory-file", "packages.json"], args].concat();
    let variables = [variables, &[("NIXDEPLOY_GITHUB_API", url)]].concat();
    let said = desk.run_with(&args, &variables);
    assert_harmless(&said.stdout);
    assert_harmless(&said.stderr);
    said
}

fn document(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said:?}"))
}

#[test]
fn the_lists_are_asked_for_once_and_then_only_what_changed() {
    let (server, desk) = (Server::start(github), desk(NOW));
    let said = ask(&desk, &server.url(), &["--json"], &[]);
    let known = document(&said);
    assert_eq!((said.code, &known["check"]["state"]), (0, &Value::from("complete")), "{known}");
    assert_eq!(known["gate"], serde_json::json!({"*": "ask"}));
    let items = known["items"].as_array().expect("items");
    let vscode = items.iter().find(|i| i["number"] == 560_776).expect("an issue");
    assert_eq!(
        (&vscode["phase"], &vscode["confidence"]),
        (&"introduced".into(), &"version".into())
    );
    assert_eq!(vscode["url"], "https://github.com/NixOS/nixpkgs/issues/560776");
    let heard = server.heard();
    assert_eq!(heard.len(), 8, "two pages of four lists: {heard:#?}");
    assert!(heard.iter().all(|r| !r.contains("authorization")), "{heard:#?}");
    assert!(heard.iter().any(|r| r.contains("labels=1.severity%3a%20security&state=all")));
    // Within the hour nobody is asked.
    assert_eq!(document(&ask(&desk, &server.url(), &["--json"], &[]))["check"]["requests"], 0);
    desk.write("packages.json", INVENTORY.replace(NOW, "2026-09-24T14:00:00Z"));
    let later = document(&ask(&desk, &server.url(), &["--json"], &[]));
    assert_eq!(
        (&later["check"]["requests"], &later["check"]["state"]),
        (&4.into(), &"complete".into())
    );
    assert_eq!(later["items"], known["items"]);
    assert!(server.heard().iter().all(|r| r.contains("if-none-match")));
}

#[test]
fn what_is_missing_is_said_and_nothing_is_called_clean() {
    let headers: Value = serde_json::from_str(HEADERS).expect("headers");
    let of = |name: &str| {
        let all = headers[name].as_object().expect("headers");
        let told = all.iter().filter(|(k, v)| v.is_string() && k.contains('-'));
        let lines: String =
            told.map(|(k, v)| format!("{k}: {}\r\n", v.as_str().unwrap_or(""))).collect();
        reply(headers[name]["status"].as_u64().expect("a status") as u16, &lines, "{}")
    };
    let cut = b"HTTP/1.1 200 X\r\ncontent-length: 9999\r\n\r\n[{\"number\"".to_vec();
    let elsewhere = "link: <https://evil.example/issues?page=2>; rel=\"next\"\r\n";
    for (answer, state, note) in [
        (of("primary_limit"), "unavailable", "limit is reached"),
        (of("secondary_limit"), "unavailable", "limit is reached"),
        (of("server_error"), "unavailable", "answered 502"),
        (reply(401, "", "{}"), "unavailable", "answered 401"),
        (reply(302, "location: https://evil.example/\r\n", ""), "unavailable", "leads elsewhere"),
        (reply(404, "", "{}"), "unavailable", "answered 404"),
        (reply(200, "", "{\"message\":\"no list\"}"), "unavailable", "no list"),
        (reply(200, "", "<html>"), "unavailable", "no list"),
        (cut, "unavailable", "broke off"),
        (b"nonsense\r\n\r\n".to_vec(), "unavailable", "broke off"),
        (reply(200, elsewhere, PAGES[0]), "partial", "another server"),
    ] {
        let server = Server::start(move |_, _| answer.clone());
        let desk = desk(NOW);
        let known = document(&ask(&desk, &server.url(), &["--json"], &[]));
        let notes = known["check"]["notes"].to_string();
        assert_eq!(known["check"]["state"], state, "{notes}");
        assert!(notes.contains(note), "{note}: {notes}");
        assert_eq!(known["gate"]["*"], "ask");
        let page = ask(&desk, &server.url(), &["--no-cache"], &[]);
        assert_eq!(page.code, 12, "{page:?}");
        assert!(!page.stdout.contains("no known issues"), "{page:?}");
        let token = note.contains("limit");
        assert_eq!(page.stdout.contains("with a token: gh auth login"), token, "{page:?}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("one");
    let said = ask(&desk(NOW), &format!("http://{nobody}"), &[], &[]);
    assert_eq!(said.code, 12);
    assert!(said.stdout.starts_with("Known issues: nothing was checked"), "{said:?}");
    assert!(!said.stdout.contains("token"), "a token is no help where nobody answers {said:?}");
}

/// Whatever the dates of the first page say: the server may have sent it in any order.
#[test]
fn a_list_that_broke_off_is_not_whole_the_second_time() {
    let limit = "retry-after: 60\r\nx-ratelimit-remaining: 0\r\n";
    let server = Server::start(move |request, url| match request.contains("page=2") {
        true => reply(429, limit, "{}"),
        false => github(request, url),
    });
    let desk = desk(NOW);
    for _ in 0..3 {
        let known = document(&ask(&desk, &server.url(), &["--json"], &[]));
        assert_eq!(known["check"]["state"], "partial", "{known}");
        assert!(known["check"]["notes"].to_string().contains("limit is reached"), "{known}");
        let page = ask(&desk, &server.url(), &[], &[]);
        assert_eq!(page.code, 12, "{page:?}");
        assert!(!page.stdout.contains("no known issues"), "{page:?}");
    }
}

/// An update asks for the lists while it builds, and looks into them when it has built.
#[tokio::test]
async fn what_went_wrong_is_told_a_second_time_and_nobody_is_asked_again() {
    let limit = "retry-after: 60\r\nx-ratelimit-remaining: 0\r\n";
    let server = Server::start(move |request, url| match request.contains("page=2") {
        true => reply(429, limit, "{}"),
        false => github(request, url),
    });
    let folder = tempfile::tempdir().expect("a folder");
    let world = crate::support::world(folder.path(), Scripted::new().shared());
    let address = Address::parse(&server.url(), Named::Person).expect("an address");
    let asking = Asking { address, anew: false };
    let inventory = Inventory { now_ms: 1_790_251_200_000, ..Inventory::default() };
    let first = fetch(&world, &asking, &inventory, None).await;
    assert!(first.state == State::Partial && !server.heard().is_empty(), "{first:?}");
    // Not by way of what is kept: a cache that is full keeps nothing.
    std::fs::remove_dir_all(folder.path().join("cache")).expect("a cache");
    let second = fetch(&world, &asking, &inventory, Some(&first)).await;
    assert_eq!(server.heard(), [""; 0]);
    let told = |l: &Listing| (l.state, l.notes.clone(), l.resets_ms, l.token_helps, l.requests);
    assert_eq!(told(&second), told(&first));
    assert!(first.resets_ms.is_some() && first.token_helps && !first.issues.is_empty());
    assert_eq!(second.issues, first.issues);
}

#[test]
fn an_old_list_is_called_old_and_a_very_old_one_is_none() {
    let desk = desk(NOW);
    let server = Server::start(github);
    let url = server.url();
    assert_eq!(ask(&desk, &url, &[], &[]).code, 0);
    drop(server);
    for (now, state, items) in [
        ("2026-09-24T12:30:00Z", "complete", true),
        ("2026-09-24T14:00:00Z", "stale", true),
        ("2026-10-03T12:00:00Z", "unavailable", false),
    ] {
        desk.write("packages.json", INVENTORY.replace(NOW, now));
        let said = ask(&desk, &url, &["--json"], &[]);
        let known = document(&said);
        assert_eq!(known["check"]["state"], state, "{known}");
        assert_eq!(known["items"].as_array().is_some_and(|i| !i.is_empty()), items);
        assert_eq!(said.code == 0, state == "complete");
    }
}

#[test]
fn a_token_is_said_to_whom_it_is_for_and_shown_to_nobody() {
    let token = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
    let variables = [("GITHUB_TOKEN", token)];
    let (server, desk) = (Server::start(github), desk(NOW));
    let said = ask(&desk, &server.url(), &["--json"], &variables);
    assert!(server.heard().iter().all(|r| r.contains(&format!("authorization: bearer {token}"))));
    assert!(!format!("{said:?}").contains(token));
    // A token that is refused is left out, once and for all.
    let refusing = Server::start(|request, url| match request.to_lowercase().contains("bearer") {
        true => reply(401, "", "{\"message\":\"Bad credentials\"}"),
        false => github(request, url),
    });
    let said = ask(&desk, &refusing.url(), &["--json"], &variables);
    let known = document(&said);
    assert_eq!((said.code, &known["check"]["with_token"]), (0, &Value::from(false)), "{known}");
    assert!(known["check"]["notes"].to_string().contains("token is refused"));
    // hosts.toml comes with a repository: what it names gets no general token.
    let other = Server::start(github);
    desk.write("hosts.toml", format!("[issues]\napi = '{}'\n", other.url()));
    let args = ["issues", "--inventory-file", "packages.json", "--json"];
    assert_eq!(desk.run_with(&args, &variables).code, 0);
    assert!(other.heard().iter().all(|r| !r.contains("bearer")));
    let own = [("NIXDEPLOY_GITHUB_TOKEN", "own-token"), ("GITHUB_TOKEN", token)];
    let args = [&args[..], &["--no-cache"]].concat();
    assert_eq!(desk.run_with(&args, &own).code, 0);
    assert!(other.heard().iter().all(|r| r.contains("bearer own-token")));
}

#[test]
fn titles_of_strangers_draw_nothing() {
    let hostile = r#"[{"number": 1, "state": "open", "created_at": "2026-09-20T00:00:00Z",
        "labels": [{"name": "0.kind: bug\u001b[2J"}],
        "title": "vscode: \u001b]0;owned\u0007 \u202eneve\u009b31m 1.136.1 crashes"}]"#;
    let server = Server::start(move |_, _| reply(200, "", hostile));
    let desk = desk(NOW);
    let page = ask(&desk, &server.url(), &["--all"], &[]);
    assert!(page.stdout.contains("vscode"), "{page:?}");
    let known = document(&ask(&desk, &server.url(), &["--json"], &[]));
    assert_eq!(known["items"][0]["number"], 1, "{known}");
}

#[test]
fn packages_of_a_file_are_held_against_issues() {
    let (server, desk) = (Server::start(github), desk(NOW));
    let page = ask(&desk, &server.url(), &[], &[]).stdout;
    assert!(page.starts_with("Known issues: 20 packages, 6 modules, "), "{page}");
    assert!(page.contains("would be new with this update\n  high"), "{page}");
    assert!(page.contains("1 low, hidden (--all)") && !page.contains("pipx"), "{page}");
    let all = ask(&desk, &server.url(), &["--all"], &[]).stdout;
    assert!(all.contains("pipx") && !all.contains("hidden"), "{all}");
    for (text, told) in [("{}", "is no inventory"), ("[", "is no inventory")] {
        desk.write("packages.json", text);
        let said = ask(&desk, &server.url(), &[], &[]);
        assert!(said.code == 2 && said.stderr.contains(told), "{said:?}");
    }
}

#[test]
fn hosts_toml_says_what_is_lived_with_and_how_long() {
    let (server, desk) = (Server::start(github), desk(NOW));
    let ignore = |until: &str| {
        format!(
            "[[issues.ignore]]\nid = 560776\nuntil = '{until}'\nreason = 'known'\n\
             [issues.severity]\n525700 = 'low'\n"
        )
    };
    desk.write("hosts.toml", ignore("2026-09-24"));
    let known = document(&ask(&desk, &server.url(), &["--json"], &[]));
    assert_eq!(
        (&known["ignored"], &known["gate"]["*"]),
        (&serde_json::json!([560_776]), &"free".into())
    );
    let items = known["items"].as_array().expect("items");
    let perl = items.iter().find(|i| i["number"] == 525_700).expect("an issue");
    assert_eq!(perl["severity"], "low");
    desk.write("hosts.toml", ignore("2026-09-23"));
    let known = document(&ask(&desk, &server.url(), &["--json"], &[]));
    assert_eq!((&known["ignored"], &known["gate"]["*"]), (&serde_json::json!([]), &"ask".into()));
    assert!(known["warnings"].to_string().contains("560776"), "{known}");
    desk.write("hosts.toml", "[[issues.ignore]]\nid = 7\nuntil = 'soon'\nreason = 'x'\n");
    let said = ask(&desk, &server.url(), &[], &[]);
    assert!(said.code == 2 && said.stderr.contains("`until` is a day"), "{said:?}");
}

#[test]
fn what_no_list_names_is_searched_for_and_never_more_than_eight_times() {
    let server = Server::start(|request, _| {
        let found = if request.contains("GET /search/") { r#"{"items": []}"# } else { "[]" };
        reply(200, "etag: \"e\"\r\n", found)
    });
    let desk = desk(NOW);
    let names = ["linux", "systemd", "grub", "zfs-user", "zfs-kernel", "linux-zen"];
    let more = ["linux-hardened", "linux-firmware", "zfs", "linux-xanmod"];
    let packages = names.iter().chain(&more).chain(&["hello"]);
    let package =
        |name: &&str| serde_json::json!({"pname": name, "installed": "1", "candidate": "2"});
    let mut inventory: Value = serde_json::from_str(INVENTORY).expect("an inventory");
    inventory["packages"] = packages.map(package).collect();
    for now in [NOW, "2026-09-24T14:00:00Z"] {
        inventory["now"] = now.into();
        desk.write("packages.json", inventory.to_string());
        let known = document(&ask(&desk, &server.url(), &["--json"], &[]));
        let heard = server.heard();
        let lists = heard.iter().filter(|r| !r.contains("get /search/")).count();
        assert_eq!((lists, heard.len()), (4, 12), "{heard:#?}");
        assert_eq!(known["check"]["state"], "complete", "{known}");
        assert!(!heard.iter().any(|r| r.contains("hello")), "only what a machine starts with");
    }
}
