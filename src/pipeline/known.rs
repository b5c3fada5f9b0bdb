//! Questions asked of what is known of a host before anything is decided. Pure.

use super::learn::Known;
use crate::event::Pointers;
use crate::fleet::{Generation, StorePath};
use crate::preflight::staged_is;

impl Known {
    /// Pointers before.
    pub fn before(&self) -> &Pointers {
        &self.facts.early.pointers
    }

    /// Whether every pointer is the new closure already.
    pub fn unchanged(&self) -> bool {
        self.toplevel.as_ref().is_some_and(|t| self.before().all_are(t))
    }

    /// The generation that is the new closure already, staged for the next boot.
    pub fn staged(&self) -> Option<Generation> {
        let wanted = self.toplevel.as_ref()?;
        staged_is(&self.facts, wanted).then_some(self.before().generation)?
    }

    /// Whether a unit is active.
    pub fn runs(&self, unit: &str) -> bool {
        self.facts.units.get(unit).is_some_and(|u| u.active == "active")
    }

    /// What runs now; the facts were refused if nothing did.
    pub fn old(&self) -> Option<&StorePath> {
        self.before().running.as_ref()
    }
}
