//! Reading, writing whole or not at all, and folders that only we can see.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::elevate::Password;

/// Makes a folder that only its owner can enter, or accepts one that is just that.
///
/// # Errors
/// When it is a link, belongs to somebody else, or cannot be made.
pub fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    no_trap(path)?;
    let meta = std::fs::symlink_metadata(path)?;
    if meta.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Refuses what somebody else put in the place of a folder of ours: a link, a file, or a folder of
/// theirs. Nothing there is as good.
///
/// # Errors
/// When it is one of these, or cannot be looked at.
pub fn no_trap(path: &Path) -> io::Result<()> {
    let meta = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    let mine = meta.uid() == rustix::process::geteuid().as_raw();
    if !meta.is_dir() || !mine {
        return Err(io::Error::other(format!("{} is not a folder of ours", path.display())));
    }
    Ok(())
}

/// Replaces a file as a whole: readers see the old or the new one, also after a power loss.
///
/// # Errors
/// Whatever the system says.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}

/// As [`replace`], for a file of somebody: it stays theirs, with its mode.
///
/// # Errors
/// Whatever the system says; what was there before is there still.
pub fn replace_alike(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let old = std::fs::metadata(path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    let new = file.as_file().metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        std::os::unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
    }
    file.as_file().set_permissions(old.permissions())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}

/// As [`replace`], but a power loss may take it back: for what can be had again.
///
/// # Errors
/// Whatever the system says.
pub fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put_with(path, |file| file.write_all(bytes))
}

/// The same of what is too much to be held at once: `write` gets a file that is not in its
/// place yet.
///
/// # Errors
/// Whatever the system or `write` says; what was there before is there still.
pub fn put_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    write(file.as_file_mut())?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

/// A file without a name, for what is too much to be held: it is gone when it is closed.
///
/// # Errors
/// Whatever the system says.
pub fn nameless(folder: &Path) -> io::Result<File> {
    tempfile::tempfile_in(folder)
}

/// As [`put`], for everybody to read: for another program, which runs as another user.
///
/// # Errors
/// Whatever the system says.
pub fn publish(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    // What reads folders looks for endings: until it is whole it has none.
    let mut file = tempfile::Builder::new().prefix(".nixdeploy-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

/// Opens a private file for appending; a link in its place is refused.
///
/// # Errors
/// Whatever the system says.
pub fn append(path: &Path) -> io::Result<File> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(nofollow).open(path)
}

/// Makes a pipe that gives a password to whoever of ours opens it, once.
///
/// # Errors
/// Whatever the system says.
pub fn pipe(path: &Path, secret: Password) -> io::Result<()> {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    let path = path.to_owned();
    // Opening waits for the reader; the pipe has no name any more when it is read.
    tokio::task::spawn_blocking(move || {
        let opened = OpenOptions::new().write(true).open(&path);
        let _ = std::fs::remove_file(&path);
        opened.and_then(|mut pipe| pipe.write_all(secret.lines()))
    });
    Ok(())
}

/// Reads a text that only we can have written: a link, or somebody else's file, is refused.
///
/// # Errors
/// As [`read_text`], and when it is not ours.
pub fn read_private(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    open_private(path, limit)?.take(limit).read_to_string(&mut text)?;
    Ok(text)
}

/// Opens a file of at most so many bytes that only we can have written.
///
/// # Errors
/// As [`read_private`].
pub fn open_private(path: &Path, limit: u64) -> io::Result<File> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nofollow).open(path)?;
    let meta = file.metadata()?;
    let mine = meta.uid() == rustix::process::geteuid().as_raw();
    if !meta.is_file() || !mine || meta.permissions().mode() & 0o022 != 0 || meta.len() > limit {
        return Err(io::Error::other(format!("{} is not a file of ours", path.display())));
    }
    Ok(file)
}

/// Opens a regular file to be read, and nothing else: a pipe without a writer would be waited for
/// without an end.
///
/// # Errors
/// When it is something else, or cannot be opened.
pub fn open(path: &Path) -> io::Result<File> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    let kind = file.metadata()?.file_type();
    match kind {
        _ if kind.is_file() => Ok(file),
        _ if kind.is_dir() => Err(rustix::io::Errno::ISDIR.into()),
        _ => Err(io::Error::other("it is no regular file")),
    }
}

/// Reads a text of at most so many bytes from a regular file.
///
/// # Errors
/// When it is larger, no UTF-8, no regular file, or cannot be read.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = open(path)?.take(limit + 1).read_to_string(&mut text)?;
    if read as u64 > limit {
        return Err(io::Error::other(format!("larger than {limit} bytes")));
    }
    Ok(text)
}
