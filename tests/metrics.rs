//! What Prometheus is told: the text, its names, the dashboard, the rules; read by Prometheus
//! itself, by way of its exporter of text files and of its Pushgateway.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nixdeploy::event::{Event, Stamped};
use nixdeploy::report::metrics::exposition::Kind;
use nixdeploy::report::metrics::{ALERTS, FAMILIES, dashboard, kept, text};

use crate::report::keeping::keep;
use crate::report::recorder;
use crate::support::home::{Desk, assert_harmless};
use crate::support::prometheus::{Server, promtool};
use crate::support::wait_until;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// So many days after the first, long ago.
fn later(mut events: Vec<Stamped>, days: i64) -> Vec<Stamped> {
    events.iter_mut().for_each(|s| s.at_ms += (days - 100) * DAY_MS);
    events
}

/// With what was copied to its host.
fn copied(mut events: Vec<Stamped>) -> Vec<Stamped> {
    let end = events.iter().position(|s| matches!(s.event, Event::HostFinished { .. }));
    let (at, host) = (end.expect("a last word"), recorder::host("p620"));
    let (bytes, closure_bytes) = (61 << 20, Some(3 << 30));
    let event = Event::Copied { host, paths: 52, bytes, closure_bytes };
    events.insert(at, Stamped { event, ..events[at].clone() });
    events
}

/// Six deploys of p620, one that was taken back, and hosts that do not answer.
fn keep_some(state_dir: &Path) {
    for day in 0..6 {
        keep(state_dir, &format!("aa0{day}"), later(copied(recorder::committed()), day));
    }
    keep(state_dir, "bb01", later(recorder::mixed(), 7));
    keep(state_dir, "bb02", later(recorder::unreachable(), 8));
}

/// The number of a sample that is there once.
fn number(page: &str, sample: &str) -> Option<f64> {
    let found: Vec<&str> =
        page.lines().filter_map(|l| l.strip_prefix(sample)?.strip_prefix(' ')).collect();
    assert!(found.len() <= 1, "{sample} twice\n{page}");
    Some(found.first()?.parse().expect("a number"))
}

#[test]
fn what_is_told_is_what_was_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    keep_some(folder.path());
    let page = text(&kept::read(folder.path()), None);
    let of = |sample: &str| number(&page, sample);
    let host = |name: &str| of(&format!("nixdeploy_host_{name}{{host=\"p620\"}}"));
    assert_eq!(of("nixdeploy_runs_total{goal=\"deploy\",exit_code=\"0\"}"), Some(6.0));
    let changed = "nixdeploy_host_runs_total{host=\"p620\",goal=\"deploy\",result=\"changed\"}";
    assert!(of(changed).is_some_and(|n| n >= 6.0), "{page}");
    let build = "nixdeploy_host_phase_duration_seconds_sum{host=\"p620\",phase=\"build\"}";
    assert!(of(build).is_some_and(|sum| sum > 6.0 * 38.0), "{page}");
    assert_eq!(host("closure_bytes"), Some(f64::from(3 << 29) * 2.0));
    assert_eq!(host("copied_bytes_total"), Some(f64::from(6 << 20) * 61.0));
    assert_eq!(host("generation"), Some(1236.0));
    assert_eq!(host("reboot_pending"), Some(0.0), "the last deploy needed none");
    assert_eq!(of("nixdeploy_host_reboot_pending{host=\"web-1\"}"), Some(1.0));
    assert_eq!(host("reachable"), Some(1.0));
    assert_eq!(of("nixdeploy_host_reachable{host=\"razer\"}"), Some(0.0), "the last run");
    assert!(host("usual_deploy_duration_seconds").is_some_and(|s| s > 40.0), "{page}");
    let back = |sample: &str| of(&format!("nixdeploy_host_{sample}{{host=\"p510\"}}"));
    assert_eq!(back("rollbacks_total"), Some(1.0), "{page}");
    assert_eq!(back("last_deploy_rolled_back"), Some(1.0));
    assert_eq!((back("last_deploy_success"), back("failures_total")), (Some(0.0), Some(1.0)));
    let said = promtool(&["check", "metrics"], &page);
    assert_eq!((said.code, said.stderr.as_str(), said.stdout.as_str()), (0, "", ""), "{page}");
}

