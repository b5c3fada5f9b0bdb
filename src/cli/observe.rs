//! Arguments of the commands that watch a fleet and measure it.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, value_parser};

use crate::report::words::WORDS;

/// Words of `history --outcome`.
pub(super) fn outcomes() -> PossibleValuesParser {
    PossibleValuesParser::new(std::iter::once("failed").chain(WORDS.iter().map(|(word, _)| *word)))
}

/// A moment from which on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// So many seconds ago.
    Ago(u64),
    /// A day, or a moment of it, where we are.
    At(jiff::civil::DateTime),
}

/// `7d`, `36h`, `90m`, `2w`, a day, or a day and a time.
pub(super) fn since(text: &str) -> Result<Since, String> {
    let wrong = || "how long ago (90m, 36h, 7d, 2w) or a day (2026-11-01)".to_owned();
    let each = match text.as_bytes().last() {
        Some(b'm') => Some(60),
        Some(b'h') => Some(3600),
        Some(b'd') => Some(86_400),
        Some(b'w') => Some(7 * 86_400),
        _ => None,
    };
    if let Some(each) = each {
        let number = text.get(..text.len() - 1).and_then(|n| n.parse::<u32>().ok());
        return number.map(|n| Since::Ago(u64::from(n) * each)).ok_or_else(wrong);
    }
    let day = || text.parse::<jiff::civil::Date>().map(|day| day.at(0, 0, 0, 0));
    // A date and time would be read as a date too: what is longer is both.
    let at = if text.len() > 10 { text.parse() } else { day() };
    at.map(Since::At).map_err(|_| wrong())
}

/// `bench-host`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Name the host
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Measure so many dry runs; by default 5
    #[arg(value_name = "RUNS", value_parser = value_parser!(u16).range(1..=1000))]
    pub runs: Option<u16>,
}

/// `perf-parallel`, `perf-memory` and `perf-cache`.
#[derive(Debug, Clone, Default, Args)]
pub struct PerfArgs {
    /// Measure each thing so many times
    #[arg(value_name = "RUNS", value_parser = value_parser!(u16).range(1..=100))]
    pub runs: Option<u16>,
    /// Which hosts.
    #[command(flatten)]
    pub everyone: super::Everyone,
}

/// `metrics`.
#[derive(Debug, Clone, Args)]
pub struct MetricsArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: MetricsAction,
}

/// What `metrics` does.
#[derive(Debug, Clone, Subcommand)]
pub enum MetricsAction {
    /// Print a Grafana dashboard
    #[command(before_long_help = "Example:\n  nixdeploy metrics dashboard > nixdeploy.json")]
    Dashboard,
    /// Print alert rules for Prometheus
    #[command(before_long_help = "Example:\n  \
        nixdeploy metrics alerts > /etc/prometheus/nixdeploy.yml")]
    Alerts,
    /// Print what is known of every host, asking none
    #[command(before_long_help = "Example:\n  nixdeploy metrics show | promtool check metrics")]
    Show,
    /// Ask every host, then write and push as hosts.toml says of metrics
    ///
    /// A run does the same at its end, with what it saw; for a timer, so that hosts that are down
    /// or behind are known without a run.
    #[command(before_long_help = "Example:\n  nixdeploy metrics write")]
    Write,
}
