//! When each host was at which phase: a row per host, a bar per phase, to one scale.

use super::escape;
use crate::event::state::{HostState, RunState};
use crate::event::{Phase, PhaseResult};
use crate::report::look::{exact, short};
use crate::report::words;

/// At most so many lines stand across the rows.
const TICKS: u64 = 8;
/// Steps between them that read well, in milliseconds.
const STEPS: [u64; 16] = [
    100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
    1_800_000, 3_600_000, 7_200_000,
];
/// A bar narrower than this many percent has no word in it.
const ROOMY: f64 = 7.0;

/// A bar: the phase, from and to in milliseconds, and how it ended; `None`: it did not.
struct Bar<'a> {
    phase: Phase,
    from: u64,
    to: u64,
    ended: Option<&'a PhaseResult>,
}

/// The section; nothing where no phase began.
pub(super) fn section(state: &RunState) -> String {
    if state.hosts.iter().all(|h| h.spans.is_empty() && h.open.is_empty()) {
        return String::new();
    }
    let whole = state.elapsed_ms.max(1);
    let lines: String = ticks(whole)
        .map(|ms| format!("<i style=\"left:{:.3}%\"><b>{}</b></i>", share(ms, whole), tick(ms)))
        .collect();
    let waits = state.waits.iter().map(|(from, to)| {
        let (left, width) = (share(*from, whole), share(to.saturating_sub(*from), whole));
        let told = format!("waited {} for an answer", exact(to.saturating_sub(*from)));
        format!(
            "<i class=\"wait\" style=\"left:{left:.3}%;width:{width:.3}%\" title=\"{told}\"></i>"
        )
    });
    let waits: String = waits.collect();
    let rows: String = state.hosts.iter().map(|host| row(state, host, whole)).collect();
    let used = |p: &Phase| {
        state.hosts.iter().any(|h| h.open.contains_key(p) || h.spans.iter().any(|s| s.0 == *p))
    };
    let legend: String = ALL
        .into_iter()
        .filter(used)
        .map(|p| format!("<li><span class=\"bar {0}\"></span>{0}</li>", p.word()))
        .collect();
    let waited = if waits.is_empty() {
        ""
    } else {
        "<li><span class=\"bar wait\"></span>waiting for an answer</li>"
    };
    format!(
        "<section>\n<h2>Time line</h2>\n<div class=\"wide\">\n<div class=\"timeline\">\n\
         <div class=\"axis\"><span></span><div>{lines}{waits}</div></div>\n{rows}</div>\n</div>\n\
         <ul class=\"legend\">{legend}{waited}</ul>\n</section>\n"
    )
}

const ALL: [Phase; 10] = [
    Phase::Facts,
    Phase::Validate,
    Phase::Evaluate,
    Phase::Build,
    Phase::Admit,
    Phase::Copy,
    Phase::Activate,
    Phase::Verify,
    Phase::Commit,
    Phase::Rollback,
];

fn row(state: &RunState, host: &HostState, whole: u64) -> String {
    let mut bars: Vec<Bar<'_>> = host
        .spans
        .iter()
        .map(|(phase, from, to)| {
            let ended = host.ended.get(phase).map(|e| &e.0);
            Bar { phase: *phase, from: *from, to: *to, ended }
        })
        .collect();
    bars.extend(host.open.iter().map(|(phase, from)| Bar {
        phase: *phase,
        from: *from,
        to: state.elapsed_ms,
        ended: None,
    }));
    // What was left out took no time, and says so elsewhere.
    bars.retain(|b| !matches!(b.ended, Some(PhaseResult::Skipped { .. })));
    bars.sort_by_key(|b| (b.from, b.phase));
    let mut lanes: Vec<u64> = Vec::new();
    let mut drawn = String::new();
    for bar in &bars {
        let free = lanes.iter().position(|until| *until <= bar.from);
        let lane = free.unwrap_or_else(|| {
            lanes.push(0);
            lanes.len() - 1
        });
        lanes[lane] = bar.to;
        drawn.push_str(&self::bar(bar, lane, whole));
    }
    let tone = super::class(words::tone(host));
    format!(
        "<div class=\"row\"><span class=\"name {tone}\">{}</span>\
         <div style=\"--lanes:{}\">{drawn}</div></div>\n",
        escape(host.name.as_str()),
        lanes.len().max(1),
    )
}

fn bar(bar: &Bar<'_>, lane: usize, whole: u64) -> String {
    let took = bar.to.saturating_sub(bar.from);
    let (left, width) = (share(bar.from, whole), share(took, whole));
    let word = bar.phase.word();
    let (class, told) = match bar.ended {
        Some(PhaseResult::Ok) => ("", String::new()),
        Some(PhaseResult::Skipped { because }) => ("", format!(": {because}")),
        Some(PhaseResult::Failed { because }) => (" failed", format!(": {because}")),
        None => (" cut", ", and did not end".to_owned()),
    };
    let sign = match bar.ended {
        Some(PhaseResult::Failed { .. }) => "✗ ",
        None => "… ",
        Some(_) => "",
    };
    let inside = match width {
        width if width >= ROOMY * 2.0 => format!("{sign}{word} {}", short(took)),
        width if width >= ROOMY => format!("{sign}{word}"),
        _ => sign.trim_end().to_owned(),
    };
    let title = escape(&format!("{word} {} from {}{told}", exact(took), exact(bar.from)));
    format!(
        "<span class=\"bar {word}{class}\" \
         style=\"left:{left:.3}%;width:{width:.3}%;--lane:{lane}\" title=\"{title}\">{}</span>",
        escape(&inside)
    )
}

/// Percent of the whole.
fn share(ms: u64, whole: u64) -> f64 {
    ms as f64 * 100.0 / whole as f64
}

/// Moments that have a line, the beginning among them.
fn ticks(whole: u64) -> impl Iterator<Item = u64> {
    let fits = |step: &&u64| whole / **step <= TICKS;
    let step = STEPS.iter().find(fits).copied().unwrap_or(whole.div_ceil(TICKS));
    (0..=whole / step).map(move |n| n * step)
}

/// `0`, `30s`, `2m`.
fn tick(ms: u64) -> String {
    match ms {
        0 => "0".to_owned(),
        ms if !ms.is_multiple_of(1000) => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        ms if ms < 120_000 && !ms.is_multiple_of(60_000) => format!("{}s", ms / 1000),
        ms if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        ms if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        ms => short(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_read_well_at_every_length() {
        for whole in [1, 90, 800, 4_321, 25_200, 61_000, 754_000, 90_000_000, u64::MAX / 4] {
            let ticks: Vec<u64> = ticks(whole).collect();
            assert!(ticks.len() <= TICKS as usize + 2, "{whole}: {ticks:?}");
            assert!(ticks.iter().all(|t| *t <= whole));
        }
        assert_eq!(
            ticks(25_200).map(tick).collect::<Vec<_>>(),
            ["0", "5s", "10s", "15s", "20s", "25s"]
        );
        assert_eq!(
            (tick(500), tick(60_000), tick(90_000)),
            ("0.5s".into(), "1m".into(), "90s".into())
        );
    }
}