#[test]
fn a_run_is_added_once_and_one_that_was_missed_is_added_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = |kept: &kept::Kept| kept.runs.values().flat_map(|r| r.values()).sum::<u64>();
    keep(folder.path(), "aa01", recorder::committed());
    let hold = kept::hold(folder.path()).expect("a folder").expect("nobody else");
    assert!(kept::hold(folder.path()).expect("a folder").is_none(), "one at a time");
    let first = kept::update(folder.path(), &hold, |_| ()).expect("kept");
    assert_eq!((runs(&first), kept::read(folder.path())), (1, first));
    keep(folder.path(), "aa02", recorder::unchanged());
    keep(folder.path(), "aa03", recorder::unreachable());
    let later = kept::update(folder.path(), &hold, |_| ()).expect("kept");
    assert_eq!(runs(&later), 3, "the one that nobody added as well");
    std::fs::remove_dir_all(folder.path().join("runs")).expect("gone");
    let after = kept::update(folder.path(), &hold, |_| ()).expect("kept");
    assert_eq!((runs(&after), after.added.len()), (3, 0), "a sum never shrinks");
    std::fs::write(folder.path().join("metrics.json"), "{").expect("written");
    assert_eq!(runs(&kept::read(folder.path())), 0, "what is broken begins anew");
}

/// Words that could be names of ours.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|w| w.starts_with("nixdeploy_")).collect()
}

#[test]
fn every_name_that_is_asked_for_is_told_and_documented() {
    let told = |name: &&str| {
        let known = |family: &&nixdeploy::report::metrics::exposition::Family| {
            let parts = ["_sum", "_count"].iter().filter(|_| family.kind == Kind::Summary);
            *name == family.name
                || parts.clone().any(|part| name.strip_suffix(part) == Some(family.name))
        };
        FAMILIES.iter().any(|f| known(&f))
    };
    let queries: Vec<&str> = dashboard::queries().map(|(_, query)| query).collect();
    let queries = queries.join("\n");
    let asked: BTreeSet<&str> = names(&queries).union(&names(ALERTS)).copied().collect();
    assert!(asked.len() > 15, "{asked:?}");
    assert_eq!(asked.iter().filter(|name| !told(name)).collect::<Vec<_>>(), [&""; 0]);
    let page = include_str!("../src/docs/metrics.md");
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `nixdeploy_"))
        .filter_map(|rest| rest.split('`').next())
        .collect();
    let written = FAMILIES.iter().map(|f| {
        let labels = f.labels.join(", ");
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        format!("{}{labels}", f.name.trim_start_matches("nixdeploy_"))
    });
    assert_eq!(documented, written.collect::<Vec<_>>(), "the table of src/docs/metrics.md");
    let alerts = ALERTS.lines().filter_map(|l| l.trim().strip_prefix("- alert: "));
    for alert in alerts {
        assert!(page.contains(&format!("`{alert}`")), "{alert} is not on the page");
    }
}

#[test]
fn rules_fire_on_what_they_are_for() {
    let desk = Desk::new();
    let printed = desk.run(&["metrics", "alerts"]);
    assert_eq!((printed.code, printed.stdout.as_str()), (0, ALERTS));
    desk.write("alerts.yml", &printed.stdout);
    desk.write("alerts_test.yml", include_str!("fixtures/metrics/alerts_test.yml"));
    let at = |name: &str| desk.work().join(name).display().to_string();
    for args in [["check", "rules", &at("alerts.yml")], ["test", "rules", &at("alerts_test.yml")]] {
        let said = promtool(&args, "");
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    }
    let tested = include_str!("fixtures/metrics/alerts_test.yml");
    for alert in ALERTS.lines().filter_map(|l| l.trim().strip_prefix("- alert: ")) {
        let fires = format!("alertname: {alert}\n        exp_alerts:");
        assert!(tested.contains(&fires), "nothing makes {alert} fire");
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_takes() {
    let said = Desk::new().run(&["metrics", "dashboard"]);
    let document: serde_json::Value = serde_json::from_str(&said.stdout).expect("a document");
    let panels = document["panels"].as_array().expect("panels");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
        assert!(x + w <= 24, "{panel}");
        for square in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(square), "two panels at {square:?}: {panel}");
        }
        assert!(panel["targets"].as_array().is_some_and(|t| !t.is_empty()), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}");
    }
    let ids: BTreeSet<u64> = panels.iter().filter_map(|p| p["id"].as_u64()).collect();
    assert_eq!((ids.len(), taken.len() % 24), (panels.len(), 0), "no hole at the right");
    assert_eq!(document["uid"], "nixdeploy");
}

/// A fleet that does not answer and does not build, and where its metrics go.
fn desk(metrics: &str) -> Desk {
    let desk = Desk::with_fleet(&format!(
        "[metrics]\n{metrics}\n[hosts.p620]\n[hosts.p510]\n[hosts.razer]\noptional = 'skip'\n"
    ));
    desk.fake("ssh", "exit 255\n");
    desk.fake("nix", "echo 'error: no' >&2; exit 1\n");
    desk
}

