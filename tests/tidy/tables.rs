//! What is allowed, as data: change it here, in the commit that needs it, and say why there.

/// Who may use whom. A name alone stands for the whole module; `a::b` for that part of it.
/// Everything may use its own parts. `*` is everything but `command` and `cli`.
pub(super) const RINGS: &[(&str, &[&str])] = &[
    // The leaves know no slice.
    ("error", &["exit"]),
    ("exit", &["event"]),
    // Pages, and their list; no code.
    ("docs", &[]),
    ("fleet", &["error"]),
    // What a store path's name says; the slices that compare packages share it.
    ("package", &[]),
    ("plan", &["fleet"]),
    ("event", &["fleet", "plan"]),
    ("world", &["event", "fleet"]),
    // Renderers read the stream and its fold; the store of runs also needs files and folders.
    // How a word is quoted for a shell stands beside the commands that the world runs.
    (
        "report",
        &[
            "event",
            "fleet",
            "plan",
            "exit",
            "error",
            "world::files",
            "world::invocation",
            "world::Environment",
        ],
    ),
    // The words that can be asked for are those of the recap.
    ("cli", &["docs", "exit", "fleet", "plan", "report::words"]),
    // The slices in their order: leaves, and the evidence of slices before them.
    ("validate", &["event", "fleet", "plan", "world"]),
    ("build", &["error", "event", "fleet", "package", "plan", "world", "validate"]),
    // Beside the others: what is known of the packages that hosts run and are to run.
    ("issues", &["error", "event", "fleet", "package", "world"]),
    // Beside the others: the inputs of the flake, and its lock.
    ("update", &["build", "event", "issues", "package", "validate", "world"]),
    // Slice 0 reads facts before all others, and admits after the build: it takes their evidence.
    (
        "preflight",
        &["error", "event", "fleet", "plan", "world", "validate", "build", "commit::bootloader"],
    ),
    ("activate", &["error", "event", "fleet", "plan", "world", "preflight", "validate", "build"]),
    ("verify", &["error", "event", "fleet", "plan", "world", "preflight", "build", "activate"]),
    (
        "commit",
        &["error", "event", "fleet", "plan", "world", "preflight", "build", "activate", "verify"],
    ),
    (
        "rollback",
        &[
            "error",
            "event",
            "fleet",
            "plan",
            "world",
            "preflight",
            "build",
            "activate",
            "verify",
            "commit",
        ],
    ),
    // These tie everything together.
    ("pipeline", &["*"]),
    ("command", &["*", "cli"]),
    ("lib", &["*", "cli", "command"]),
    ("main", &[]),
];

/// No function is longer, but for these tables of cases.
pub(super) const FUNCTION_LIMIT: usize = 70;
/// Functions that may be longer: `path name`, and how long.
pub(super) const LONG_FUNCTIONS: &[(&str, usize)] = &[];
/// Half of all functions are at most this long, and 95 of 100 at most that.
pub(super) const MEDIAN_LIMIT: usize = 12;
pub(super) const P95_LIMIT: usize = 50;
/// No Rust file is longer, whatever is in it.
pub(super) const FILE_LIMIT: usize = 500;
/// Columns of a line; of text, in characters.
pub(super) const COLUMNS: usize = 100;
/// The same in shell, where many a line cannot be broken.
pub(super) const SHELL_COLUMNS: usize = 120;
/// Lines that rustfmt leaves alone or that shell cannot break: `path`, and how many are longer.
pub(super) const LONG_LINES: &[(&str, usize)] = &[
    ("src/activate/guard.sh", 1),
    ("src/activate/hand.rs", 1),
    ("src/build/output.rs", 2),
    ("src/build/transfer.rs", 1),
    ("src/command/rollback.rs", 1),
    ("src/preflight/facts.sh", 8),
    ("src/report/look.rs", 1),
    ("tests/fixtures/report/recorder.rs", 1),
    ("tests/scripts_facts.rs", 2),
    ("tests/scripts_verify.rs", 1),
];

/// Names for drawers to drop things in.
pub(super) const BANNED_MODULES: [&str; 7] =
    ["util", "utils", "common", "helpers", "misc", "core", "manager"];

/// What may lie at the top besides hidden files.
pub(super) const TOP_LEVEL: [&str; 9] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "flake.lock",
    "flake.nix",
    "hosts.toml",
    "src",
    "tests",
];
/// What lies there, but is never part of the repository.
pub(super) const IGNORED: [&str; 3] = [".git", "result", "target"];

/// Lines of scripts that start something before the last line, and may.
pub(super) const EARLY_STARTS: &[(&str, &str)] = &[
    // Facts only read. The first part answers while the rest of the script is still on its way.
    ("src/preflight/facts.sh", "early \"$@\""),
    ("src/preflight/facts.sh", "rest"),
    // The guard reads its own folder first; hold.sh wrote it whole, from a here-document.
    ("src/activate/guard.sh", "IFS= read -r old < \"$d/old\""),
];
