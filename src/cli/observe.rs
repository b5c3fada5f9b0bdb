//! Arguments of the commands that watch a fleet and measure it.

use clap::{Args, Subcommand};

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
    /// Ask every host, then write and push as [metrics] of hosts.toml says
    ///
    /// A run does the same at its end, with what it saw; for a timer, so that hosts that are down
    /// or behind are known without a run.
    #[command(before_long_help = "Example:\n  nixdeploy metrics write")]
    Write,
}
