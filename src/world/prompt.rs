//! Questions to the person, one at a time; never without a terminal.

use std::sync::{Mutex, PoisonError};

use dialoguer::{Input, Password};
use rustix::termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::password::Safe;

/// Words that are neither yes nor no, after which nothing is taken for an answer.
const ATTEMPTS: usize = 3;

/// Asks, if it may.
pub struct Prompt {
    allowed: bool,
    turn: Mutex<()>,
    /// Whoever has more to say around a question than its line.
    floor: tokio::sync::Mutex<()>,
    /// How the terminal was before a question that waits for its answer.
    before: Mutex<Option<Termios>>,
    /// Takes a live screen away until what it gives is dropped.
    curtain: Option<Curtain>,
    /// What sudo is told.
    safe: Safe,
}

/// Takes a live screen away, until what it gives is dropped.
pub type Curtain = fn() -> Box<dyn Send>;

impl Prompt {
    /// `allowed`: standard input is a terminal and `--no-input` was not given.
    pub fn new(allowed: bool) -> Self {
        Self {
            allowed,
            turn: Mutex::new(()),
            floor: tokio::sync::Mutex::new(()),
            before: Mutex::new(None),
            curtain: None,
            safe: Safe::default(),
        }
    }

    /// With a way to take the screen away, and a place where sudo's password is to be read.
    #[must_use]
    pub fn with(self, curtain: Curtain, safe: Safe) -> Self {
        Self { curtain: Some(curtain), safe, ..self }
    }

    /// What sudo is told.
    pub fn safe(&self) -> &Safe {
        &self.safe
    }

    /// Whether a question can be asked at all.
    pub fn allowed(&self) -> bool {
        self.allowed
    }

    /// Yes or no; `None` when nobody can answer or the input ended.
    pub fn confirm(&self, question: &str, default: bool) -> Option<bool> {
        if !self.allowed {
            return None;
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.remember(tcgetattr(rustix::stdio::stdin()).ok());
        // What was typed before the question was there is no answer to it.
        let _ = tcflush(rustix::stdio::stdin(), QueueSelector::IFlush);
        let choice = if default { "[Y/n]" } else { "[y/N]" };
        let ask = || {
            let asked = format!("{question} {choice}");
            Input::<String>::new().with_prompt(asked).allow_empty(true).interact_text().ok()
        };
        let answer = (0..ATTEMPTS).map_while(|_| ask()).find_map(|word| yes_or_no(&word, default));
        self.remember(None);
        answer
    }

    /// Something that is not shown while it is typed; `None` when nobody can answer.
    pub(super) fn hidden(&self, question: &str) -> Option<Zeroizing<String>> {
        if !self.allowed {
            return None;
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.remember(tcgetattr(rustix::stdio::stdin()).ok());
        let _ = tcflush(rustix::stdio::stdin(), QueueSelector::IFlush);
        let question = Password::new().with_prompt(question).report(false);
        let answer = question.allow_empty_password(true).interact().ok().map(Zeroizing::new);
        self.remember(None);
        answer
    }

    /// Takes the screen away for a question.
    pub(super) fn draw_curtain(&self) -> Option<Box<dyn Send>> {
        self.curtain.map(|draw| draw())
    }

    /// Waits for the others' questions; nobody else asks until it is dropped.
    pub async fn floor(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.floor.lock().await
    }

    /// Gives the terminal back as it was when nobody waits for the answer any more; whether there
    /// was a question. A key is read without its line, and whoever reads it cannot be ended.
    pub fn abandon(&self) -> bool {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = &before {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
        before.is_some()
    }

    fn remember(&self, terminal: Option<Termios>) {
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = terminal;
    }

    /// A line of text; `None` when nobody can answer.
    pub fn line(&self, question: &str) -> Option<String> {
        if !self.allowed {
            return None;
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        Input::new().with_prompt(question).allow_empty(true).interact_text().ok()
    }
}

/// A whole word, or nothing for the default; anything else is no answer.
fn yes_or_no(word: &str, default: bool) -> Option<bool> {
    match word.trim().to_ascii_lowercase().as_str() {
        "" => Some(default),
        "y" | "yes" => Some(true),
        "n" | "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_answer() {
        let answers = ["", "y", " YES ", "n", "No", "x", "yep", "foo"].map(|w| yes_or_no(w, true));
        let no = Some(false);
        assert_eq!(answers, [Some(true), Some(true), Some(true), no, no, None, None, None]);
    }
}
