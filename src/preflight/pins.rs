//! Which machine a name stood for last time: `STATE/hosts/NAME.json`, written after the first
//! contact that went well and compared ever after (security row S17).

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fleet::HostName;
use crate::world::files;

/// Largest record read.
const LIMIT: u64 = 1 << 16;

/// What is remembered of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its /etc/machine-id.
    pub machine_id: String,
    /// The boot it was met in last, /proc/sys/kernel/random/boot_id.
    #[serde(default)]
    pub boot_id: String,
}

/// The records of all hosts.
#[derive(Debug, Clone)]
pub struct Pins {
    folder: PathBuf,
}

impl Pins {
    /// Below the state folder.
    pub fn below(state: &Path) -> Self {
        Self { folder: state.join("hosts") }
    }

    /// The file of a host; its name can hold no slash.
    pub fn file(&self, host: &HostName) -> PathBuf {
        self.folder.join(format!("{host}.json"))
    }

    /// What is remembered; `None`: nothing yet.
    ///
    /// # Errors
    /// When there is a record that cannot be read: it must not count as "nothing yet".
    pub fn read(&self, host: &HostName) -> io::Result<Option<Pin>> {
        match files::read_text(&self.file(host), LIMIT) {
            Ok(text) => Ok(Some(serde_json::from_str(&text)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Remembers; a record that is the same is left alone.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn write(&self, host: &HostName, pin: &Pin) -> io::Result<()> {
        if self.read(host).ok().flatten().as_ref() == Some(pin) {
            return Ok(());
        }
        files::private_folder(&self.folder)?;
        files::replace(&self.file(host), serde_json::to_string(pin)?.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_kept_and_damage_is_no_absence() {
        let folder = tempfile::tempdir().expect("folder");
        let pins = Pins::below(folder.path());
        let host = HostName::new("p620").expect("name");
        assert_eq!(pins.read(&host).expect("nothing yet"), None);
        let pin = Pin { machine_id: "abc".to_owned(), boot_id: "b".to_owned() };
        pins.write(&host, &pin).expect("written");
        assert_eq!(pins.read(&host).expect("read"), Some(pin));
        std::fs::write(pins.file(&host), "{").expect("damaged");
        assert!(pins.read(&host).is_err());
    }
}
