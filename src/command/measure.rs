//! `bench-host` and `perf-parallel`, `perf-memory`, `perf-cache`: how long it takes, and what it
//! takes, measured here. No host is changed by any of them.

mod cache;

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;

use super::report::show;
use super::{inventory, launch};
use crate::build::{FlakeRef, Options, measure};
use crate::cli::{Global, PerfArgs};
use crate::error::Error;
use crate::event::harmless;
use crate::event::stream::Stopwatch;
use crate::exit::Exit;
use crate::fleet::{Fleet, Host};
use crate::plan::Phase;
use crate::report::look::count;
use crate::report::measured::{Measured, Row, Unit, document, table};
use crate::report::{Format, Look, err};
use crate::world::{Invocation, World, environment, memory};

pub(super) use cache::run as perf_cache;

/// Longest dry run that is waited for.
const LIMIT: Duration = Duration::from_secs(3600);
/// Dry runs of `bench-host` where nobody says how many.
const BENCHED: u16 = 5;
/// How often each number of workers is tried where nobody says so.
const TRIED: u16 = 3;
/// What is slower than the best by less than this part of it is as good.
const AS_GOOD: f64 = 0.05;

/// Shows a measurement; one in which nothing could be measured is an error of the build.
fn finish(global: &Global, measured: &Measured, look: &Look) -> Result<Exit, Error> {
    show(&match launch::setting(global).format {
        Format::Json | Format::Jsonl => document(measured),
        _ => table(measured, look),
    })?;
    Ok(if measured.unmeasured.is_empty() { Exit::Done } else { Exit::NotBuilt })
}

/// Milliseconds, bytes and the like as a value.
fn number(count: u64) -> f64 {
    count as f64
}

fn say(global: &Global, text: &str) {
    if global.quiet == 0 {
        err(&format!("{}\n", harmless::line(text)));
    }
}

/// `bench-host HOST [RUNS]`: dry runs of a deploy, one after the other, by their phases.
///
/// # Errors
/// When the host is not known, or a dry run does not come to its end.
pub(super) async fn bench_host(
    world: &World,
    global: &Global,
    (host, runs): (&str, Option<u16>),
    look: &Look,
) -> Result<Exit, Error> {
    let fleet = inventory::load(&world.environment, global)?;
    let hosts = inventory::hosts(&fleet, &[host.to_owned()], &[], None)?;
    let [host] = hosts.as_slice() else {
        return Err(Error::usage("bench-host takes one host").hint("nixdeploy bench-host p620"));
    };
    // Dry runs that are measured are no part of anybody's history.
    let apart = tempfile::tempdir()
        .map_err(|e| Error::usage("cannot make a folder").because(e).hint("df -h /tmp"))?;
    let mut wall = Vec::new();
    let mut phases: Vec<(&'static str, Vec<f64>)> =
        PHASES.iter().map(|p| (p.word(), Vec::new())).collect();
    let runs = runs.unwrap_or(BENCHED);
    for run in 1..=runs {
        say(global, &format!("dry run {run} of {runs} on {}", host.name));
        let (ms, document) = dry_run(world, global, &fleet, host, apart.path()).await?;
        wall.push(number(ms));
        for row in document["hosts"][0]["phases"].as_array().into_iter().flatten() {
            let took = row["took_ms"].as_u64().filter(|_| row["result"] != "skipped");
            let phase = PHASES
                .iter()
                .position(|p| serde_json::to_value(p).is_ok_and(|word| word == row["phase"]));
            if let (Some(at), Some(took)) = (phase, took) {
                phases[at].1.push(number(took));
            }
        }
    }
    let mut measured = Measured::new("bench-host");
    let rows = phases.into_iter().filter_map(|(word, ms)| Row::of(word, "phase", Unit::Ms, ms));
    measured.rows.extend(rows);
    let first = wall.first().copied().unwrap_or_default();
    measured.rows.extend(Row::of(host.name.as_str(), "wall", Unit::Ms, wall));
    measured.notes.push(format!(
        "Dry runs of `deploy {}`: {runs}, one after the other; the first, which may have to open \
         the connection that the others use, took {:.2} s. Phases run side by side. With \
         --no-cache each evaluates anew.",
        host.name,
        first / 1000.0
    ));
    finish(global, &measured, look)
}

const PHASES: [Phase; 5] =
    [Phase::Facts, Phase::Validate, Phase::Evaluate, Phase::Build, Phase::Admit];

/// One dry run by a program of its own, with state of its own; its milliseconds and its document.
async fn dry_run(
    world: &World,
    global: &Global,
    fleet: &Fleet,
    host: &Host,
    apart: &Path,
) -> Result<(u64, serde_json::Value), Error> {
    let failed = |why: String| {
        Error::new(Exit::Internal, "a dry run did not come to its end")
            .because(harmless::line(&why))
            .hint(format!("nixdeploy deploy {} --dry-run", host.name))
    };
    let program = environment::program().map_err(|e| failed(e.to_string()))?;
    let mut words = vec!["deploy", host.name.as_str(), "--dry-run", "--json", "-q", "--no-input"];
    let (inventory, flake) =
        (fleet.source.display().to_string(), inventory::flake(&world.environment, global, fleet));
    words.extend(["--inventory", &inventory, "--flake", &flake]);
    let password = global.sudo_password_file.as_ref().map(|file| file.display().to_string());
    if let Some(file) = &password {
        words.extend(["--sudo-password-file", file]);
    }
    words.extend(global.no_cache.then_some("--no-cache"));
    let dry = Invocation::new(&program.display().to_string(), words)
        .env("XDG_STATE_HOME", apart.display().to_string())
        .timeout(LIMIT);
    let began = world.clock.monotonic_ms();
    let output = world.run(dry).await.map_err(|e| failed(e.to_string()))?;
    let ms = world.clock.monotonic_ms().saturating_sub(began);
    let document: serde_json::Value =
        serde_json::from_str(&output.out.join("\n")).map_err(|e| failed(e.to_string()))?;
    let told = &document["hosts"][0];
    let exit = match document["exit"].as_u64() {
        Some(0) => return Ok((ms, document)),
        Some(3) => Exit::Blocked,
        Some(4) => Exit::NotBuilt,
        Some(5) => Exit::Refused,
        Some(130) => Exit::Interrupted,
        _ => return Err(failed(output.err_tail(3))),
    };
    let note = harmless::line(told["note"].as_str().unwrap_or_default());
    Err(Error::new(exit, format!("a dry run on {} ended without a time", host.name))
        .because(note)
        .hint(format!("nixdeploy deploy {} --dry-run", host.name)))
}

/// The flake, and the hosts that are meant.
struct Meant<'a> {
    flake: FlakeRef,
    hosts: Vec<&'a Host>,
}

