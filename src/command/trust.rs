//! `trust HOST`: shows the host's keys as it offers them and records them for ssh.
//!
//! The only way a key gets into known_hosts (security row S6): a person compares fingerprints.
//! A key that differs from a recorded one is never replaced here.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::event::harmless;
use crate::exit::Exit;
use crate::fleet::{Address, Host};
use crate::world::ssh::{Link, Target, diagnose};
use crate::world::{Invocation, Output, World, files};

/// Key types that are recorded, best first; the others are weak or need hardware.
const TYPES: [&str; 5] =
    ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];
/// A key longer than this is no key.
const LONGEST: usize = 16 << 10;

/// A host key, as in known_hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    kind: String,
    base64: String,
}

/// How ssh's configuration resolves an address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
    /// Under which name ssh looks the key up.
    name: String,
    known_hosts: PathBuf,
    /// Whether ssh goes there by way of something.
    proxied: bool,
}

/// What is on record for a name.
#[derive(Debug, PartialEq, Eq)]
enum Record {
    /// One of the offered keys, and nothing else of its kind.
    Same,
    /// Nothing.
    Absent,
    /// Another key, or one that was revoked.
    Different(Vec<Key>),
}

/// Runs the command.
///
/// # Errors
/// When the host offers no key, or another one than is recorded, or nobody can be asked.
pub async fn run(world: &World, host: &Host, yes: bool) -> Result<Exit, Error> {
    for address in &host.addresses {
        if !one(world, host, address, yes).await? {
            return Ok(Exit::Declined);
        }
    }
    Ok(Exit::Done)
}

/// One address; false when the answer was no.
async fn one(world: &World, host: &Host, address: &Address, yes: bool) -> Result<bool, Error> {
    let place = place(world, address).await?;
    let target = Target::at(host, address.clone(), &world.environment);
    let offered = if place.proxied || !target.jumps.is_empty() {
        look(world, &target).await?
    } else {
        scan(world, &place).await?
    };
    let shown = fingerprints(world, &offered).await?;
    match record(world, &place, &offered).await? {
        Record::Same => {
            crate::report::out(&format!(
                "{} ({}) is trusted already\n{shown}",
                host.name, place.name
            ));
            return Ok(true);
        }
        Record::Different(known) => {
            let known = fingerprints(world, &known).await?;
            return Err(differs(&place, &known, &shown));
        }
        Record::Absent => {}
    }
    crate::report::out(&format!("{} ({}) offers\n{shown}", host.name, place.name));
    if !yes {
        match world.prompt.confirm("Are these its keys?", false) {
            Some(true) => {}
            Some(false) => return Ok(false),
            None => {
                let own = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub";
                return Err(Error::usage(format!(
                    "{}: nobody is there to compare the fingerprints",
                    host.name
                ))
                .hint(format!("on the host's own screen: {own}"))
                .hint(format!("if they are the same: nixdeploy trust {} --yes", host.name)));
            }
        }
    }
    append(&place, &offered)
        .map_err(|e| Error::usage(format!("cannot write {}: {e}", place.known_hosts.display())))
        .map_err(|e| e.hint(format!("ls -l {}", place.known_hosts.display())))?;
    crate::report::out(&format!("recorded in {}\n", place.known_hosts.display()));
    Ok(true)
}

/// Asks ssh what it makes of the address; nothing is connected.
async fn place(world: &World, address: &Address) -> Result<Place, Error> {
    let invocation = Invocation::new("ssh", ["-G", "--", address.as_str()]);
    let output = run_tool(world, invocation.timeout(Duration::from_secs(10))).await?;
    let text = |key: &str| {
        let value = |l: &String| Some(l.strip_prefix(key)?.strip_prefix(' ')?.trim().to_owned());
        output.out.iter().find_map(value).filter(|v| v != "none")
    };
    let proxied = text("proxyjump").or_else(|| text("proxycommand")).is_some();
    let host = text("hostname").unwrap_or_else(|| address.to_string());
    let host = Address::new(host).map_err(|e| Error::usage(e.to_string()))?.to_string();
    let port = text("port").and_then(|p| p.parse().ok()).unwrap_or(22);
    let home = &world.environment.home;
    let first = text("userknownhostsfile").and_then(|f| Some(f.split(' ').next()?.to_owned()));
    let known_hosts =
        first.map_or_else(|| home.join(".ssh/known_hosts"), |f| world.environment.expand(&f, home));
    let name = recorded_name(text("hostkeyalias"), &host, port);
    Ok(Place { name, host, port, known_hosts, proxied })
}

