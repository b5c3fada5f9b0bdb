//! Every step at which the program may be gone: the file is the old or the new one, and the next
//! start knows which it is to be.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use super::*;

const OLD: &[u8] = b"the user's own bytes, not committed\n";
const NEW: &[u8] = b"what an update wrote\n";
const OTHER: &[u8] = b"what somebody else wrote\n";
const STEPS: [Step; 8] = [
    Step::BackedUp,
    Step::Announced,
    Step::Written,
    Step::Renamed,
    Step::Applied,
    Step::Deploying,
    Step::PutBack,
    Step::Finished,
];

thread_local! {
    /// After which step the program is gone.
    static GONE: Cell<Option<Step>> = const { Cell::new(None) };
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        std::fs::create_dir(place.at("git")).expect("made");
        std::fs::write(place.at("flake.lock"), OLD).expect("written");
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn look(&self) -> Keep {
        Keep::look(&self.at("git"), self.0.path(), Path::new("")).expect("a lock")
    }

    fn hold(&self) -> Keep {
        let keep = self.look().hold().expect("held");
        Keep { at: |step| assert!(GONE.get() != Some(step), "gone after {step:?}"), ..keep }
    }

    fn lock(&self) -> Vec<u8> {
        std::fs::read(self.at("flake.lock")).expect("the lock")
    }

    /// Files beside the lock.
    fn beside(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.0.path()).expect("a folder").flatten();
        let names = names.map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|n| n != "git" && n != "flake.lock").collect()
    }
}

/// An update that is killed after a step: nothing of it runs on, not even to tidy up.
fn killed_after(step: Step, place: &Place, fate: Fate) -> bool {
    GONE.set(Some(step));
    let killed = catch_unwind(AssertUnwindSafe(|| {
        let keep = place.hold();
        keep.apply(OLD, NEW, 7).expect("applied");
        keep.deploying("abcdef", Path::new("/s"), &["p620".to_owned()]).expect("written down");
        keep.end(fate).expect("ended")
    }));
    GONE.set(None);
    killed.is_err()
}

#[test]
fn killed_at_any_step_it_is_the_old_or_the_new_and_the_next_start_puts_it_right() {
    for fate in [Fate::Nowhere, Fate::Runs] {
        for step in STEPS {
            let place = Place::new();
            let killed = killed_after(step, &place, fate);
            assert_eq!(killed, step != Step::PutBack || fate == Fate::Nowhere, "{step:?}");
            let found = place.lock();
            assert!(found == OLD || found == NEW, "{step:?}: torn");
            let ended = place.hold().end(fate).expect("recovered");
            let deployed = matches!(step, Step::Deploying | Step::PutBack | Step::Finished);
            let stays = fate == Fate::Runs && deployed;
            assert_eq!(place.lock(), if stays { NEW } else { OLD }, "{step:?} {ended:?}");
            assert_eq!(place.beside(), [""; 0], "{step:?}");
            assert_eq!(place.look().journal().expect("read"), None, "{step:?}");
        }
    }
}

#[test]
fn what_is_not_known_yet_is_not_decided() {
    let place = Place::new();
    assert!(killed_after(Step::Deploying, &place, Fate::Open));
    let keep = place.hold();
    let open = Recovered::Open(Some("abcdef".to_owned()));
    assert_eq!(keep.end(Fate::Open).expect("looked"), open);
    assert_eq!((place.lock(), keep.journal().expect("read").is_some()), (NEW.to_vec(), true));
    assert_eq!(keep.end(Fate::Nowhere).expect("back"), Recovered::PutBack(Id::of(OLD)));
    assert_eq!(place.lock(), OLD);
}

#[test]
fn what_somebody_else_wrote_meanwhile_is_left_alone() {
    let place = Place::new();
    let keep = place.hold();
    std::fs::write(place.at("flake.lock"), OTHER).expect("written");
    assert!(matches!(keep.apply(OLD, NEW, 7), Err(KeepError::Changed)));
    assert_eq!((place.lock(), place.beside().len()), (OTHER.to_vec(), 0));
    assert_eq!(keep.journal().expect("read"), None);
    std::fs::write(place.at("flake.lock"), OLD).expect("written");
    keep.apply(OLD, NEW, 7).expect("applied");
    std::fs::write(place.at("flake.lock"), OTHER).expect("written");
    assert_eq!(keep.end(Fate::Nowhere).expect("left"), Recovered::Foreign(Id::of(OLD)));
    assert_eq!(place.lock(), OTHER);
    assert_eq!(keep.bytes(&Id::of(OLD)).expect("kept"), OLD);
}

#[test]
fn a_lock_that_hosts_run_is_never_said_of_another() {
    let place = Place::new();
    let keep = place.hold();
    for (wrote, ended) in [
        (NEW, Recovered::Stays(Id::of(NEW))),
        (OLD, Recovered::Replaced(Id::of(NEW))),
        (OTHER, Recovered::Replaced(Id::of(NEW))),
    ] {
        std::fs::write(place.at("flake.lock"), OLD).expect("written");
        keep.apply(OLD, NEW, 7).expect("applied");
        keep.deploying("abcdef", Path::new("/s"), &[]).expect("written down");
        std::fs::write(place.at("flake.lock"), wrote).expect("written");
        assert_eq!(keep.end(Fate::Runs).expect("ended"), ended);
        assert_eq!(
            (place.lock(), keep.bytes(&Id::of(NEW)).expect("kept")),
            (wrote.into(), NEW.into())
        );
    }
}