fn meant<'a>(
    world: &World,
    global: &Global,
    fleet: &'a Fleet,
    args: &PerfArgs,
) -> Result<Meant<'a>, Error> {
    let all = ["all".to_owned()];
    let hosts = inventory::hosts(fleet, &all, &args.everyone.exclude, None)?;
    let text = inventory::flake(&world.environment, global, fleet);
    let flake = FlakeRef::parse(&text, &world.environment.folder, &world.environment);
    Ok(Meant { flake: flake.map_err(|e| e.error())?, hosts })
}

fn options(host: &Host) -> Options {
    Options {
        accept_flake_config: host.accept_flake_config,
        no_cache: true,
        keep_going: false,
        cache: None,
        builders: String::new(),
        keep: false,
        lock: None,
    }
}

/// `perf-parallel [RUNS]`: all hosts evaluated by one worker, by two, by four, and so on.
///
/// # Errors
/// When hosts.toml is wrong.
pub(super) async fn perf_parallel(
    world: &World,
    global: &Global,
    args: &PerfArgs,
    look: &Look,
) -> Result<Exit, Error> {
    let fleet = inventory::load(&world.environment, global)?;
    let Meant { flake, hosts } = meant(world, global, &fleet, args)?;
    let (mut measured, mut peak_mib) = (Measured::new("perf-parallel"), 0);
    let runs = args.runs.unwrap_or(TRIED);
    for workers in numbers(hosts.len(), memory::cores()) {
        let free = memory::available_mib().unwrap_or(u64::MAX);
        if (workers as u64).saturating_mul(peak_mib) > free {
            let told = format!("{workers} workers: {peak_mib} MiB each, and {free} MiB are free");
            measured.unmeasured.push(told);
            break;
        }
        let (mut walls, count) = (Vec::new(), count(hosts.len(), "host", "hosts"));
        for run in 1..=runs {
            say(global, &format!("{count}, {workers} at once: {run} of {runs}"));
            let began = world.clock.monotonic_ms();
            let evaluated = hosts.iter().map(|host| async {
                measure::evaluation(world, &flake, &host.attr, &options(host))
                    .await
                    .map_err(|why| format!("{}: {why}", host.name))
            });
            let all = futures_util::stream::iter(evaluated).buffer_unordered(workers);
            let all: Vec<Result<measure::Took, String>> = all.collect().await;
            walls.push(number(world.clock.monotonic_ms().saturating_sub(began)));
            for took in all {
                match took {
                    Ok(took) => peak_mib = peak_mib.max(took.peak_mib),
                    Err(why) => measured.unmeasured.push(why),
                }
            }
        }
        if !measured.unmeasured.is_empty() {
            break;
        }
        let name = if workers == 1 { "1 worker".into() } else { format!("{workers} workers") };
        measured.rows.extend(Row::of(&name, "wall", Unit::Ms, walls));
    }
    speedups(&mut measured, hosts.len());
    finish(global, &measured, look)
}

