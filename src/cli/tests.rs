//! What is understood, what is refused, and the grammar of the help.

use super::*;
use crate::fleet::Mode;
use crate::fleet::names::RESERVED;

fn parsed(words: &str) -> Result<Cli, clap::Error> {
    let argv = std::iter::once("nixdeploy").chain(words.split_whitespace());
    parse(argv.map(OsString::from))
}

#[test]
fn clap_finds_no_fault_with_the_types() {
    Cli::command().debug_assert();
}

#[test]
fn no_host_can_carry_a_commands_name() {
    for name in command_names() {
        assert!(RESERVED.contains(&name.as_str()), "{name} is missing from RESERVED");
    }
    assert!(RESERVED.is_sorted());
}

#[test]
fn a_host_alone_is_deployed() {
    let cli = parsed("--json p620 razer --dry-run -v").expect("hosts");
    assert_eq!(cli.bare.as_deref(), Some("p620"));
    assert!(cli.global.json && cli.global.verbose == 1);
    let Command::Deploy(args) = cli.command else { panic!("{:?}", cli.command) };
    assert_eq!(args.selection.hosts, ["p620", "razer"]);
    assert!(args.flags.dry_run);
    assert_eq!(parsed("deploy p620").expect("deploy").bare, None);
}

#[test]
fn a_misspelt_command_with_its_own_flags_is_no_host() {
    let error = parsed("histroy --limit 3").expect_err("no such flag of deploy");
    assert_eq!(error.kind(), ErrorKind::InvalidSubcommand);
    assert!(error.to_string().contains("history"), "{error}");
    let error = parsed("p620 --limit 3").expect_err("no such flag of deploy");
    assert_eq!(error.kind(), ErrorKind::UnknownArgument);
}

#[test]
fn flags_arrive_where_they_are_read() {
    let cli = parsed(
        "deploy-via p620 razer samsung --mode fast --build-on target --cached --boot \
         --accept-drift --issue 7 --exclude samsung,p510 --no-cache --yes --no-input -qq \
         --inventory x.toml --flake . --color never --format jsonl",
    )
    .expect("all flags");
    let global = &cli.global;
    assert_eq!(global.format(), Format::Jsonl);
    assert_eq!((global.quiet, global.color), (2, Color::Never));
    assert!(global.no_cache && global.yes && global.no_input);
    assert_eq!(global.flake.as_deref(), Some("."));
    let Command::DeployVia(args) = cli.command else { panic!("{:?}", cli.command) };
    assert_eq!(args.builder, "p620");
    assert_eq!(args.selection.exclude, ["samsung", "p510"]);
    assert_eq!((args.flags.mode, args.flags.issue), (Some(Mode::Fast), Some(7)));
    assert!(args.flags.cached && args.flags.boot && args.flags.accept_drift);
    assert_eq!(parsed("status --json").expect("json").global.format(), Format::Json);
}

#[test]
fn what_contradicts_itself_is_refused() {
    for words in [
        "status --json --format human",
        "deploy",
        "deploy p620 --detailed-exitcode",
        "deploy p620 --boot --dry-run",
        "deploy p620 --mode emergency",
        "rollback p620 --to first",
        "status -q -v",
        "",
    ] {
        let error = parsed(words).expect_err(words);
        assert_eq!(error.exit_code(), 2, "{words}");
    }
}

/// Help has a grammar; see `tests` of the README.
#[test]
fn help_keeps_its_grammar() {
    let mut top = Cli::command();
    top.build();
    for command in top.get_subcommands_mut() {
        let name = command.get_name().to_owned();
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(about.starts_with(char::is_uppercase) && !about.ends_with('.'), "{name}");
        let long = command.render_long_help().to_string();
        assert!(name == "help" || long.starts_with("Example"), "{name}: {long}");
        assert!(long.lines().all(|l| l.chars().count() <= 80), "{name}: {long}");
        assert!(command.render_help().to_string().len() <= long.len());
    }
    let long = top.render_long_help().to_string();
    assert!(long.starts_with("Examples:"), "{long}");
    let last = long.trim_end().lines().last().unwrap_or_default();
    assert!(last.trim_start().starts_with("130"), "{last}");
    assert!(long.lines().all(|l| l.chars().count() <= 80), "{long}");
}
