//! Being asked to stop: once is a request, twice is an order.
//!
//! The first signal lets every host come to a truthful end (before `go` it stops unchanged, after
//! it the guard is asked to go back and waited for); the second ends the program at once and says
//! what each host will do by itself.

use tokio::sync::watch;

use super::ending::{Halt, interrupted};
use super::host::Journey;
use crate::event::stream::Emitter;
use crate::event::{Event, Phase};
use crate::world::signals::Signals;

/// Tells whether, and how often, we were asked to stop.
#[derive(Clone)]
pub struct Stop {
    asked: watch::Receiver<u8>,
}

impl Stop {
    /// Listens to the signals until dropped.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn listen(emitter: &Emitter) -> std::io::Result<Self> {
        let mut signals = Signals::listen()?;
        let (sender, asked) = watch::channel(0);
        let emitter = emitter.clone();
        tokio::spawn(async move {
            loop {
                let signal = tokio::select! {
                    signal = signals.next() => signal,
                    () = sender.closed() => return,
                };
                sender.send_modify(|n| *n += 1);
                emitter.emit(Event::InterruptReceived { signal: signal.to_owned() });
            }
        });
        Ok(Self { asked })
    }

    /// One that is never asked, and the sender that asks it.
    pub fn manual() -> (watch::Sender<u8>, Self) {
        let (sender, asked) = watch::channel(0);
        (sender, Self { asked })
    }

    /// Whether we were asked to stop.
    pub fn asked(&self) -> bool {
        *self.asked.borrow() > 0
    }

    /// Resolves when we are asked.
    pub async fn once(&self) {
        self.wait(1).await;
    }

    /// Resolves when we are told at once.
    pub async fn twice(&self) {
        self.wait(2).await;
    }

    async fn wait(&self, times: u8) {
        let mut asked = self.asked.clone();
        if asked.wait_for(|n| *n >= times).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Whoever asks to stop need not wait for a build.
///
/// # Errors
/// The work's own, or that it was interrupted.
pub async fn unless_stopped<T>(
    journey: &Journey<'_>,
    work: impl Future<Output = Result<T, Halt>>,
) -> Result<T, Halt> {
    tokio::select! {
        done = work => done,
        () = journey.run.stop.once() => Err(interrupted(Phase::Build)),
    }
}
