//! The bytes of a file, and the text that they are.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::syntax::Fault;

/// Larger files are generated, and not worth the wait.
pub(super) const SIZE_LIMIT: u64 = 32 << 20;
/// Stands for each byte that is no UTF-8, so that every other byte keeps its place. Like them it
/// is legal in comments and strings, and nowhere else.
const SUBSTITUTE: char = '\u{1a}';

/// The whole file; `None` when there is no regular file of that name. Links are not followed.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    use rustix::fs::OFlags;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(None);
    }
    let mut bytes =
        Vec::with_capacity(usize::try_from(meta.len().min(SIZE_LIMIT)).unwrap_or(0) + 1);
    file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The text, and where it is no UTF-8.
pub(super) fn decode(bytes: Vec<u8>) -> (String, Option<Fault>) {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return (text, None),
        Err(error) => error.into_bytes(),
    };
    let mut text = String::with_capacity(bytes.len());
    let mut first = None;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            first.get_or_insert(text.len());
        }
        text.extend(chunk.invalid().iter().map(|_| SUBSTITUTE));
    }
    let doubt = |at| {
        let message = format!("no UTF-8 from byte {at} on (Nix takes any byte in text)");
        Fault::doubt("not-utf-8", at..at + 1, message)
    };
    (text, first.map(doubt))
}
