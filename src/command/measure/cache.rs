//! `perf-cache [RUNS]`: what each substituter has of the systems that are built here, and how fast
//! it is.

use std::collections::BTreeMap;

use futures_util::StreamExt;

use super::{finish, meant, number, say};
use crate::build::closure::{self, PathInfo};
use crate::build::{measure, nix};
use crate::cli::{Global, PerfArgs};
use crate::command::inventory;
use crate::error::Error;
use crate::event::harmless;
use crate::event::stream::Stopwatch;
use crate::exit::Exit;
use crate::fleet::StorePath;
use crate::report::Look;
use crate::report::look::count;
use crate::report::measured::{Measured, Row, Unit};
use crate::world::World;
use crate::world::http::{Get, Http};

/// Store paths that are asked for: as many as tell, and no burden.
const SAMPLE: usize = 100;
/// Asked at once.
const AT_ONCE: usize = 16;
/// Archives that are fetched where nobody says how many.
const FETCHED: u16 = 3;
/// Bytes of an archive that is fetched, at most.
const LARGEST: u64 = 16 << 20;

/// What a cache says of a path (its `.narinfo`).
struct Known {
    archive: String,
    bytes: u64,
}

/// Asks and shows.
///
/// # Errors
/// When hosts.toml is wrong, there is no cache, or nothing is built here that could be asked for.
pub(in crate::command) async fn run(
    world: &World,
    global: &Global,
    args: &PerfArgs,
    look: &Look,
) -> Result<Exit, Error> {
    let fleet = inventory::load(&world.environment, global)?;
    let meant = meant(world, global, &fleet, args)?;
    let mut urls = substituters(world).await;
    urls.extend(fleet.cache.iter().map(|cache| cache.url.clone()));
    urls.iter_mut().for_each(|url| url.truncate(url.trim_end_matches('/').len()));
    urls.dedup();
    if urls.is_empty() {
        return Err(Error::usage("no cache can be asked")
            .because("Nix has no substituter configured, and hosts.toml no [cache]")
            .hint("what Nix is configured with: nix config show substituters")
            .hint("a cache of the fleet's own: nixdeploy help hosts"));
    }
    let mut paths: BTreeMap<String, PathInfo> = BTreeMap::new();
    let mut unknown = Vec::new();
    for host in &meant.hosts {
        say(global, &format!("{}: its closure", host.name));
        let options = super::options(host);
        let took = match measure::evaluation(world, &meant.flake, &host.attr, &options).await {
            Ok(took) => took,
            Err(error) => {
                unknown.push(format!("{}: {error}", host.name));
                continue;
            }
        };
        let Some(top) = toplevel(world, &took.path).await else { continue };
        for path in closure::closure(world, &top).await.unwrap_or_default() {
            paths.insert(path.path.hash().to_owned(), path);
        }
    }
    if paths.is_empty() {
        let nothing = Error::new(Exit::NotBuilt, "nothing that hosts are to run is built here");
        return Err(unknown.into_iter().fold(nothing, Error::because).hint("nixdeploy build all"));
    }
    // A hash says nothing of its path: the first of them are as good as any.
    let sample: Vec<&PathInfo> = paths.values().take(SAMPLE).collect();
    let mut measured = Measured::new("perf-cache");
    measured.unmeasured.extend(unknown);
    for url in urls {
        let shown = harmless::line(&url);
        if !url.starts_with("http://") && !url.starts_with("https://") {
            measured.unmeasured.push(format!("{shown}: only caches over HTTP are asked"));
            continue;
        }
        say(global, &format!("{shown}: {}", count(sample.len(), "path", "paths")));
        let base = url.split('?').next().unwrap_or(&url);
        match ask(world, base, &sample, args.runs.unwrap_or(FETCHED)).await {
            Ok(rows) => {
                measured.rows.extend(rows.into_iter().map(|row| Row { name: shown.clone(), ..row }))
            }
            Err(why) => measured.unmeasured.push(format!("{shown}: {why}")),
        }
    }
    let note = format!(
        "{} of the {} store paths of what is built here were asked for; bytes and archives are as \
         the cache packs them. Speed is that of single archives of at most 16 MiB, one at a time.",
        sample.len(),
        paths.len()
    );
    measured.notes.extend((!measured.rows.is_empty()).then_some(note));
    finish(global, &measured, look)
}