#[test]
fn prometheus_reads_what_was_written_and_pushed() {
    let own = tempfile::tempdir().expect("a folder");
    let gateway = Server::start("prometheus-pushgateway", &[], own.path(), "/-/ready");
    let desk = desk(&format!("textfile = 'prom'\npush = 'http://{}'", gateway.address));
    std::fs::create_dir(desk.work().join("prom")).expect("a folder");
    keep_some(&desk.path("home/.local/state/nixdeploy"));
    let said = desk.run(&["quick-deploy", "p510", "--no-input"]);
    assert!(!said.stderr.contains("metrics"), "{}", said.stderr);
    let written = desk.work().join("prom/nixdeploy.prom");
    let mode = std::fs::metadata(&written).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "another user reads it");
    let only: Vec<_> = std::fs::read_dir(desk.work().join("prom")).expect("read").collect();
    assert_eq!(only.len(), 1, "nothing is left beside it: {only:?}");
    let folder = desk.work();
    let exporter = Server::start(
        "prometheus-node-exporter",
        &[
            "--collector.disable-defaults".to_owned(),
            "--collector.textfile".to_owned(),
            format!("--collector.textfile.directory={}", folder.join("prom").display()),
        ],
        &folder,
        "/metrics",
    );
    let scraped = exporter.get("/metrics").expect("its answer");
    assert_eq!(number(&scraped, "node_textfile_scrape_error"), Some(0.0), "{scraped}");
    desk.write("alerts.yml", ALERTS);
    desk.write(
        "prometheus.yml",
        format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [alerts.yml]\n\
             scrape_configs:\n\
             - {{ job_name: node, static_configs: [{{ targets: ['{}'] }}] }}\n\
             - {{ job_name: push, honor_labels: true, \
                  static_configs: [{{ targets: ['{}'] }}] }}\n",
            exporter.address, gateway.address
        ),
    );
    let prometheus = Server::start(
        "prometheus",
        &[
            format!("--config.file={}", folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
        ],
        &folder,
        "/-/ready",
    );
    let ask = |query: &str| prometheus.query(query).unwrap_or_else(|e| panic!("{query}: {e}"));
    for job in ["node", "nixdeploy"] {
        wait_until(job, Duration::from_secs(60), || {
            let found = ask(&format!("nixdeploy_host_rollbacks_total{{job=\"{job}\"}} == 1"));
            (!found.is_empty()).then_some(())
        });
    }
    // A sum that moved shows in what is asked of days and weeks.
    let _ = desk.run(&["quick-deploy", "p510", "--no-input"]);
    for (title, query) in dashboard::queries() {
        wait_until(title, Duration::from_secs(60), || {
            let found = ask(&query.replace("$host", ".*"));
            found.first().map(|series| assert!(series["value"].is_array(), "{title}: {series}"))
        });
    }
    wait_until("an alert", Duration::from_secs(60), || {
        let firing = ask("ALERTS{alertname=\"NixdeployDeployFailed\",host=\"p510\"}");
        (!firing.is_empty()).then_some(())
    });
}

#[test]
fn a_deploy_does_not_fail_with_its_metrics() {
    let plain = desk("").run(&["quick-deploy", "all"]);
    assert!(!plain.stderr.contains("warning: metrics"), "{}", plain.stderr);
    let desk = desk("textfile = 'nowhere'\npush = 'http://127.0.0.1:1'");
    let said = desk.run(&["quick-deploy", "all"]);
    assert_eq!(said.code, plain.code);
    let told: Vec<&str> = said.stderr.lines().filter(|l| l.starts_with("warning: met")).collect();
    assert_eq!(told.len(), 2, "{}", said.stderr);
    assert!(told[0].contains("nowhere/nixdeploy.prom") && told[1].contains("127.0.0.1:1"));
    let json = desk.run(&["quick-deploy", "all", "--json"]);
    serde_json::from_str::<serde_json::Value>(&json.stdout).expect("one document still");
    let written = desk.run(&["metrics", "write"]);
    assert_eq!(written.code, 2, "asked for, it is an error: {}", written.stderr);
}

