//! Signals that ask to stop, as a stream of names.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for SIGINT, SIGTERM and SIGHUP.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// One that came before anybody could act upon it.
    waiting: Option<&'static str>,
}

impl Signals {
    /// Starts to listen; from here on none of them ends the program by itself.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            waiting: None,
        })
    }

    /// The name of the next one.
    pub async fn next(&mut self) -> &'static str {
        if let Some(name) = self.waiting.take() {
            return name;
        }
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }

    /// Work that one signal does not end, since half of it would be worse; it is told, and comes
    /// again to whoever asks next. `None`: a second one came, and the work was left.
    pub async fn unless_twice<T>(
        &mut self,
        work: impl Future<Output = T>,
        told: impl FnOnce(),
    ) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let first = tokio::select! {
            done = &mut work => return Some(done),
            name = self.next() => name,
        };
        told();
        tokio::select! {
            done = work => {
                self.waiting = Some(first);
                Some(done)
            }
            _ = self.next() => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal as Number, getpid, kill_process};

    use super::*;

    fn send(number: Number) {
        kill_process(getpid(), number).expect("sent");
    }

    /// With signals that no other test of this process listens to.
    fn signals() -> Signals {
        let listen = |kind| signal(kind).expect("a handler");
        Signals {
            interrupt: listen(SignalKind::user_defined1()),
            terminate: listen(SignalKind::user_defined2()),
            hangup: listen(SignalKind::window_change()),
            waiting: None,
        }
    }

    #[tokio::test]
    async fn one_signal_waits_for_the_work_and_comes_again_and_two_leave_it() {
        let mut signals = signals();
        assert_eq!(signals.unless_twice(async { 1 }, || panic!("no signal came")).await, Some(1));
        send(Number::USR1);
        let (end, ended) = tokio::sync::oneshot::channel();
        let done = signals.unless_twice(ended, || end.send(2).expect("it is waited for")).await;
        assert_eq!((done, signals.next().await), (Some(Ok(2)), "SIGINT"));
        send(Number::USR1);
        let left = signals.unless_twice(std::future::pending::<()>(), || send(Number::USR2)).await;
        assert_eq!(left, None);
    }
}
