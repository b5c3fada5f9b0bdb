//! How much of what a rule is about it finds, and how often it is wrong, in modules that were not
//! written for the rules: each fault and each look-alike in every shape that a module has.

use std::collections::BTreeMap;
use std::path::Path;

use nixdeploy::event::Severity;
use nixdeploy::validate::rules::rule;
use nixdeploy::validate::{Base, Depth, Job, examine_jobs};

/// What a rule must flag and what it must leave alone, as definitions in a module.
#[derive(Default)]
struct Idioms {
    rule: &'static str,
    bad: Vec<String>,
    good: Vec<String>,
}

fn idioms() -> Vec<Idioms> {
    let mut all: Vec<Idioms> = Vec::new();
    for line in include_str!("fixtures/check_idioms.txt").lines() {
        if let Some(rule) = line.strip_prefix("rule ") {
            all.push(Idioms { rule, ..Idioms::default() });
        }
        let Some(last) = all.last_mut() else { continue };
        let body = |text: &str| text.replace("\\n", "\n");
        last.bad.extend(line.strip_prefix("+ ").map(body));
        last.good.extend(line.strip_prefix("- ").map(body));
    }
    assert!(all.len() > 20 && all.iter().all(|i| !i.bad.is_empty() && !i.good.is_empty()));
    all
}

/// Shapes of modules; BODY stands for definitions.
const SHAPES: [&str; 6] = [
    "{ config, lib, pkgs, ... }:\n{\n  BODY\n}\n",
    "{ config, lib, pkgs, ... }:\nlet\n  cfg = config.my.role;\nin\n{\n  options.my.role.enable = \
     lib.mkEnableOption \"role\";\n  config = lib.mkIf cfg.enable {\n    BODY\n  };\n}\n",
    "{ lib, pkgs, config, ... }:\nwith lib;\n{\n  config = mkMerge [\n    { BODY }\n    (mkIf \
     config.services.x.enable { services.nginx.enable = true; })\n  ];\n}\n",
    "{\n  outputs = { self, nixpkgs, ... }: {\n    nixosConfigurations.h = \
     nixpkgs.lib.nixosSystem {\n      modules = [\n        ./disk.nix\n        \
     ({ config, lib, pkgs, ... }: { BODY })\n      ];\n    };\n  };\n}\n",
    "{ config, lib, pkgs, ... }@args:\n{\n  config = {\n    BODY\n  } // lib.optionalAttrs (args ? \
     x) { time.timeZone = \"UTC\"; };\n}\n",
    "{ config, lib, pkgs, ... }:\nlet\n  common = {\n    BODY\n  };\nin\nlib.mkIf \
     config.my.enable common\n",
];

/// `TOKEN` stands for a token that is none of anybody's.
fn text(shape: &str, body: &str) -> String {
    let token = ["gh", "p_16C7e42F292c6912E7710c838347Ae178B4a"].concat();
    shape.replace("BODY", &format!("{}\n", body.replace("TOKEN", &token)))
}

/// Whether a rule says something of each text, in its order.
fn told(rule: &str, bodies: &[String]) -> Vec<(String, bool)> {
    let texts: Vec<String> =
        bodies.iter().flat_map(|b| SHAPES.iter().map(move |s| text(s, b))).collect();
    let job = |(n, text): (usize, &String)| Job {
        path: format!("{n:05}.nix").into(),
        bytes: Some(text.as_bytes().to_vec()),
        base: Base::None,
    };
    let jobs: Vec<Job> = texts.iter().enumerate().map(job).collect();
    let examined = examine_jobs(Path::new("/"), &jobs, Depth { rules: true, drawn: 0, old: true });
    let broken: Vec<_> = examined
        .told()
        .filter(|(_, f)| ["syntax-error", "undefined-variable"].contains(&f.fault.code))
        .map(|(path, f)| format!("{}: {}", path.display(), f.fault.message))
        .collect();
    assert!(broken.is_empty(), "{rule}: {broken:?}");
    let says = |path: &Path| examined.told().any(|(file, f)| file == path && f.fault.code == rule);
    texts.iter().zip(&jobs).map(|(text, job)| (text.clone(), says(&job.path))).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures, for --show-output")]
fn rules_find_what_they_are_about_in_modules_of_any_shape() {
    let mut groups: BTreeMap<bool, [usize; 4]> = BTreeMap::new();
    let mut wrong = Vec::new();
    for idioms in &idioms() {
        let blocks = rule(idioms.rule).expect("a rule").severity == Severity::Block;
        let (bad, good) = (told(idioms.rule, &idioms.bad), told(idioms.rule, &idioms.good));
        let found = bad.iter().filter(|(_, told)| *told).count();
        let false_alarms = good.iter().filter(|(_, told)| *told).count();
        println!(
            "{:28} {found:3} of {:3} found, {false_alarms} of {:3} false",
            idioms.rule,
            bad.len(),
            good.len()
        );
        let missed = bad.into_iter().filter(|(_, told)| !told).map(|(t, _)| ("missed", t));
        let false_ones = good.into_iter().filter(|(_, told)| *told).map(|(t, _)| ("false", t));
        let both = missed.chain(false_ones);
        let sums = groups.entry(blocks).or_default();
        let (all, others) = (idioms.bad.len() * SHAPES.len(), idioms.good.len() * SHAPES.len());
        for (sum, n) in sums.iter_mut().zip([found, all, false_alarms, others]) {
            *sum += n;
        }
        wrong.extend(both.map(|(what, text)| format!("-- {what}: {}\n{text}", idioms.rule)));
    }
    println!("{}", wrong.join("\n"));
    for (blocks, [found, all, false_alarms, others]) in groups {
        println!("blocks {blocks}: {found} of {all} found, {false_alarms} of {others} false");
        let (least, most) = if blocks { (95, 0) } else { (85, 3) };
        assert!(found * 100 >= all * least, "blocks {blocks}: {found} of {all}");
        assert!(false_alarms * 100 <= others * most, "blocks {blocks}: {false_alarms} of {others}");
    }
}
