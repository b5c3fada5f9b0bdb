//! `bench-host` and the `perf` commands: what they count, and that they change nothing.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::support::home::Desk;

const DRV: &str = "/nix/store/00000000000000000000000000000000-nixos-system-p620.drv";
const TOP: &str = "/nix/store/11111111111111111111111111111111-nixos-system-p620-25.11";

/// Three hosts; ssh would be told, and nix answers by what it is asked.
fn desk(substituters: &str) -> Desk {
    let desk = Desk::with_fleet("[hosts.p620]\n[hosts.p510]\n[hosts.razer]\n");
    desk.fake("ssh", "exit 255\n");
    desk.fake(
        "nix",
        &format!(
            "case $* in *razer*) [ ! -e $DESK/work/broken ] || {{ echo 'error: no' >&2; exit 1; }} \
             ;; esac\n\
             case $* in\n\
             *--derivation*) echo {DRV} ;;\n\
             *'config show'*) echo '{substituters}' ;;\n\
             *--recursive*) for n in 1 2 3 4; do\n\
             echo \"/nix/store/$(printf %032d $n | tr 0 5)-part$n 1000\"; done\n\
             echo '{TOP} 500' ;;\n\
             *) echo {TOP} ;;\n\
             esac\n"
        ),
    );
    desk
}

fn measured(desk: &Desk, args: &[&str], code: i32) -> serde_json::Value {
    let said = desk.run(&[args, &["--json"]].concat());
    assert_eq!(said.code, code, "{args:?}\n{}{}", said.stdout, said.stderr);
    serde_json::from_str(&said.stdout).expect("a document")
}

/// Rows as name and what.
fn rows(document: &serde_json::Value) -> Vec<(String, String)> {
    let rows = document["rows"].as_array().expect("rows").iter();
    let word = |row: &serde_json::Value, key: &str| row[key].as_str().expect("a word").to_owned();
    rows.map(|row| (word(row, "name"), word(row, "what"))).collect()
}

#[test]
fn more_workers_are_tried_until_they_cannot_help() {
    let desk = desk("");
    let document = measured(&desk, &["perf-parallel", "2"], 0);
    let numbers: Vec<String> = rows(&document).into_iter().map(|(name, _)| name).collect();
    assert_eq!(numbers.first().map(String::as_str), Some("1 worker"));
    for row in document["rows"].as_array().expect("rows") {
        assert_eq!((&row["n"], row["values"].as_array().map(Vec::len)), (&2.into(), Some(2)));
        assert!(row["speedup"].as_f64().is_some_and(|s| s > 0.0), "{row}");
        let of = |key: &str| row[key].as_f64().expect("a number");
        assert!(of("least") <= of("median") && of("median") <= of("most"), "{row}");
    }
    assert!(document["notes"][0].as_str().expect("a note").contains("3 hosts, "));
    let calls = desk.calls();
    assert_eq!(calls.len(), 3 * 2 * numbers.len(), "each host, twice, each number: {calls:?}");
    assert!(calls.iter().all(|c| c.contains("--no-eval-cache") && c.starts_with("nix ")));
    let table = desk.run(&["perf-parallel", "1", "--exclude", "razer,p510"]);
    assert!(table.stdout.contains("1 worker wall") && table.stdout.contains(" 1.0x"), "{table:?}");
    desk.write("broken", "");
    let document = measured(&desk, &["perf-parallel", "1"], 4);
    assert!(document["unmeasured"][0].as_str().is_some_and(|t| t.starts_with("razer: ")));
}

#[test]
fn memory_is_told_of_evaluation_and_build() {
    let desk = desk("");
    let document = measured(&desk, &["perf-memory", "--exclude", "p510"], 0);
    let both = |host: &str| ["evaluation", "build"].map(|what| (host.to_owned(), what.to_owned()));
    assert_eq!(rows(&document), [both("p620"), both("razer")].concat());
    let built = format!("{DRV}^out");
    assert!(desk.calls().iter().any(|c| c.contains(&built) && c.contains("--no-link")));
    desk.write("broken", "");
    let document = measured(&desk, &["perf-memory"], 4);
    assert_eq!(rows(&document), [both("p620"), both("p510")].concat());
    assert!(document["unmeasured"][0].as_str().is_some_and(|t| t.contains("error: no")));
    assert!(desk.calls().iter().all(|c| !c.starts_with("ssh")), "no host was asked");
}

