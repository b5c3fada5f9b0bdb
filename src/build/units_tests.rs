//! Unit files compared, and the host's answer about them taken in.

use proptest::prelude::*;

use super::*;

fn units(files: &[(&str, &str, &str)]) -> Units {
    let mut units = Units::default();
    for (name, link, text) in files {
        units.put(name, link);
        units.texts.insert((*name).to_owned(), (*text).to_owned());
    }
    units
}

#[test]
fn what_came_went_and_changed_is_told_with_the_difference() {
    let old = units(&[
        ("web.service", "/nix/store/a/web.service", "[Service]\nExecStart=/a/web\nUser=web\n"),
        ("same.service", "/nix/store/s/same.service", ""),
        ("moved.service", "/nix/store/1/moved.service", "[Unit]\nDescription=x\n"),
        ("gone.timer", "/nix/store/g/gone.timer", ""),
        ("timers.target.wants/gone.timer", "../gone.timer", ""),
        ("off.service", "/nix/store/o/off.service", "[Service]\n"),
    ]);
    let new = units(&[
        ("web.service", "/nix/store/b/web.service", "[Service]\nExecStart=/b/web\nUser=web"),
        ("same.service", "/nix/store/s/same.service", ""),
        ("moved.service", "/nix/store/2/moved.service", "[Unit]\nDescription=x"),
        ("more.service", "/nix/store/m/more.service", ""),
        ("multi-user.target.wants/more.service", "../more.service", ""),
        ("multi-user.target.wants/same.service", "../same.service", ""),
        ("off.service", "/dev/null", ""),
    ]);
    assert_eq!(candidates(&old, &new), ["moved.service", "off.service", "web.service"]);
    let changes = compare(&old, &new);
    let told: Vec<(&str, FileChange)> = changes.iter().map(|c| (c.name.as_str(), c.kind)).collect();
    assert_eq!(
        told,
        [
            ("gone.timer", FileChange::Removed),
            ("more.service", FileChange::Added),
            ("multi-user.target.wants/same.service", FileChange::Added),
            ("off.service", FileChange::Changed),
            ("web.service", FileChange::Changed),
        ]
    );
    assert_eq!(
        changes[4].diff,
        ["@@ -1,3 +1,3 @@", " [Service]", "-ExecStart=/a/web", "+ExecStart=/b/web", " User=web"]
    );
    assert_eq!(changes[3].diff, ["@@ -1 +0,0 @@", "-[Service]"]);
    let wish = |unit: &str| Wish { by: "multi-user.target".to_owned(), unit: unit.to_owned() };
    assert_eq!(wishes(&old, &new), [wish("more.service"), wish("same.service")]);
}

#[test]
fn a_text_that_cannot_be_read_is_a_change_without_a_difference() {
    let old = units(&[("a.service", "/nix/store/1/a.service", "x")]);
    let mut new = units(&[("a.service", "/nix/store/2/a.service", "x")]);
    new.texts.clear();
    let changes = compare(&old, &new);
    assert_eq!((changes.len(), changes[0].diff.len()), (1, 0));
}

#[test]
fn secrets_and_escapes_of_a_unit_file_go_no_further() {
    let lines = difference("a\n", "Environment=DB_PASSWORD=hunter2\nX=\u{1b}]52;c;x\u{7}\n");
    let text = lines.join("\n");
    assert!(!text.contains("hunter2") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_long_difference_is_cut_and_says_so() {
    let after: String = (0..1000).map(|n| format!("line {n}\n")).collect();
    let lines = difference("", &after);
    assert_eq!(lines.len(), LINES + 1);
    assert_eq!(lines.last().map(String::as_str), Some("@@ 601 lines more @@"));
}

#[test]
fn the_host_s_answer_is_taken_in() {
    let mut answer = Answer::default();
    for line in [
        "nixdeploy-units=1",
        "file=1 web.service /nix/store/a/web.service",
        "file=1 ../../etc/shadow /etc/shadow",
        "file=1 /etc/passwd x",
        "file=3 other.service x",
        "file=1 plain.service ",
    ] {
        assert_eq!(answer.take(line), Said::Other);
    }
    assert_eq!(answer.take("ready=1"), Said::Ready);
    for line in ["text=1 web.service", "|[Service]", "|ready=1", "", "text=9 x", "|lost"] {
        assert_eq!(answer.take(line), Said::Other);
    }
    assert_eq!(answer.take("end=0"), Said::End);
    let files = answer.sides[0].clone().expect("listed").files;
    assert_eq!(files.keys().collect::<Vec<_>>(), ["plain.service", "web.service"]);
    assert_eq!(answer.texts[0]["web.service"], "[Service]\nready=1\n");
    assert_eq!(answer.sides[1], None);
}

proptest! {
    #[test]
    fn no_answer_can_break_it(lines in proptest::collection::vec(".{0,80}", 0..40)) {
        let mut answer = Answer::default();
        for line in &lines {
            answer.take(line);
            answer.take(&format!("file={line}"));
            answer.take(&format!("text=1 {line}"));
        }
        for units in answer.sides.iter().flatten() {
            prop_assert!(units.files.keys().all(|n| is_name(n)));
        }
    }
}