/// As sshd(8) says of known_hosts: brackets only when the port is another one.
fn recorded_name(alias: Option<String>, host: &str, port: u16) -> String {
    match (alias, port) {
        (Some(alias), _) => alias,
        (None, 22) => host.to_owned(),
        (None, port) => format!("[{host}]:{port}"),
    }
}

/// The keys that the host offers.
async fn scan(world: &World, place: &Place) -> Result<Vec<Key>, Error> {
    let port = place.port.to_string();
    let args = ["-T", "10", "-p", &port, "--", &place.host];
    let output =
        run_tool(world, Invocation::new("ssh-keyscan", args).timeout(Duration::from_secs(30)))
            .await?;
    let mut keys: Vec<Key> = output.out.iter().filter_map(|l| key(l)).collect();
    keys.sort_by_key(|k| TYPES.iter().position(|t| *t == k.kind));
    keys.dedup();
    if keys.is_empty() {
        let said = output.err.iter().rfind(|l| !l.starts_with('#')).map(|l| harmless::line(l));
        let (what, why) = match said {
            Some(said) => ("offers no host key", said),
            None => ("does not answer", format!("nothing came from {} port {port}", place.host)),
        };
        return Err(Error::new(Exit::Refused, format!("{} {what}", place.name))
            .because(why)
            .hint(format!("ping {}", place.host)));
    }
    Ok(keys)
}

/// The key that a host behind others offers: ssh-keyscan knows no way there, so ssh goes it,
/// learns the key into a file that is thrown away, and tries no login. The hosts on the way are
/// held to their recorded keys as always.
async fn look(world: &World, target: &Target) -> Result<Vec<Key>, Error> {
    let folder = tempfile::tempdir()
        .map_err(|e| Error::new(Exit::Internal, "no folder for what is offered").because(e))?;
    let learnt = folder.path().join("known_hosts");
    let ours = [
        format!("UserKnownHostsFile={}", learnt.display()),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "StrictHostKeyChecking=accept-new".to_owned(),
        "PreferredAuthentications=none".to_owned(),
        "HashKnownHosts=no".to_owned(),
    ];
    let mut login = target.command(Link::Fresh, "exit 0").timeout(Duration::from_secs(30));
    // ssh takes the first value it is given.
    login.args.splice(..0, ours.into_iter().flat_map(|o| ["-o".to_owned(), o]));
    let output = run_tool(world, login).await?;
    let text = files::read_text(&learnt, LONGEST as u64).unwrap_or_default();
    let keys: Vec<Key> = text.lines().filter_map(key).collect();
    if keys.is_empty() {
        let said = diagnose(&output.err).text().to_owned();
        return Err(Error::new(Exit::Refused, format!("{} offers no host key", target.address))
            .because(harmless::line(&said))
            .hint(format!("ssh {} true", target.address)));
    }
    Ok(keys)
}

/// `NAME TYPE BASE64`; anything else is no key.
fn key(line: &str) -> Option<Key> {
    let mut words = line.split_ascii_whitespace();
    let (_, kind, base64) = (words.next()?, words.next()?, words.next()?);
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"+/=".contains(&c);
    let good = TYPES.contains(&kind) && base64.len() <= LONGEST && base64.bytes().all(plain);
    good.then(|| Key { kind: kind.to_owned(), base64: base64.to_owned() })
}

/// `  SHA256:... (TYPE)` for each key.
async fn fingerprints(world: &World, keys: &[Key]) -> Result<String, Error> {
    let lines: String = keys.iter().map(|k| format!("host {} {}\n", k.kind, k.base64)).collect();
    let output = run_tool(
        world,
        Invocation::new("ssh-keygen", ["-l", "-f", "-"])
            .stdin(lines)
            .timeout(Duration::from_secs(10)),
    )
    .await?;
    if !output.ended.ok() || output.out.is_empty() {
        return Err(Error::new(Exit::Refused, "ssh-keygen cannot read the key")
            .because(harmless::line(&output.err_tail(1)))
            .hint("ssh-keygen -l -f -"));
    }
    // SIZE HASH COMMENT (TYPE)
    let shown = output.out.iter().map(|l| {
        let words: Vec<&str> = l.split_ascii_whitespace().collect();
        let hash = words.get(1).copied().unwrap_or_default();
        harmless::line(&format!("  {hash} {}", words.last().copied().unwrap_or_default())) + "\n"
    });
    Ok(shown.collect())
}

