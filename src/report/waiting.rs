//! What is still awaited, on standard error, while a command that only reads takes its time: one
//! line that moves on a screen, a plain line now and then elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::door;
use super::look::Look;

/// Between two plain lines.
const PACE: Duration = Duration::from_secs(10);

/// The line; it goes away when this is dropped.
pub struct Waiting {
    screen: bool,
    look: Look,
    bar: Option<ProgressBar>,
    told: Option<Duration>,
}

impl Waiting {
    /// Nothing is shown before the first word.
    pub fn new(screen: bool, look: &Look) -> Self {
        let look = Look { width: look.width.saturating_sub(1), colour: false, ..look.clone() };
        Self { screen, look, bar: None, told: None }
    }

    /// Says what is awaited, `elapsed` after the beginning.
    pub fn tell(&mut self, text: &str, elapsed: Duration) {
        let seconds = format!("{}s", elapsed.as_secs());
        let line = self.look.edges(text, &seconds);
        if self.screen {
            let style = ProgressStyle::with_template("{msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            let new = || ProgressBar::new_spinner().with_style(style);
            self.bar.get_or_insert_with(new).set_message(line);
        } else if self.told.is_none_or(|last| elapsed.saturating_sub(last) >= PACE) {
            self.told = Some(elapsed);
            door::err(&format!("{line}\n"));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
