//! Guards that are wrong in one way each; the model must tell every one of them from the right one.

/// One way to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The commit is begun before the decision is written.
    DecisionLate,
    /// The new system's root goes before `go`.
    RootDropped,
    /// Nobody looks at the clock.
    DeadlineIgnored,
    /// A commit that failed is left as it is.
    NoUndo,
    /// Profile and boot default are set before the activation.
    BootFirst,
    /// A commit is taken that was asked for before the activation had ended.
    EarlyCommit,
    /// An undo that is cut short forgets the generation, and takes back whatever the profile is.
    UndoForgets,
    /// An undo takes for granted that the generation it goes back to is still there.
    UndoTrusts,
    /// The backstop spares a guard that has decided to commit.
    BackstopSpares,
    /// The backstop ends a guard that is late, and starts none that is gone.
    BackstopKillsOnly,
    /// A folder that is removed is not made again.
    FolderStrands,
    /// The roots go before the last word when nothing was begun.
    RootsFirst,
    /// The guard ends although it could not write its last word.
    NoLastWord,
}
