//! Questions to the person, one at a time; never without a terminal.

use std::sync::Mutex;

use dialoguer::{Confirm, Input};

/// Asks, if it may.
pub struct Prompt {
    allowed: bool,
    turn: Mutex<()>,
}

impl Prompt {
    /// `allowed`: standard input is a terminal and `--no-input` was not given.
    pub fn new(allowed: bool) -> Self {
        Self { allowed, turn: Mutex::new(()) }
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
        let _turn = self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Confirm::new().with_prompt(question).default(default).interact_opt().ok().flatten()
    }

    /// A line of text; `None` when nobody can answer.
    pub fn line(&self, question: &str) -> Option<String> {
        if !self.allowed {
            return None;
        }
        let _turn = self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Input::new().with_prompt(question).allow_empty(true).interact_text().ok()
    }
}
