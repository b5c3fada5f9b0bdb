//! The error a user sees: a sentence, what caused it, what to type next. Prints nothing.

use std::fmt;

use crate::exit::Exit;

/// Ends a command before any host was touched.
#[derive(Debug)]
pub struct Error {
    /// The exit code it ends with.
    pub exit: Exit,
    /// One lower-case sentence without full stop, or a whole rendered diagnostic.
    pub sentence: String,
    /// Causes, outermost first.
    pub causes: Vec<String>,
    /// At least one thing to do, most likely first.
    pub hints: Vec<String>,
}

impl Error {
    /// An error of usage, configuration or I/O.
    pub fn usage(sentence: impl Into<String>) -> Self {
        Self::new(Exit::Usage, sentence)
    }

    /// An error with its exit code.
    pub fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self { exit, sentence: sentence.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// Adds a cause.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)?;
        for cause in &self.causes {
            write!(f, "\n  because: {cause}")?;
        }
        for hint in &self.hints {
            write!(f, "\n  hint: {}", hint.strip_prefix("# ").unwrap_or(hint))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
