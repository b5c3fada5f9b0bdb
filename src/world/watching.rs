//! Folders in which files are written, renamed or removed, as the kernel tells it (inotify(7)).

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What is listened for: a file that was written and closed, and what rename makes and takes away.
/// Writes that are not closed yet are no save.
const WATCHED: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// Something that happened in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// A file was written, or came or went under this name.
    File(PathBuf),
    /// A folder came.
    Folder(PathBuf),
    /// A folder that is watched is not there any more: removed, or under another name.
    Gone(PathBuf),
    /// So much happened that some of it was lost.
    Lost,
}

/// Folders that are watched; files below folders that come later are not, until they are added.
pub struct Watching {
    fd: Arc<OwnedFd>,
    told: UnboundedReceiver<io::Result<Told>>,
    folders: HashMap<i32, PathBuf>,
}

/// An event as the kernel tells it: the folder's number, what happened, the name in it.
type Told = (i32, ReadFlags, Option<CString>);

impl Watching {
    /// Watches nothing yet. A thread of its own waits in read(2), to the end of the process.
    ///
    /// # Errors
    /// When the user has as many watchers as the kernel allows (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Self> {
        let fd = Arc::new(init(CreateFlags::CLOEXEC)?);
        let (teller, told) = unbounded_channel();
        let ours = Arc::clone(&fd);
        std::thread::Builder::new()
            .name("inotify".to_owned())
            .spawn(move || tell(&ours, &teller))?;
        Ok(Self { fd, told, folders: HashMap::new() })
    }

    /// Watches one more folder, not what is below it. One that is gone again is passed over.
    ///
    /// # Errors
    /// When there are more than the kernel allows (`fs.inotify.max_user_watches`).
    pub fn add(&mut self, folder: &Path) -> io::Result<()> {
        match add_watch(&*self.fd, folder, WATCHED) {
            Ok(watch) => drop(self.folders.insert(watch, folder.to_owned())),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// How many folders are watched.
    pub fn folders(&self) -> usize {
        self.folders.len()
    }

    /// The next thing that happened; waits until something does.
    ///
    /// # Errors
    /// Whatever the system says.
    pub async fn next(&mut self) -> io::Result<Seen> {
        loop {
            let told = self.told.recv().await.ok_or(io::ErrorKind::BrokenPipe)??;
            if let Some(seen) = self.seen(told) {
                return Ok(seen);
            }
        }
    }

    fn seen(&self, (watch, kind, name): Told) -> Option<Seen> {
        if kind.contains(ReadFlags::QUEUE_OVERFLOW) {
            return Some(Seen::Lost);
        }
        let folder = self.folders.get(&watch)?;
        if kind.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
            return Some(Seen::Gone(folder.clone()));
        }
        let path = folder.join(OsStr::from_bytes(name?.to_bytes()));
        let came = kind.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
        match kind.contains(ReadFlags::ISDIR) {
            true => came.then_some(Seen::Folder(path)),
            // A file that was made is not written yet; that comes as an event of its own.
            false => (!kind.contains(ReadFlags::CREATE)).then_some(Seen::File(path)),
        }
    }
}

fn tell(fd: &OwnedFd, teller: &UnboundedSender<io::Result<Told>>) {
    let mut room = [MaybeUninit::uninit(); 16 << 10];
    let mut reader = Reader::new(fd, &mut room);
    loop {
        let told = match reader.next() {
            Ok(event) => Ok((event.wd(), event.events(), event.file_name().map(Into::into))),
            Err(Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
        let over = told.is_err();
        if teller.send(told).is_err() || over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn saves_of_every_kind_are_seen() {
        let folder = tempfile::tempdir().expect("folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.nix"), "1").expect("written");
        let mut watching = Watching::new().expect("inotify");
        watching.add(folder.path()).expect("added");
        watching.add(&at("gone")).expect("passed over");
        assert_eq!(watching.folders(), 1);
        std::fs::write(at("a.nix"), "2").expect("written in place");
        assert_eq!(watching.next().await.expect("seen"), Seen::File(at("a.nix")));
        std::fs::write(at(".a.swp"), "3").expect("beside it");
        std::fs::rename(at(".a.swp"), at("a.nix")).expect("renamed over it");
        for name in [".a.swp", ".a.swp", "a.nix"] {
            assert_eq!(watching.next().await.expect("seen"), Seen::File(at(name)));
        }
        std::fs::create_dir(at("new")).expect("a folder");
        assert_eq!(watching.next().await.expect("seen"), Seen::Folder(at("new")));
        std::fs::remove_file(at("a.nix")).expect("removed");
        assert_eq!(watching.next().await.expect("seen"), Seen::File(at("a.nix")));
        watching.add(&at("new")).expect("added");
        std::fs::rename(at("new"), at("old")).expect("moved");
        assert_eq!(watching.next().await.expect("seen"), Seen::Folder(at("old")));
        assert_eq!(watching.next().await.expect("seen"), Seen::Gone(at("new")));
    }
}