/// What known_hosts says of the name; ssh-keygen knows hashed names too.
async fn record(world: &World, place: &Place, offered: &[Key]) -> Result<Record, Error> {
    if !place.known_hosts.exists() {
        return Ok(Record::Absent);
    }
    let file = place.known_hosts.to_string_lossy().into_owned();
    let args = ["-F", place.name.as_str(), "-f", &file];
    let output =
        run_tool(world, Invocation::new("ssh-keygen", args).timeout(Duration::from_secs(10)))
            .await?;
    Ok(compare(&output.out, offered))
}

fn compare(lines: &[String], offered: &[Key]) -> Record {
    let (mut known, mut same, mut other) = (Vec::new(), false, false);
    for line in lines.iter().filter(|l| !l.starts_with('#')) {
        let revoked = line.starts_with("@revoked ");
        if line.starts_with('@') && !revoked {
            continue;
        }
        let Some(key) = key(line.trim_start_matches("@revoked ")) else { continue };
        let offers = offered.contains(&key);
        let kind = offered.iter().any(|o| o.kind == key.kind);
        same |= offers && !revoked;
        other |= if revoked { offers } else { kind && !offers };
        known.push(key);
    }
    match (known.is_empty(), same, other) {
        (true, ..) => Record::Absent,
        (false, true, false) => Record::Same,
        _ => Record::Different(known),
    }
}

fn differs(place: &Place, known: &str, offered: &str) -> Error {
    let file = place.known_hosts.display();
    Error::new(Exit::Refused, format!("{} offers another key than the recorded one", place.name))
        .because(format!("recorded:\n{}", known.trim_end()))
        .because(format!("offered:\n{}", offered.trim_end()))
        .because("the machine was reinstalled, or somebody stands in between")
        .hint(format!("ssh-keygen -R '{}' -f {file}  # if it was reinstalled", place.name))
}

/// Adds a line per key at the end; a file without a last line end gets one first.
fn append(place: &Place, keys: &[Key]) -> std::io::Result<()> {
    let path = &place.known_hosts;
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    if !folder.exists() {
        files::private_folder(folder)?;
    }
    let mut file = files::append(path)?;
    let mut text = if ends_well(path)? { String::new() } else { "\n".to_owned() };
    for key in keys {
        text += &format!("{} {} {}\n", place.name, key.kind, key.base64);
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn ends_well(path: &Path) -> std::io::Result<bool> {
    let mut file = std::fs::File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

async fn run_tool(world: &World, invocation: Invocation) -> Result<Output, Error> {
    let program = invocation.program.clone();
    world.run(invocation).await.map_err(|e| {
        Error::usage(e.to_string()).hint(format!("install openssh: {program} is part of it"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<Key> {
        text.lines().filter_map(key).collect()
    }

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn only_lines_of_three_plain_words_are_keys() {
        assert_eq!(keys("h ssh-ed25519 AAAA\n# c\nh ssh-dss AAAA\nh ssh-rsa A$(x)\nh").len(), 1);
    }

    #[test]
    fn a_record_is_the_same_another_or_none() {
        let offered = keys("h ssh-ed25519 AAAA\nh ssh-rsa BBBB");
        let of = |text: &str| compare(&lines(text), &offered);
        assert_eq!(of("# Host h found: line 1"), Record::Absent);
        assert_eq!(of("# Host h found: line 1\nh ssh-ed25519 AAAA"), Record::Same);
        assert!(matches!(of("h ssh-ed25519 CCCC"), Record::Different(_)));
        assert!(matches!(of("h ssh-ed25519 AAAA\nh ssh-rsa CCCC"), Record::Different(_)));
        assert!(matches!(of("h ecdsa-sha2-nistp256 CCCC"), Record::Different(_)));
        assert!(matches!(of("@revoked h ssh-ed25519 AAAA"), Record::Different(_)));
        assert_eq!(of("@cert-authority h ssh-ed25519 ZZZZ"), Record::Absent);
    }

    #[test]
    fn keys_are_appended_to_a_file_that_lacks_its_last_line_end() {
        let folder = tempfile::tempdir().expect("folder");
        let known_hosts = folder.path().join("known_hosts");
        std::fs::write(&known_hosts, "a ssh-rsa X").expect("written");
        let name = recorded_name(None, "10.0.0.1", 2222);
        let host = "10.0.0.1".to_owned();
        let place = Place { host, port: 2222, name, known_hosts, proxied: false };
        append(&place, &keys("h ssh-ed25519 AAAA")).expect("appended");
        let text = std::fs::read_to_string(&place.known_hosts).expect("read");
        assert_eq!(text, "a ssh-rsa X\n[10.0.0.1]:2222 ssh-ed25519 AAAA\n");
    }
}
