//! No flag without a test that shows what it does.

use clap::CommandFactory as _;
use nixdeploy::cli::Cli;

/// Every flag, and where its effect is shown.
const SHOWN: &[(&str, &str)] = &[
    ("confirm", "an_emergency_wants_the_hosts_name_once_more"),
    ("wait", "a_host_that_sleeps_is_waited_for_and_what_it_is_to_run_is_built"),
    ("parallel", "hosts_are_worked_on_one_at_a_time_or_side_by_side"),
    ("inventory", "where_hosts_and_flake_are_read"),
    ("flake", "where_hosts_and_flake_are_read"),
    ("json", "results_come_in_the_form_that_was_asked_for"),
    ("format", "results_come_in_the_form_that_was_asked_for"),
    ("color", "colours_come_when_they_are_wanted"),
    ("quiet", "less_and_more_is_said"),
    ("verbose", "less_and_more_is_said"),
    ("no-input", "a_person_is_asked_once_and_can_say_no"),
    ("yes", "a_person_is_asked_once_and_can_say_no"),
    ("no-cache", "nix_is_told_of_caches"),
    ("mode", "the_mode_decides_what_is_checked"),
    ("build-on", "closures_are_built_where_it_is_said"),
    ("cached", "nix_is_told_of_caches"),
    ("boot", "boot_changes_the_next_boot_alone_and_drift_must_be_accepted"),
    ("dry-run", "a_dry_run_changes_nothing_and_tells_by_its_code"),
    ("accept-drift", "boot_changes_the_next_boot_alone_and_drift_must_be_accepted"),
    ("trial-boot", "a_trial_boot_is_planned"),
    ("issue", "issue_and_message_are_in_the_report"),
    ("message", "issue_and_message_are_in_the_report"),
    ("detailed-exitcode", "a_dry_run_changes_nothing_and_tells_by_its_code"),
    ("exclude", "hosts_are_left_out"),
    ("max-parallel", "the_pace_of_a_fleet_is_what_is_typed"),
    ("max-unavailable", "the_pace_of_a_fleet_is_what_is_typed"),
    ("canary", "the_pace_of_a_fleet_is_what_is_typed"),
    ("limit", "history_is_cut_and_filtered"),
    ("run", "history_is_cut_and_filtered"),
    ("to", "a_generation_is_gone_back_to"),
    ("with-lock", "a_generation_is_gone_back_to"),
    ("force", "an_inventory_is_replaced_only_when_forced"),
    ("staged", "a_check_looks_at_what_is_meant"),
    ("since", "a_check_looks_at_what_is_meant"),
    ("all", "a_check_tells_as_much_as_is_wanted"),
    ("compact", "a_check_tells_as_much_as_is_wanted"),
    ("deny", "a_check_tells_as_much_as_is_wanted"),
    ("list-rules", "a_check_tells_as_much_as_is_wanted"),
    ("explain", "a_check_tells_as_much_as_is_wanted"),
    ("nix", "a_check_writes_and_asks_only_when_told"),
    ("fix", "a_check_writes_and_asks_only_when_told"),
    ("write-baseline", "a_check_writes_and_asks_only_when_told"),
    ("engine", "the_engine_that_switches_is_chosen"),
    ("inventory-file", "packages_of_a_file_are_held_against_issues"),
    ("except", "only_inputs_that_there_are_are_asked_for"),
    ("build", "an_update_waits_for_its_gate_and_its_lock_is_what_runs"),
    ("input", "an_update_waits_for_its_gate_and_its_lock_is_what_runs"),
    ("host", "only_the_hosts_that_are_meant_are_built_and_with_the_candidate"),
    ("allow-dirty-lock", "work_that_is_not_committed_is_not_taken_for_an_accident"),
    ("max-risk", "an_update_waits_for_its_gate_and_its_lock_is_what_runs"),
    ("accept-issue", "an_update_waits_for_its_gate_and_its_lock_is_what_runs"),
    ("issues", "an_update_waits_for_its_gate_and_its_lock_is_what_runs"),
    ("no-deploy", "an_update_waits_for_its_gate_and_its_lock_is_what_runs"),
    ("hold", "a_package_is_held_by_a_patch_that_applies"),
    ("skip-blocked", "nixpkgs_is_left_out_only_when_that_was_typed"),
    ("commit", "a_lock_is_committed_alone_or_by_a_pull_request_that_tells_the_truth"),
    ("pr", "a_lock_is_committed_alone_or_by_a_pull_request_that_tells_the_truth"),
    ("no-issue-check", "what_fails_leaves_the_users_own_lock"),
    ("outcome", "runs_are_found_by_host_outcome_and_time"),
    ("trend", "what_was_slower_than_usual_is_told_from_its_own_past"),
    ("from-justfile", "every_recipe_is_told_what_takes_it_over"),
    ("test", "hosts_are_built_after_a_check_that_blocks_nothing"),
    ("once", "a_save_is_checked_however_it_is_done"),
    ("sudo-password-file", "a_password_for_sudo_is_read_when_it_is_wanted"),
];

#[test]
fn no_flag_is_without_a_test() {
    let tests = [include_str!("../flags.rs"), include_str!("../check_flags.rs")];
    let more = [include_str!("../presets.rs"), include_str!("../issues.rs")];
    let updates = [include_str!("../update.rs"), include_str!("../lab_update.rs")];
    let smart = [include_str!("../lab_update_smart.rs"), include_str!("../lab_update_git.rs")];
    let kept = [include_str!("../history.rs")];
    let everyday = [include_str!("../moving.rs"), include_str!("../watch.rs")];
    let command = Cli::command();
    let mut all = vec![&command];
    let mut at = 0;
    while let Some(command) = all.get(at) {
        all.extend(command.get_subcommands());
        at += 1;
    }
    let all = all.into_iter().flat_map(clap::Command::get_arguments);
    for flag in all.filter_map(|a| a.get_long()).filter(|f| *f != "help" && *f != "version") {
        let shown = SHOWN.iter().find(|(name, _)| *name == flag);
        let (_, test) = shown.unwrap_or_else(|| panic!("--{flag} has no test"));
        assert!(
            [tests, more, updates, smart, everyday]
                .iter()
                .flatten()
                .chain(&kept)
                .any(|t| t.contains(&format!("fn {test}()"))),
            "{test}"
        );
    }
}
