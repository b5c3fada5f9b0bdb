//! A command as data: built purely, shown, compared in tests, and only then run.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::elevate::Password;
use super::memory::Scale;
use super::process::{Conversation, StartError};

/// A program to start, with everything it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Looked up on PATH.
    pub program: String,
    /// Passed as they are; no shell sees them here.
    pub args: Vec<String>,
    /// Written to its standard input before all else, and shown nowhere.
    pub secret: Option<Password>,
    /// Written to its standard input first.
    pub stdin: Vec<u8>,
    /// A program whose standard output follows that.
    pub source: Option<Box<Invocation>>,
    /// Whether its standard input stays open for more.
    pub converses: bool,
    /// Added to the environment it inherits.
    pub env: Vec<(String, String)>,
    /// Folder it starts in.
    pub folder: Option<PathBuf>,
    /// It is ended after this long.
    pub timeout: Option<Duration>,
    /// It is ended when it says nothing for this long.
    pub silence: Option<Duration>,
    /// Where it is told how much memory it takes.
    pub scale: Option<Scale>,
}

impl Invocation {
    /// A program with arguments, no input, no limits.
    pub fn new<A: Into<String>>(program: &str, args: impl IntoIterator<Item = A>) -> Self {
        Self {
            program: program.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
            secret: None,
            stdin: Vec::new(),
            source: None,
            converses: false,
            env: Vec::new(),
            folder: None,
            timeout: None,
            silence: None,
            scale: None,
        }
    }

    /// Gives it input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Gives it a secret, before its input.
    #[must_use]
    pub fn secret(mut self, secret: Option<Password>) -> Self {
        self.secret = secret;
        self
    }

    /// Gives it the output of another program, behind its own input.
    #[must_use]
    pub fn fed_by(mut self, source: Invocation) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Keeps its input open for a conversation.
    #[must_use]
    pub fn conversing(mut self) -> Self {
        self.converses = true;
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Starts it in a folder.
    #[must_use]
    pub fn within(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Limits its life.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Weighs it while it runs.
    #[must_use]
    pub fn weighed(mut self, scale: Scale) -> Self {
        self.scale = Some(scale);
        self
    }

    /// Limits its silence.
    #[must_use]
    pub fn silence(mut self, limit: Duration) -> Self {
        self.silence = Some(limit);
        self
    }
}

/// As one could type it into a shell.
impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(&self.program))?;
        self.args.iter().try_for_each(|a| write!(f, " {}", quote(a)))
    }
}

/// One shell word, for POSIX shells and fish alike: quoted unless plainly harmless.
pub fn quote(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        return word.to_owned();
    }
    // Outside the single quotes both shells read \\ and \' alike; inside, fish would read \\ as \.
    let mut quoted = String::from("'");
    for c in word.chars() {
        match c {
            '\'' => quoted.push_str("'\\''"),
            '\\' => quoted.push_str("'\\\\'"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

/// Which of a program's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// One line of output, without its end; at most a mebibyte, invalid UTF-8 replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it came from.
    pub stream: Stream,
    /// Its text: still outside text, not harmless for a terminal.
    pub text: String,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal, not ours.
    Signalled(i32),
    /// By us: its time was up.
    TimedOut,
    /// By us: it said nothing for too long.
    Silent,
    /// By us: it printed more than 64 MiB.
    TooMuch,
    /// By us: nobody needed it any more.
    Killed,
}

impl Ended {
    /// Whether it exited with 0.
    pub fn ok(self) -> bool {
        self == Self::Exited(0)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit {code}"),
            Self::Signalled(signal) => write!(f, "ended by signal {signal}"),
            Self::TimedOut => f.write_str("stopped: took too long"),
            Self::Silent => f.write_str("stopped: no sign of life"),
            Self::TooMuch => f.write_str("stopped: printed more than 64 MiB"),
            Self::Killed => f.write_str("stopped"),
        }
    }
}

/// What a program printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub ended: Ended,
    /// Lines of standard output.
    pub out: Vec<String>,
    /// Lines of standard error.
    pub err: Vec<String>,
}

impl Output {
    /// Listens to the end.
    ///
    /// # Errors
    /// Never by itself; the type fits `World::run`.
    pub async fn collect(mut conversation: Conversation) -> Result<Self, StartError> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(line) = conversation.line().await {
            match line.stream {
                Stream::Out => out.push(line.text),
                Stream::Err => err.push(line.text),
            }
        }
        Ok(Self { ended: conversation.end().await, out, err })
    }

    /// The last lines of standard error, for a message.
    pub fn err_tail(&self, lines: usize) -> String {
        let from = self.err.len().saturating_sub(lines);
        self.err[from..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `sh` makes of the quoted word.
    fn through_sh(word: &str) -> String {
        #[expect(clippy::disallowed_methods, reason = "the test asks a real shell")]
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("printf %s {}", quote(word))])
            .output()
            .expect("sh");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    #[test]
    fn quoted_words_survive_a_shell() {
        for word in [
            "",
            "plain",
            "a b",
            "$(touch x)",
            "it's",
            "\\",
            "\\'",
            "a\nb",
            "`id`",
            "'\\''",
            "\\\\'\\",
        ] {
            assert_eq!(through_sh(word), word, "{}", quote(word));
        }
    }
}