/// Answers one request with this text, whatever it is.
fn answering(answer: &'static str) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1 << 16]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn what_a_gateway_says_is_made_harmless() {
    let address = answering(
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 16\r\nConnection: close\r\n\r\n\
         no \u{1b}[31mgo\u{202e}\r\n::e",
    );
    let said = desk(&format!("push = 'http://{address}'")).run(&["quick-deploy", "p620"]);
    assert!(said.stderr.contains("it answered 400 no "), "{}", said.stderr);
    assert_harmless(&said.stderr);
}

#[test]
fn hosts_are_asked_when_metrics_are_written_by_themselves() {
    let without = Desk::with_fleet("[hosts.p620]\n").run(&["metrics", "write"]);
    assert!(without.code == 2 && without.stderr.contains("[metrics]"), "{}", without.stderr);
    let desk = desk("textfile = 'fleet.prom'");
    let said = desk.run(&["metrics", "write"]);
    assert_eq!((said.code, said.stderr.contains("warning")), (0, false), "{}", said.stderr);
    assert_eq!(said.stdout, "0 of 3 hosts answered; written: fleet.prom\n");
    let page = std::fs::read_to_string(desk.work().join("fleet.prom")).expect("written");
    let of = |name: &str, host: &str| number(&page, &format!("{name}{{host=\"{host}\"}}"));
    assert_eq!(of("nixdeploy_host_reachable", "p620"), Some(0.0));
    assert_eq!(of("nixdeploy_host_rollbacks_total", "p620"), Some(0.0), "known before the first");
    assert_eq!(of("nixdeploy_host_optional", "p620"), Some(0.0));
    assert_eq!(of("nixdeploy_host_optional", "razer"), Some(1.0));
    assert_eq!(of("nixdeploy_host_behind", "p620"), None, "nobody knows");
    let shown = desk.run(&["metrics", "show"]);
    assert_eq!((shown.code, shown.stdout), (0, page));
}

#[test]
fn places_for_metrics_are_looked_at_when_they_are_read() {
    for bad in
        ["push = 'dex5550:9091'", "push = 'http://me:word@dex5550'", "textfile = ''", "url = 'x'"]
    {
        let said = desk(bad).run(&["history"]);
        let wrong = desk(bad).run(&["status"]);
        assert_eq!((said.code, wrong.code), (0, 2), "{bad}: {}", wrong.stderr);
        assert!(wrong.stderr.contains("metrics"), "{}", wrong.stderr);
    }
}

mod lab {
    use super::{number, promtool};
    use crate::support::desk::Desk;

    #[test]
    fn what_is_told_is_what_is_true_of_the_machine() {
        let Some(desk) = Desk::any() else { return };
        let _ = desk.good();
        let place = format!("/root/desks/{}/fleet.prom", desk.host());
        desk.inventory(&format!("soak_s = 0\n[metrics]\ntextfile = \"{place}\""));
        let told = || {
            let page = desk.deployer("cat \"$1\"", &[&place]).stdout;
            assert_eq!(promtool(&["check", "metrics"], &page).code, 0, "{page}");
            let host = desk.host().to_owned();
            move |name: &str, label: &str| {
                let sample = format!("nixdeploy_host_{name}{{host=\"{host}\"{label}}}");
                number(&page, &sample).unwrap_or_else(|| panic!("no {sample}\n{page}"))
            }
        };
        desk.committed("lab.apps.told = { port = 7781; };");
        let (of, state) = (told(), desk.state());
        assert_eq!(Some(of("generation", "") as u64), state.number("generation"));
        assert_eq!((of("last_deploy_success", ""), of("behind", "")), (1.0, 0.0));
        let copied = of("last_deploy_copied_bytes", "");
        assert!(copied > 0.0 && of("closure_bytes", "") > copied);
        assert!(of("last_deploy_phase_duration_seconds", ",phase=\"activate\"") > 0.0);
        let before = of("rollbacks_total", "");
        desk.knob("lab.brokenService = true;");
        let said = desk.run(&["quick-deploy", desk.host()]);
        assert_eq!(said.code, 6, "{}{}", said.stdout, said.stderr);
        let of = told();
        assert_eq!(of("rollbacks_total", ""), before + 1.0);
        assert_eq!((of("last_deploy_rolled_back", ""), of("reachable", "")), (1.0, 1.0));
        let said = desk.run(&["metrics", "write"]);
        assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
        let of = told();
        assert_eq!(
            (of("behind", ""), of("reachable", "")),
            (1.0, 1.0),
            "the flake is broken still"
        );
        assert_eq!(Some(of("generation", "") as u64), desk.state().number("generation"));
    }
}

#[test]
fn a_hosts_toml_with_a_mistake_is_not_as_good_as_none() {
    let desk = Desk::with_fleet("[hosts.p620]\n");
    keep_some(&desk.path("home/.local/state/nixdeploy"));
    desk.write("hosts.toml", "[hosts.p620]\nx=\n");
    let said = desk.run(&["metrics", "show"]);
    assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{}", said.stderr);
    assert!(said.stderr.contains("hosts.toml:2"), "{}", said.stderr);
    std::fs::remove_file(desk.work().join("hosts.toml")).expect("removed");
    let said = desk.run(&["metrics", "show"]);
    assert!(said.code == 0 && said.stderr.contains("no hosts.toml"), "{}", said.stderr);
    assert!(said.stdout.contains("p620"), "{}", said.stdout);
}
