//! The channel: many emitters, one ordered stream, stamped when emitted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::{Event, Phase, PhaseResult, Stamped, Step};
use crate::fleet::HostName;

/// Where emitters get the time from; `world::clock` gives the real one.
pub trait Stopwatch: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn epoch_ms(&self) -> i64;
    /// Milliseconds since an arbitrary start, never going back.
    fn monotonic_ms(&self) -> u64;
}

/// Puts events into the stream; cheap to clone.
#[derive(Clone)]
pub struct Emitter {
    shared: Arc<Shared>,
}

struct Shared {
    sender: mpsc::UnboundedSender<Stamped>,
    clock: Arc<dyn Stopwatch>,
    started_ms: u64,
    next: AtomicU64,
    /// Index and position in the channel must agree.
    order: Mutex<()>,
}

/// Makes the stream of a run; the receiver is its one consumer.
pub fn channel(clock: Arc<dyn Stopwatch>) -> (Emitter, mpsc::UnboundedReceiver<Stamped>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let started_ms = clock.monotonic_ms();
    let shared =
        Shared { sender, clock, started_ms, next: AtomicU64::new(0), order: Mutex::new(()) };
    (Emitter { shared: Arc::new(shared) }, receiver)
}

impl Emitter {
    /// Stamps and sends; a consumer that is gone is no error, the run goes on without it.
    pub fn emit(&self, event: Event) {
        let shared = &self.shared;
        let _order = shared.order.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let stamped = Stamped {
            index: shared.next.fetch_add(1, Ordering::Relaxed),
            at_ms: shared.clock.epoch_ms(),
            elapsed_ms: self.elapsed_ms(),
            event,
        };
        let _ = shared.sender.send(stamped);
    }

    /// A part of a phase ended; `None`: it was about the tree.
    pub fn step(&self, host: Option<&HostName>, step: Step) {
        self.emit(Event::StepEnded { host: host.cloned(), step });
    }

    /// Milliseconds since the run began.
    pub fn elapsed_ms(&self) -> u64 {
        self.shared.clock.monotonic_ms().saturating_sub(self.shared.started_ms)
    }

    /// Marks the beginning of a phase and returns what ends it.
    pub fn phase(&self, host: &HostName, phase: Phase) -> OpenPhase {
        self.emit(Event::PhaseStarted { host: host.clone(), phase });
        OpenPhase { emitter: self.clone(), host: host.clone(), phase, began_ms: self.elapsed_ms() }
    }
}

/// A phase that began; consumed by its end.
#[must_use = "a phase that is never ended stays open on every screen"]
pub struct OpenPhase {
    emitter: Emitter,
    host: HostName,
    phase: Phase,
    began_ms: u64,
}

impl OpenPhase {
    /// It went as wanted.
    pub fn ok(self, note: impl Into<String>) {
        self.end(PhaseResult::Ok, note.into());
    }

    /// It was not needed.
    pub fn skipped(self, because: impl Into<String>) {
        self.end(PhaseResult::Skipped { because: because.into() }, String::new());
    }

    /// It failed.
    pub fn failed(self, because: impl Into<String>) {
        self.end(PhaseResult::Failed { because: because.into() }, String::new());
    }

    fn end(self, result: PhaseResult, note: String) {
        let took_ms = self.emitter.elapsed_ms().saturating_sub(self.began_ms);
        let (host, phase) = (self.host, self.phase);
        self.emitter.emit(Event::PhaseEnded { host, phase, result, note, took_ms });
    }
}