/// 1, 2, 4, ... and the numbers at which it must end: of the hosts, or of the processors twice.
fn numbers(hosts: usize, cores: usize) -> Vec<usize> {
    let most = hosts.min(cores * 2).max(1);
    let mut numbers: Vec<usize> =
        std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < most).collect();
    numbers.extend((cores < most).then_some(cores));
    numbers.push(most);
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Against the first row; and from which number on more of them gain nothing.
fn speedups(measured: &mut Measured, hosts: usize) {
    let Some(first) = measured.rows.first().map(|r| r.median) else { return };
    for row in &mut measured.rows {
        row.speedup = Some(first / row.median.max(1.0));
    }
    let best = measured.rows.iter().map(|r| r.median).fold(f64::INFINITY, f64::min);
    let enough = measured.rows.iter().find(|r| r.median <= best * (1.0 + AS_GOOD));
    if let Some(row) = enough {
        let last = measured.rows.last().is_some_and(|last| last.name == row.name);
        let told = match (last, measured.rows.len()) {
            (true, 1) => format!("{} is all that was tried.", row.name),
            // Nobody has looked at what more of them would bring.
            (true, _) => format!("{} is the most that was tried, still gaining.", row.name),
            (false, _) => format!("{} is where it stops: more gain less than 5 %.", row.name),
        };
        measured.notes.push(format!(
            "{told} {}, {}; each evaluation anew, without caches. A deploy \
             evaluates at most one host per processor, as far as memory goes.",
            count(hosts, "host", "hosts"),
            count(memory::cores(), "processor", "processors"),
        ));
    }
}

/// `perf-memory [RUNS]`: the peak of the evaluation and of the build of each host, one at a time.
///
/// # Errors
/// When hosts.toml is wrong.
pub(super) async fn perf_memory(
    world: &World,
    global: &Global,
    args: &PerfArgs,
    look: &Look,
) -> Result<Exit, Error> {
    let fleet = inventory::load(&world.environment, global)?;
    let Meant { flake, hosts } = meant(world, global, &fleet, args)?;
    let mut measured = Measured::new("perf-memory");
    for host in hosts {
        let (mut evaluations, mut builds) = (Vec::new(), Vec::new());
        for run in 0..args.runs.unwrap_or(1) {
            say(global, &format!("{}: evaluation and build, {}", host.name, run + 1));
            let took = measure::evaluation(world, &flake, &host.attr, &options(host)).await;
            let built = match took {
                Ok(took) => {
                    evaluations.push(number(took.peak_mib << 20));
                    measure::build(world, &took.path).await
                }
                Err(why) => Err(why),
            };
            match built {
                Ok(took) => builds.push(number(took.peak_mib << 20)),
                Err(why) => {
                    measured.unmeasured.push(format!("{}: {why}", host.name));
                    break;
                }
            }
        }
        let name = host.name.as_str();
        measured.rows.extend(Row::of(name, "evaluation", Unit::Bytes, evaluations));
        measured.rows.extend(Row::of(name, "build", Unit::Bytes, builds));
    }
    measured.notes.push(
        "The largest resident set of the program that evaluates or builds, looked at every 5 to \
         200 ms. Where a daemon builds, the builders are its own and are not in it; what was built \
         already is not built again."
            .to_owned(),
    );
    finish(global, &measured, look)
}

#[cfg(test)]
mod tests {
    use super::{numbers, speedups};
    use crate::report::measured::{Measured, Row, Unit};

    #[test]
    fn where_it_stops_is_said_where_more_were_tried() {
        let told = |medians: &[f64]| {
            let mut measured = Measured::new("perf-parallel");
            for (n, ms) in medians.iter().enumerate() {
                measured.rows.extend(Row::of(&format!("{n} w"), "wall", Unit::Ms, vec![*ms]));
            }
            speedups(&mut measured, 4);
            measured.notes.remove(0)
        };
        assert!(told(&[1000.0, 900.0, 700.0]).starts_with("2 w is the most that was tried, still"));
        assert!(told(&[1000.0, 700.0, 690.0]).starts_with("1 w is where it stops"));
        assert!(told(&[1000.0]).starts_with("0 w is all that was tried."));
    }

    #[test]
    fn as_many_are_tried_as_can_help() {
        assert_eq!(numbers(1, 8), [1]);
        assert_eq!(numbers(5, 4), [1, 2, 4, 5]);
        assert_eq!(numbers(100, 6), [1, 2, 4, 6, 8, 12]);
        assert_eq!(numbers(0, 2), [1]);
    }
}
