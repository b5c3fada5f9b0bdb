//! Introduced, persisting or fixed: from versions where an issue names them, else from dates.

use super::Phase;
use super::inventory::{Inventory, Package};
use super::issue::{Issue, State};
use super::versions::{Claim, Meant};

/// From a fix in the repository to a channel that has it.
const GRACE_MS: i64 = 3 * DAY_MS;
/// A day.
pub(super) const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// What is older is not about a version that it does not name.
pub(super) const YEAR_MS: i64 = 365 * DAY_MS;

/// What is known of an issue and a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// What the update makes of it.
    pub(super) phase: Phase,
    /// A version says so.
    pub(super) by_version: bool,
    /// It names versions, and none of ours: told in the smallest letters.
    pub(super) elsewhere: bool,
    /// It was closed in time for the update.
    pub(super) mended: bool,
    /// And yet the update does not change the package.
    pub(super) unchanged: bool,
}

/// What decides besides versions and dates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nature {
    /// The issue is about the package, not only a mention of it.
    pub(super) subject: bool,
    /// It tells of a weakness, which is older than its discovery.
    pub(super) security: bool,
    /// It says that it came with an update, or is about a module, which changes without versions.
    pub(super) new: bool,
}

impl Standing {
    fn of(phase: Phase, by_version: bool) -> Self {
        Self { phase, by_version, elsewhere: false, mended: false, unchanged: false }
    }
}

/// `None`: it does not concern the package.
pub(super) fn standing(
    inventory: &Inventory,
    issue: &Issue,
    package: Option<&Package>,
    claim: &Claim,
    nature: Nature,
) -> Option<Standing> {
    let dates = Dates::of(inventory, issue, package.is_some_and(|p| p.pinned));
    let Some(package) = package else { return by_date(&dates, None, issue, inventory, nature) };
    let meant = |version: &Option<String>| match version {
        Some(version) => claim.means(version),
        None => Meant::No,
    };
    let (old, new) = (meant(&package.installed), meant(&package.candidate));
    match (old, new) {
        (Meant::Unknown, _) | (_, Meant::Unknown) => {
            by_date(&dates, Some(package), issue, inventory, nature)
        }
        (Meant::No, Meant::No) => {
            let young = inventory.now_ms.saturating_sub(issue.created_ms) < YEAR_MS;
            let told = nature.subject && issue.state == State::Open && young;
            told.then(|| Standing { elsewhere: true, ..Standing::of(Phase::Persisting, false) })
        }
        (Meant::No, Meant::Yes) => {
            let mended = dates.mended_for_candidate;
            Some(Standing { mended, ..Standing::of(Phase::Introduced, true) })
        }
        (Meant::Yes, Meant::No) => (!dates.mended_for_installed || claim_names(claim, package))
            .then(|| Standing::of(Phase::Fixed, true)),
        (Meant::Yes, Meant::Yes) => {
            if dates.mended_for_installed {
                return None;
            }
            if dates.mended_for_candidate && package.moves() {
                return Some(Standing::of(Phase::Fixed, true));
            }
            let unchanged = dates.mended_for_candidate;
            Some(Standing { unchanged, ..Standing::of(Phase::Persisting, true) })
        }
    }
}

/// Whether the version that runs is named in full: then a fix that came before is in a later one.
fn claim_names(claim: &Claim, package: &Package) -> bool {
    package.installed.as_ref().is_some_and(|v| claim.bad.contains(v))
}

struct Dates {
    mended_for_installed: bool,
    mended_for_candidate: bool,
    opened_since: bool,
    pinned: bool,
}

impl Dates {
    fn of(inventory: &Inventory, issue: &Issue, pinned: bool) -> Self {
        let closed = issue.closed_ms.filter(|_| issue.state == State::Closed && !pinned);
        let until = |lock: Option<i64>, grace: i64| match (closed, lock) {
            (Some(closed), Some(lock)) => closed.saturating_add(grace) <= lock,
            _ => false,
        };
        let installed = inventory.installed.modified_ms;
        Self {
            mended_for_installed: until(installed, 0),
            mended_for_candidate: until(inventory.candidate.modified_ms, GRACE_MS),
            opened_since: installed.is_some_and(|i| issue.created_ms > i) && !pinned,
            pinned,
        }
    }
}

fn by_date(
    dates: &Dates,
    package: Option<&Package>,
    issue: &Issue,
    inventory: &Inventory,
    nature: Nature,
) -> Option<Standing> {
    if dates.mended_for_installed || issue.state == State::NotPlanned {
        return None;
    }
    if dates.pinned && issue.state != State::Open {
        return nature.security.then(|| Standing::of(Phase::Persisting, false));
    }
    let moves = package.is_none_or(Package::moves);
    if dates.mended_for_candidate {
        // What was opened and closed between the two revisions never reached a host, but a
        // weakness was there before anybody found it.
        if dates.opened_since && !nature.security {
            return None;
        }
        let unchanged = nature.security && !moves;
        let phase = if unchanged { Phase::Persisting } else { Phase::Fixed };
        return Some(Standing { unchanged, mended: true, ..Standing::of(phase, false) });
    }
    let same = inventory.installed == inventory.candidate;
    let old_release = match (&issue.release, &inventory.installed.release) {
        (Some(theirs), Some(ours)) => theirs < ours,
        _ => false,
    };
    let fresh = package.is_some_and(|p| p.installed.is_none());
    let introduced = (dates.opened_since && (moves || nature.new) && !old_release || fresh)
        && !nature.security
        && !same;
    let phase = if introduced { Phase::Introduced } else { Phase::Persisting };
    Some(Standing::of(phase, false))
}
