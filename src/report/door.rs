//! The doors to standard output and standard error, and the screen that may be live in front of
//! them.
//!
//! A reader that went away (`nixdeploy history | head -1`) is no error: what it did not want is
//! dropped. Whoever writes or asks while a screen is drawn makes it step aside first. What became
//! of standard output is remembered, for the end of the process to tell.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use indicatif::MultiProgress;

/// The screen that is drawn right now, and how many hold it still.
struct Live {
    screen: Option<MultiProgress>,
    holds: usize,
}

/// The first write to standard output, and why one failed.
static WRITTEN: OnceLock<()> = OnceLock::new();
static FAILED: OnceLock<String> = OnceLock::new();

/// Whether anything was written to standard output, or was to be.
pub fn used() -> bool {
    WRITTEN.get().is_some()
}

/// Why something that was to stand on standard output does not.
pub fn lost() -> Option<&'static str> {
    FAILED.get().map(String::as_str)
}

static LIVE: Mutex<Live> = Mutex::new(Live { screen: None, holds: 0 });

fn live() -> MutexGuard<'static, Live> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a result to standard output.
pub fn out(text: &str) {
    let _ = try_out(text);
}

/// Writes a message for the person to standard error, above a live screen.
pub fn err(text: &str) {
    let _ = try_err(text);
}

/// Writes a result to standard output.
///
/// # Errors
/// When it could not be written and the reader still wants it: a full disk.
pub fn try_out(text: &str) -> io::Result<()> {
    let written = aside(|| write(anstream::stdout().lock(), text));
    if !text.is_empty() {
        WRITTEN.get_or_init(|| ());
    }
    remembered(written)
}

/// The same of a result that is too much to be held at once.
///
/// # Errors
/// As [`try_out`].
pub fn try_out_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let written = aside(|| {
        let mut out = io::BufWriter::with_capacity(1 << 16, anstream::stdout().lock());
        wanted(write(&mut out).and_then(|()| out.flush()))
    });
    WRITTEN.get_or_init(|| ());
    remembered(written)
}

fn remembered(written: io::Result<()>) -> io::Result<()> {
    if let Err(error) = &written {
        FAILED.get_or_init(|| error.to_string());
    }
    written
}

/// Writes to standard error.
///
/// # Errors
/// As [`try_out`].
pub fn try_err(text: &str) -> io::Result<()> {
    aside(|| write(anstream::stderr().lock(), text))
}

fn write(mut door: impl Write, text: &str) -> io::Result<()> {
    wanted(door.write_all(text.as_bytes()).and_then(|()| door.flush()))
}

/// A reader that left wants no more.
fn wanted(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Does something while no screen is drawn; one that is held is out of the way already, and would
/// come back by being asked to step aside.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    let screen = Some(live()).filter(|live| live.holds == 0).and_then(|live| live.screen.clone());
    match screen {
        Some(screen) => screen.suspend(work),
        None => work(),
    }
}

/// Names the screen that is drawn from now on; `None`: no more.
pub(super) fn register(screen: Option<MultiProgress>) {
    live().screen = screen;
}

/// Draws, unless somebody holds the screen; nobody can take it meanwhile.
pub(super) fn unless_held<T>(draw: impl FnOnce() -> T) -> Option<T> {
    let live = live();
    (live.holds == 0).then(draw)
}

/// Takes the screen away until it is dropped: for a question to the person.
#[must_use = "the screen comes back as soon as this is dropped"]
pub struct Hold(());

/// Takes the live screen away.
pub fn hold() -> Hold {
    let mut live = live();
    live.holds += 1;
    if let Some(screen) = &live.screen {
        let _ = screen.clear();
    }
    Hold(())
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut live = live();
        live.holds = live.holds.saturating_sub(1);
    }
}

/// A writer that goes through [`err`]: for the tracing bridge.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ErrWriter;

impl Write for ErrWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        try_err(&String::from_utf8_lossy(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
