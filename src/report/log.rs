//! The tracing bridge: at `-vv` and above, what libraries and we trace goes to standard error.
//!
//! It writes through the same door as everything else, so it can not tear a live screen.

use tracing_subscriber::filter::LevelFilter;

use super::door::ErrWriter;

/// Starts the bridge at `-vv` (debug) or `-vvv` (trace); below that nothing is traced. A second
/// call changes nothing.
pub fn init(verbosity: u8) {
    let level = match verbosity {
        0 | 1 => return,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_target(true)
        .with_writer(|| std::io::LineWriter::new(ErrWriter))
        .finish();
    // Somebody else's subscriber is as good as ours.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