/// What a derivation makes, if it is built here.
async fn toplevel(world: &World, drv: &StorePath) -> Option<StorePath> {
    let installable = format!("{drv}^out");
    let output = world.run(nix(["path-info", &installable])).await.ok()?;
    output.out.iter().find_map(|line| StorePath::new(line.trim()).ok())
}

/// Those that Nix is configured with.
async fn substituters(world: &World) -> Vec<String> {
    let output = world.run(nix(["config", "show", "substituters"])).await;
    let lines = output.map(|o| o.out).unwrap_or_default();
    lines.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect()
}

async fn get(world: &World, url: String) -> Result<(u64, u16, Vec<u8>), String> {
    let began = world.clock.monotonic_ms();
    let answer = Http::default().get(Get { url, headers: Vec::new() }).await;
    let answer = answer.map_err(|e| harmless::line(&e.to_string()))?;
    let ms = world.clock.monotonic_ms().saturating_sub(began);
    Ok((ms, answer.status, answer.body))
}

async fn ask(
    world: &World,
    base: &str,
    sample: &[&PathInfo],
    archives: u16,
) -> Result<Vec<Row>, String> {
    let asked = sample.iter().map(|path| {
        let url = format!("{base}/{}.narinfo", path.path.hash());
        async move { get(world, url).await.map(|(ms, status, body)| (ms, known(status, &body))) }
    });
    let answers = futures_util::stream::iter(asked).buffered(AT_ONCE).collect::<Vec<_>>().await;
    let answers: Vec<(u64, Option<Known>)> = answers.into_iter().collect::<Result<_, _>>()?;
    let waits = answers.iter().map(|(ms, _)| number(*ms)).collect();
    let mut hits: Vec<Known> = answers.into_iter().filter_map(|(_, known)| known).collect();
    let bytes = hits.iter().fold(0_u64, |sum, k| sum.saturating_add(k.bytes));
    let count = hits.len() as u64;
    hits.sort_by_key(|k| std::cmp::Reverse(k.bytes));
    let mut speeds = Vec::new();
    for known in hits.iter().filter(|k| k.bytes <= LARGEST).take(archives.into()) {
        let (ms, status, body) = get(world, format!("{base}/{}", known.archive)).await?;
        if status == 200 && !body.is_empty() {
            speeds.push(number(body.len() as u64) * 1000.0 / number(ms.max(1)));
        }
    }
    let rows = [
        Row::of("", "hits", Unit::Count, vec![number(count)]),
        Row::of("", "bytes", Unit::Bytes, vec![number(bytes)]),
        Row::of("", "answer", Unit::Ms, waits),
        Row::of("", "speed", Unit::BytesPerSecond, speeds),
    ];
    Ok(rows.into_iter().flatten().collect())
}

/// Of a narinfo (nix manual, "Binary Cache"): where the archive is, and its bytes. One that lies
/// elsewhere than in the cache is not fetched.
fn known(status: u16, body: &[u8]) -> Option<Known> {
    let text = std::str::from_utf8(body).ok().filter(|_| status == 200)?;
    let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let archive = of("URL:")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if !archive.chars().all(plain) || archive.contains("..") || archive.starts_with('/') {
        return None;
    }
    Some(Known { archive: archive.to_owned(), bytes: of("FileSize:")?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn an_archive_lies_in_the_cache_or_nowhere() {
        let of = |url: &str| known(200, format!("URL: {url}\nFileSize: 7\n").as_bytes());
        assert!(of("nar/1abc.nar.xz").is_some_and(|k| k.bytes == 7));
        for bad in ["http://evil/x", "../x", "/etc/passwd", "nar/a b", "nar/\u{1b}"] {
            assert!(of(bad).is_none(), "{bad}");
        }
        assert!(known(404, b"URL: nar/x\nFileSize: 7\n").is_none());
        assert!(known(200, b"URL: nar/x\nFileSize: many\n").is_none());
    }
}