#[test]
fn a_journal_that_cannot_be_read_is_none_of_ours_to_throw_away() {
    let place = Place::new();
    let keep = place.hold();
    let path = place.at("git/nixdeploy/journal.json");
    keep.apply(OLD, NEW, 7).expect("applied");
    let ours = std::fs::read_to_string(&path).expect("written");
    let outside = ours.replace(Id::of(OLD).as_str(), "../../../etc/passwd");
    let later = ours.replace("\"schema\":1", "\"schema\":99,\"more\":[]");
    for text in ["", "garbage", "{}", "{\"schema\":99}", &outside, &later] {
        std::fs::write(&path, text).expect("written");
        for fate in [Fate::Nowhere, Fate::Runs, Fate::Open] {
            assert!(matches!(keep.end(fate), Err(KeepError::Journal { .. })), "{text}");
        }
        assert!(keep.opened("x").is_err() && keep.deploying("x", &path, &[]).is_err(), "{text}");
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), text);
        assert_eq!(place.lock(), NEW);
    }
}

#[test]
fn one_at_a_time() {
    let place = Place::new();
    let first = place.hold();
    let pid = std::process::id().to_string();
    let second = place.look().hold();
    assert!(matches!(second, Err(KeepError::Busy { pid: ref p }) if *p == pid), "{second:?}");
    drop(first);
    assert!(place.look().hold().is_ok());
}

#[test]
fn a_backup_is_found_by_its_beginning_and_put_back_with_what_it_replaces_kept() {
    let place = Place::new();
    let keep = place.hold();
    let (id, _) = keep.back_up(NEW).expect("kept");
    assert_eq!(keep.find(id.short()).expect("found"), id);
    assert!(keep.find("").is_err() && keep.find("zz").is_err());
    std::fs::set_permissions(place.at("flake.lock"), PermissionsExt::from_mode(0o640))
        .expect("set");
    assert_eq!(keep.restore(&id).expect("restored"), Id::of(OLD));
    assert_eq!(place.lock(), NEW);
    let mode = place.at("flake.lock").metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(keep.restore(&Id::of(OLD)).expect("restored"), id);
    assert_eq!(place.lock(), OLD);
    std::fs::write(keep.kept(&id), OTHER).expect("written");
    assert!(keep.restore(&id).is_err(), "damaged");
    assert_eq!(place.lock(), OLD);
}

#[test]
fn a_link_stays_one_and_flakes_below_the_root_have_their_own() {
    let place = Place::new();
    std::fs::create_dir(place.at("sub")).expect("made");
    std::os::unix::fs::symlink("../flake.lock", place.at("sub/flake.lock")).expect("linked");
    let below = Keep::look(&place.at("git"), place.0.path(), Path::new("sub")).expect("a lock");
    let below = below.hold().expect("held, beside the other");
    let _other = place.hold();
    below.apply(OLD, NEW, 7).expect("applied");
    assert_eq!(place.lock(), NEW);
    assert!(place.at("sub/flake.lock").is_symlink());
    assert!(place.at("git/nixdeploy/flakes/sub/journal.json").exists());
    std::fs::remove_file(place.at("flake.lock")).expect("removed");
    let gone = Keep::look(&place.at("git"), place.0.path(), Path::new("sub"));
    assert!(gone.expect_err("no lock").to_string().ends_with("sub: it is a link to nothing"));
}

#[test]
fn a_folder_that_cannot_be_written_leaves_everything_as_it_is() {
    let place = Place::new();
    let keep = place.hold();
    // A folder in the place of the new file stands for any failure to write it, also as root.
    std::fs::create_dir_all(place.at(".flake.lock.nixdeploy/x")).expect("made");
    assert!(matches!(keep.apply(OLD, NEW, 7), Err(KeepError::Files { .. })));
    assert_eq!((place.lock(), keep.journal().expect("read")), (OLD.to_vec(), None));
    std::fs::remove_dir_all(place.at("git")).expect("removed");
    std::fs::write(place.at("git"), "").expect("a file");
    assert!(place.look().hold().is_err());
    assert_eq!(place.lock(), OLD);
}

#[test]
fn twenty_are_kept_and_what_a_change_needs() {
    let place = Place::new();
    let keep = place.hold();
    keep.apply(OLD, NEW, 7).expect("applied");
    for n in 0..30 {
        let _ = keep.back_up(format!("lock {n}").as_bytes()).expect("kept");
    }
    keep.prune();
    let ids: Vec<Id> = keep.list().into_iter().map(|b| b.id).collect();
    assert!(ids.contains(&Id::of(OLD)) && ids.contains(&Id::of(NEW)), "{ids:?}");
    assert!((20..=22).contains(&ids.len()), "{}", ids.len());
    assert_eq!(keep.end(Fate::Nowhere).expect("ended"), Recovered::PutBack(Id::of(OLD)));
}
