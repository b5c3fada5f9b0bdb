//! A Grafana dashboard of the metrics: what is shown where is one table, the rest is its form
//! (grafana.com/docs, "Dashboard JSON model").

use serde_json::{Value, json};

/// How a panel draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draw {
    /// One number; anything above 0 is worth a look if so said.
    Stat { alarming: bool },
    /// Lines over time.
    Lines,
    /// Areas over time, one on the other.
    Stacked,
    /// A bar for each series, as of now.
    Bars,
    /// A row for each series, as of now.
    Table,
}

/// A panel: title, how it draws, unit, width of 24 columns, height, and queries with legends.
type Panel = (&'static str, Draw, &'static str, u8, u8, &'static [(&'static str, &'static str)]);

const PANELS: &[Panel] = &[
    (
        "Hosts",
        Draw::Stat { alarming: false },
        "short",
        4,
        4,
        &[("count(nixdeploy_host_failures_total{host=~\"$host\"})", "")],
    ),
    (
        "Last deploy not as wanted",
        Draw::Stat { alarming: true },
        "short",
        4,
        4,
        &[("count(nixdeploy_host_last_deploy_success{host=~\"$host\"} == 0) or vector(0)", "")],
    ),
    (
        "Unreachable",
        Draw::Stat { alarming: true },
        "short",
        4,
        4,
        &[("count(nixdeploy_host_reachable{host=~\"$host\"} == 0) or vector(0)", "")],
    ),
    (
        "Behind the flake",
        Draw::Stat { alarming: true },
        "short",
        4,
        4,
        &[("count(nixdeploy_host_behind{host=~\"$host\"} == 1) or vector(0)", "")],
    ),
    (
        "Reboot pending",
        Draw::Stat { alarming: true },
        "short",
        4,
        4,
        &[("count(nixdeploy_host_reboot_pending{host=~\"$host\"} == 1) or vector(0)", "")],
    ),
    (
        "Critical and high known issues",
        Draw::Stat { alarming: true },
        "short",
        4,
        4,
        &[(
            "sum(nixdeploy_host_known_issues{host=~\"$host\",severity=~\"critical|high\"}) \
             or vector(0)",
            "",
        )],
    ),
    (
        "Deployments, by how they ended (per day)",
        Draw::Stacked,
        "short",
        12,
        8,
        &[(
            "sum by (result) (increase(nixdeploy_host_runs_total\
             {host=~\"$host\",goal=~\"deploy|boot|rollback\"}[1d]))",
            "{{result}}",
        )],
    ),
    (
        "Failures and rollbacks (per day)",
        Draw::Lines,
        "short",
        12,
        8,
        &[
            (
                "sum by (host) (increase(nixdeploy_host_failures_total{host=~\"$host\"}[1d]))",
                "{{host}} failed",
            ),
            (
                "sum by (host) (increase(nixdeploy_host_rollbacks_total{host=~\"$host\"}[1d]))",
                "{{host}} taken back",
            ),
        ],
    ),
    (
        "Last deploy by phase, mean of hosts",
        Draw::Stacked,
        "s",
        12,
        8,
        &[(
            "avg by (phase) \
             (nixdeploy_host_last_deploy_phase_duration_seconds{host=~\"$host\"})",
            "{{phase}}",
        )],
    ),
    (
        "Phases of all runs, mean of a week",
        Draw::Bars,
        "s",
        12,
        8,
        &[(
            "sum by (phase) \
             (increase(nixdeploy_host_phase_duration_seconds_sum{host=~\"$host\"}[7d])) \
             / sum by (phase) \
             (increase(nixdeploy_host_phase_duration_seconds_count{host=~\"$host\"}[7d]) > 0)",
            "{{phase}}",
        )],
    ),
    (
        "Slow hosts: last deploy",
        Draw::Bars,
        "s",
        12,
        8,
        &[("topk(10, nixdeploy_host_last_deploy_duration_seconds{host=~\"$host\"})", "{{host}}")],
    ),
    (
        "Slow hosts: last deploy against its own median",
        Draw::Bars,
        "percentunit",
        12,
        8,
        &[(
            "topk(10, nixdeploy_host_last_deploy_duration_seconds{host=~\"$host\"} \
             / (nixdeploy_host_usual_deploy_duration_seconds > 0))",
            "{{host}}",
        )],
    ),
    (
        "Fleet versions",
        Draw::Bars,
        "short",
        8,
        8,
        &[(
            "count by (version) (label_replace(nixdeploy_host_system_info{host=~\"$host\"}, \
             \"version\", \"$1\", \"system\", \".*-([0-9]+[.][0-9]+[^-]*)\"))",
            "{{version}}",
        )],
    ),
    (
        "What hosts run",
        Draw::Table,
        "short",
        16,
        8,
        &[(
            "nixdeploy_host_generation{host=~\"$host\"} \
             * on (instance, job, host) group_left (system) nixdeploy_host_system_info",
            "",
        )],
    ),
    (
        "Copied (per day)",
        Draw::Stacked,
        "bytes",
        12,
        8,
        &[(
            "sum by (host) (increase(nixdeploy_host_copied_bytes_total{host=~\"$host\"}[1d]))",
            "{{host}}",
        )],
    ),
    (
        "Closure size",
        Draw::Lines,
        "bytes",
        12,
        8,
        &[("nixdeploy_host_closure_bytes{host=~\"$host\"}", "{{host}}")],
    ),
];

/// Columns of a row.
const COLUMNS: u8 = 24;

/// Every query with the title of its panel.
pub fn queries() -> impl Iterator<Item = (&'static str, &'static str)> {
    PANELS.iter().flat_map(|(title, .., queries)| queries.iter().map(|(query, _)| (*title, *query)))
}

/// The document that Grafana imports, with a line feed at its end.
pub fn document() -> String {
    let (mut x, mut y) = (0, 0);
    let mut panels = Vec::new();
    for (at, panel) in PANELS.iter().enumerate() {
        let (.., width, height, _) = panel;
        if x + width > COLUMNS {
            x = 0;
        }
        panels.push(drawn(at, panel, (x, y)));
        x += width;
        if x >= COLUMNS {
            y += u16::from(*height);
        }
    }
    let dashboard = json!({
        "title": "nixdeploy",
        "uid": "nixdeploy",
        "tags": ["nixdeploy", "nixos"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "refresh": "1m",
        "time": { "from": "now-7d", "to": "now" },
        "templating": { "list": [
            { "name": "datasource", "label": "Data source", "type": "datasource",
              "query": "prometheus" },
            { "name": "host", "label": "Host", "type": "query",
              "datasource": source(),
              "query": { "query": "label_values(nixdeploy_host_failures_total, host)",
                         "refId": "hosts" },
              "includeAll": true, "multi": true, "allValue": ".*", "refresh": 2, "sort": 1,
              "current": { "text": "All", "value": "$__all" } },
        ] },
        "panels": panels,
    });
    // Strings, numbers and lists under string keys: there is nothing JSON could refuse.
    serde_json::to_string_pretty(&dashboard).unwrap_or_default() + "\n"
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn drawn(at: usize, panel: &Panel, (x, y): (u8, u16)) -> Value {
    let (title, draw, unit, width, height, queries) = panel;
    let instant = !matches!(draw, Draw::Lines | Draw::Stacked);
    let target = |(n, (query, legend)): (usize, &(&str, &str))| {
        let letter = char::from(b'A' + u8::try_from(n).unwrap_or(0));
        json!({
            "refId": letter.to_string(), "expr": query, "legendFormat": legend,
            "instant": instant, "range": !instant, "datasource": source(),
            "format": if *draw == Draw::Table { "table" } else { "time_series" },
        })
    };
    let targets: Vec<Value> = queries.iter().enumerate().map(target).collect();
    let (kind, options, custom) = form(*draw);
    let alarm = |colour: &str| json!([{ "color": "green" }, { "color": colour, "value": 1 }]);
    let steps = match draw {
        Draw::Stat { alarming: true } => alarm("orange"),
        _ => json!([{ "color": "green" }]),
    };
    let mut panel = json!({
        "id": at + 1, "title": title, "type": kind, "datasource": source(),
        "gridPos": { "x": x, "y": y, "w": width, "h": height },
        "targets": targets, "options": options,
        "fieldConfig": {
            "defaults": { "unit": unit, "min": 0, "custom": custom,
                          "thresholds": { "mode": "absolute", "steps": steps } },
            "overrides": [],
        },
    });
    if *draw == Draw::Table {
        let hidden = json!({ "Time": true, "__name__": true, "instance": true, "job": true });
        panel["transformations"] = json!([{ "id": "organize", "options": {
            "excludeByName": hidden, "renameByName": { "Value": "generation" } } }]);
    }
    panel
}

/// Grafana's name of a form, its options, and what is its own of each field.
fn form(draw: Draw) -> (&'static str, Value, Value) {
    let lines = json!({ "legend": { "displayMode": "list", "placement": "bottom" },
                        "tooltip": { "mode": "multi" } });
    match draw {
        Draw::Stat { .. } => (
            "stat",
            json!({ "colorMode": "value", "graphMode": "none",
                    "reduceOptions": { "calcs": ["lastNotNull"] } }),
            json!({}),
        ),
        Draw::Lines => ("timeseries", lines, json!({ "lineWidth": 1 })),
        Draw::Stacked => (
            "timeseries",
            lines,
            json!({ "lineWidth": 1, "fillOpacity": 40, "stacking": { "mode": "normal" } }),
        ),
        Draw::Bars => (
            "bargauge",
            json!({ "orientation": "horizontal", "displayMode": "basic",
                    "reduceOptions": { "calcs": ["lastNotNull"] } }),
            json!({}),
        ),
        Draw::Table => ("table", json!({ "showHeader": true }), json!({})),
    }
}
