//! What a person meets who knows none of it yet: suggestions, pages, forms of results, errors for
//! programs, and what is kept of a file that is replaced.

use nixdeploy::docs::PAGES;
use serde_json::Value;

use crate::support::home::{Desk, assert_harmless};

/// A fleet whose ssh says nothing and whose nix does not evaluate.
fn desk() -> Desk {
    let desk = Desk::with_fleet("[hosts.p620]\ntags = ['big']\n[hosts.razer]\n");
    desk.fake("ssh", "echo 'ssh: connect to host p620 port 22: No route to host' >&2; exit 255\n");
    desk.fake("nix", "exit 1\n");
    desk
}

/// A run of p620 that failed; its name.
fn failed(desk: &Desk) -> String {
    let said = desk.run(&["build", "p620", "--json"]);
    let document: Value = serde_json::from_str(&said.stdout).expect("a document");
    document["run"].as_str().expect("its name").to_owned()
}

#[test]
fn every_word_that_is_nearly_right_is_answered_with_the_right_one() {
    let desk = desk();
    let run = failed(&desk);
    let nearly = format!("{}x", &run[..5]);
    for (words, wanted) in [
        ("logs p62", "did you mean p620?"),
        ("history p602", "did you mean p620?"),
        ("history @bgi", "no host is called '@bgi'"),
        ("logs all", "that means p620, razer"),
        (&format!("report {nearly}"), &format!("did you mean {run}?")),
        ("report p620", &format!("the last run of p620: nixdeploy report {run}")),
        ("report p62", &format!("the last run of p620: nixdeploy report {run}")),
        ("resume p620", &format!("the last run of p620: nixdeploy resume {run}")),
        ("status p602", "did you mean the host p620?"),
        ("help hots", "did you mean hosts?"),
        ("help satus", "did you mean status?"),
        ("deploy p620 --yse", "'--yes'"),
        ("status --jsno", "'--json'"),
        ("history --limt 3", "'--limit'"),
    ] {
        let said = desk.run(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(said.code, 2, "{words}\n{}{}", said.stdout, said.stderr);
        assert!(said.stderr.contains(wanted), "{words}: {wanted}\n{}", said.stderr);
        assert!(!said.stderr.contains("as a value"), "{words}\n{}", said.stderr);
    }
    let said = desk.run(&["history", "@big"]);
    assert!(said.stdout.contains(&run), "a tag means its hosts: {}{}", said.stdout, said.stderr);
    assert_eq!(desk.run(&["history", "razer"]).code, 0, "a host without a run is no mistake");
}

#[test]
fn the_pages_are_in_the_program() {
    let desk = desk();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs");
    let files = folder.read_dir().expect("the pages").flatten();
    let names = files.map(|f| f.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter_map(|n| n.strip_suffix(".md").map(str::to_owned)).collect();
    let docs = include_str!("../src/docs.rs");
    for name in &names {
        let page =
            format!("include_str!(\"docs/{name}.md\")]\npub mod {} {{}}", name.replace('-', "_"));
        assert!(docs.contains(&page), "{name} is not in the crate's documentation");
    }
    names.push("readme".to_owned());
    names.sort();
    assert!(names.iter().eq(PAGES.iter().map(|(name, ..)| name)));
    for (name, _, text) in PAGES {
        let said = desk.run(&["help", name]).stdout;
        assert_eq!(said.lines().count(), text.lines().count());
        assert!(said.starts_with(text.lines().next().expect("its title")), "{said}");
        let file = |page: &&str| *page != "readme" && said.contains(&format!("src/docs/{page}.md"));
        let pages = PAGES.iter().map(|(page, ..)| *page);
        assert_eq!(pages.clone().find(file), None, "{name} names a file");
        // As many pages are named as the files that it names.
        let named = |text: &str, page: &str| text.matches(page).count();
        for page in pages {
            let (file, typed) =
                (format!("`src/docs/{page}.md`"), format!("`nixdeploy help {page}`"));
            let twice = named(text, &format!("{typed} ({file}"));
            let wanted = named(text, &file) + named(text, &typed) - twice;
            assert_eq!(named(&said, &typed), wanted, "{name}: {page}");
        }
    }
    let bare = desk.run(&["help"]).stdout;
    for (name, about, _) in PAGES {
        let row = format!("\n  {name:10} {about}\n");
        assert!(bare.contains(&row), "{row}{bare}");
    }
    assert!(desk.run(&["help", "deploy"]).stdout.contains("--accept-drift"));
    assert!(desk.run(&["help"]).stdout.contains("Exit codes:"));
    // What an error names is there wherever the program is.
    desk.write("hosts.toml", "[host.p620]\n");
    assert!(desk.run(&["status"]).stderr.contains("nixdeploy help hosts"));
}

#[test]
fn a_form_that_a_command_has_not_is_refused_and_each_it_has_is_given() {
    let desk = desk();
    desk.write("bad.nix", "{ a = ; }\n");
    desk.git(&["add", "-A"]);
    let run = failed(&desk);
    for (words, forms) in [
        ("status", "human json jsonl"),
        ("ping-hosts", "human json jsonl"),
        ("history", "human json jsonl"),
        ("logs p620", "human json jsonl"),
        (&format!("report {run}"), "human json jsonl github"),
        ("build p620", "human json jsonl github"),
        ("check", "human json github sarif"),
        ("schema", "human json"),
        ("completions bash", "human"),
        ("help hosts", "human"),
    ] {
        for form in ["human", "json", "jsonl", "github", "sarif"] {
            let words: Vec<&str> = words.split(' ').chain(["--format", form]).collect();
            let said = desk.run(&words);
            let all = format!("{words:?}\n{}{}", said.stdout, said.stderr);
            let refused = all.contains(&format!("has no --format {form}"));
            assert_eq!(refused, !forms.split(' ').any(|f| f == form), "{all}");
            assert!(!refused || said.code == 2, "{all}");
            let parsed = serde_json::from_str::<Value>(&said.stdout);
            assert!(form != "json" || parsed.is_ok_and(|d| d.is_object()), "{all}");
            assert!(form != "github" || said.stdout.contains("::error"), "{all}");
        }
    }
    // It is told where a person looks, with who has it; a file of findings stays empty.
    for (words, hints) in [
        (
            &["report", &run, "--format", "sarif"] as &[&str],
            &[
                "it has: human, json, jsonl, github, markdown, html",
                "nixdeploy check --format sarif",
            ] as &[&str],
        ),
        (&["build", "p620", "--format", "html"], &["nixdeploy report --format html"]),
        (&["check", "nosuch.nix", "--format", "sarif"], &["error: "]),
    ] {
        let said = desk.run(words);
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{said:?}");
        assert!(hints.iter().all(|hint| said.stderr.contains(hint)), "{}", said.stderr);
    }
    let said = desk.run(&["check", "--format", "github"]).stdout;
    let place = "::error file=bad.nix,line=1,endLine=1,col=7,endColumn=8,title=syntax";
    assert!(said.starts_with(place), "{said}");
}

#[test]
fn programs_get_errors_as_documents_with_the_same_code() {
    let desk = desk();
    let words = [
        (vec!["deploy", "p602", "--json"], 2),
        (vec!["deploy", "--json"], 2),
        (vec!["status", "--frobnicate", "--format", "json"], 2),
        (vec!["--format=jsonl", "report", "ffff"], 2),
        (vec!["history", "nobody", "--json"], 2),
        (vec!["init", "--inventory", "new.toml", "--json"], 2),
    ];
    for (words, code) in words {
        let said = desk.run(&words);
        assert_eq!((said.code, said.stderr.as_str()), (code, ""), "{words:?}");
        let document: Value = serde_json::from_str(&said.stdout).expect("a document");
        assert_eq!(document["schema"], 1, "{document}");
        assert_eq!(document["exit"], code, "{document}");
        let error = &document["error"];
        let sentence = error["sentence"].as_str().expect("a sentence");
        assert!(!sentence.is_empty() && !sentence.starts_with("error"), "{sentence}");
        assert!(error["hints"].as_array().is_some_and(|h| !h.is_empty()), "{document}");
        assert!(error["causes"].is_array(), "{document}");
    }
    desk.write("hosts.toml", "[hosts.p620]\nsoka_s = 1\n");
    let said = desk.run(&["status", "--json", "--color", "always"]);
    let document: Value = serde_json::from_str(&said.stdout).expect("a document");
    let sentence = document["error"]["sentence"].as_str().expect("a sentence");
    assert!(sentence.contains("did you mean `soak_s`?"), "{sentence}");
    assert_harmless(sentence);
}

#[test]
fn a_replaced_inventory_is_kept_and_named() {
    let desk = desk();
    desk.fake("nix", "echo '[\"dex5550\"]'\n");
    let read = |name: &str| std::fs::read_to_string(desk.work().join(name)).expect("a file");
    let first = read("hosts.toml");
    let said = desk.run(&["init", "--force"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("hosts.toml: 1 host\n"), "{}", said.stdout);
    assert!(said.stdout.contains("hosts.toml.old\n"), "{}", said.stdout);
    assert_eq!(read("hosts.toml.old"), first);
    let second = read("hosts.toml");
    desk.write("hosts.toml", second.clone() + "# mine\n");
    let said = desk.run(&["init", "--force"]);
    assert!(said.stdout.contains("hosts.toml.old2\n"), "{}", said.stdout);
    assert_eq!(read("hosts.toml.old"), first, "never overwritten");
    assert_eq!(read("hosts.toml.old2"), second + "# mine\n");
}

#[test]
fn a_note_is_whole_where_nobody_has_a_window() {
    let desk = desk();
    desk.fake("nix", "echo 'error: an attribute that is missing in this place' >&2; exit 1\n");
    let said = desk.run(&["build", "p620"]);
    let row = said.stdout.lines().find(|l| l.starts_with("p620")).expect("a row");
    assert!(row.len() > 80 && !row.contains("..."), "{row}");
    let document = desk.run(&["report", "--json"]).stdout;
    let document: Value = serde_json::from_str(&document).expect("a document");
    let note = document["hosts"][0]["note"].as_str().expect("a note");
    assert!(row.ends_with(note), "{row}\n{note}");
}

#[test]
fn the_same_refusal_three_times_is_one_cause() {
    let desk = desk();
    let drv = "/nix/store/00000000000000000000000000000000-nixos-system-p620.drv";
    desk.fake("nix", &format!("echo {drv}\n"));
    let said = desk.run(&["quick-deploy", "p620"]).stdout;
    let causes: Vec<&str> = said.lines().filter(|l| l.contains("No route to host")).collect();
    assert!(causes.len() == 1 && causes[0].contains("(3 times)"), "{said}");
}