/// A cache that has two parts, one of them with an archive elsewhere.
fn cache() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = [0; 4096];
            let read = stream.read(&mut asked).unwrap_or(0);
            let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
            let path = asked.split(' ').nth(1).unwrap_or_default();
            let body = match path {
                p if p.ends_with("2.narinfo") => "URL: nar/two.nar\nFileSize: 40000\n".to_owned(),
                p if p.ends_with("3.narinfo") => "URL: nar/three.nar\nFileSize: 7\n".to_owned(),
                p if p.ends_with("4.narinfo") => "URL: //evil/x\nFileSize: 9\n".to_owned(),
                "/nar/two.nar" => "x".repeat(40_000),
                "/nar/three.nar" => "x".repeat(7),
                _ => String::new(),
            };
            let status = if body.is_empty() { "404 Not Found" } else { "200 OK" };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    format!("http://{address}")
}

#[test]
fn caches_are_asked_for_what_is_built_here() {
    let url = cache();
    let desk = desk(&format!("{url}/ s3://elsewhere"));
    let document = measured(&desk, &["perf-cache"], 4);
    let row = |what: &str| {
        let rows = document["rows"].as_array().expect("rows");
        rows.iter().find(|r| r["what"] == what && r["name"] == url.as_str()).expect(what).clone()
    };
    assert_eq!(row("hits")["median"], 2.0, "the third names what is not in the cache");
    assert_eq!(row("bytes")["median"], 40_007.0);
    assert_eq!(row("answer")["n"], 5, "every path of the closure was asked for");
    assert_eq!(
        (&row("speed")["n"], &row("speed")["unit"]),
        (&2.into(), &"bytes_per_second".into())
    );
    let told = document["unmeasured"][0].as_str().expect("the other one");
    assert!(told.starts_with("s3://elsewhere: only caches over HTTP"), "{told}");
    let nobody = self::desk("http://127.0.0.1:1");
    let document = measured(&nobody, &["perf-cache", "1"], 4);
    assert!(document["unmeasured"][0].as_str().is_some_and(|t| t.contains("cannot be reached")));
    assert_eq!(document["notes"], serde_json::json!([]), "nothing was asked");
    let none = self::desk("");
    let said = none.run(&["perf-cache"]);
    assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{}", said.stderr);
    assert!(said.stderr.contains("no cache can be asked"), "{}", said.stderr);
    assert!(!none.calls().join("\n").contains("--derivation"), "nothing is evaluated for it");
    let nothing = Desk::with_fleet("[hosts.p620]\n[cache]\nurl = 'http://127.0.0.1:1'\n");
    nothing.fake("nix", "exit 1\n");
    let said = nothing.run(&["perf-cache"]);
    assert!(said.code == 4 && said.stderr.contains("nixdeploy build all"), "{}", said.stderr);
}

#[test]
fn a_host_that_does_not_answer_has_no_time() {
    let desk = desk("");
    let said = desk.run(&["bench-host", "p620", "3"]);
    assert_eq!(said.code, 5, "{}{}", said.stdout, said.stderr);
    assert!(said.stderr.contains("nixdeploy deploy p620 --dry-run"), "{}", said.stderr);
    assert_eq!(desk.run(&["bench-host", "all"]).code, 2, "one host");
    assert_eq!(desk.run(&["bench-host", "p620", "0"]).code, 2);
    let history = desk.run(&["history", "--json"]);
    assert!(history.stdout.contains("\"runs\":[]"), "it is no run: {}", history.stdout);
}

mod lab {
    use super::rows;
    use crate::support::desk::Desk;

    #[test]
    fn a_host_is_measured_and_not_changed() {
        let Some(desk) = Desk::any() else { return };
        let before = desk.good();
        desk.knob("lab.apps.bench = { port = 7782; };");
        let said = desk.run(&["bench-host", desk.host(), "2", "--json"]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        let document = serde_json::from_str(&said.stdout).expect("a document");
        let names: Vec<String> = rows(&document).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["facts", "check", "eval", "build", "admit", desk.host()]);
        let wall = &document["rows"][5];
        assert_eq!((&wall["n"], &wall["what"]), (&2.into(), &"wall".into()));
        let after = desk.state();
        assert_eq!(before.pointers(), after.pointers());
        assert_eq!(after.get("roots"), before.get("roots"));
    }
}
