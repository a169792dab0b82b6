//! The scenario files of the repository, and a table of files that cannot be followed.

use std::path::{Path, PathBuf};

use super::*;

/// A file with something of everything; each bad one below differs from it in one place.
const GOOD: &str = r#"about = "C holds a payment, and claims it."

[nodes]
A = { chain = "electrs" }
B = { kind = "stock", funds_sat = 2_000_000 }
C = {}

[[channels]]
between = ["B", "A"]
capacity_sat = 1_000_000
push_msat = 500_000_000

[[channels]]
between = ["B", "C"]
capacity_sat = 500_000

[[act]]
do = "pay"
label = "paid"
id = "p"
from = "A"
to = "C"
amount_msat = 50_000_001
hold = true
paths = [["A-B", "B-C"], ["A-B", "B-C"]]

[[act]]
do = "await"
payment = "p"
until = "claimable"

[[act]]
do = "claim"
payment = "p"

[[act]]
do = "force_close"
channel = "B-C"
by = "C"

[[act]]
do = "mine"
blocks = 6

[expect]
closed = ["B-C"]
payments = { p = "sent" }

[[case]]
name = "held"
verdict = "fail"
finding = "unexpected-close"
faults = [{ at = "B:persist.manager.before@1", action = "hold", until = { step = "paid" } }]
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn good() -> Scenario {
    parse(GOOD, "good.toml", "good").unwrap()
}

fn change(old: &str, new: &str) -> String {
    assert_eq!(GOOD.matches(old).count(), 1, "{old:?} is not there once");
    GOOD.replace(old, new)
}

/// The errors of a file, one a line.
fn errors_of(text: &str) -> String {
    match parse(text, "bad.toml", "bad") {
        Ok(_) => "none".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn every_scenario_file_of_the_repository_loads() {
    let entries = library(&root()).unwrap();
    for entry in &entries {
        let scenario =
            load(&entry.path, &root()).unwrap_or_else(|errors| panic!("{}\n{errors}", entry.name));
        assert_eq!(scenario.name, entry.name);
        // That one is about dust, and its note says so.
        let expected = usize::from(entry.name == "close-race/dust");
        assert_eq!(scenario.notes().len(), expected, "{}", entry.name);
    }
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    for name in [
        "direct",
        "forward",
        "mpp",
        "fail-back",
        "claim-onchain",
        "timeout-onchain",
        "regression/ldk-4286",
    ] {
        assert!(names.contains(&name), "{name} is missing from {names:?}");
    }
}

#[test]
fn a_scenario_survives_json_unchanged() {
    let mut all = vec![good()];
    for entry in library(&root()).unwrap() {
        all.push(load(&entry.path, &root()).unwrap());
    }
    for scenario in all {
        let json = serde_json::to_string(&scenario).unwrap();
        let back: Scenario = serde_json::from_str(&json).unwrap();
        assert_eq!(back, scenario);
        assert_eq!(serde_json::to_string(&back).unwrap(), json);
    }
}

#[test]
fn defaults_are_written_out() {
    let scenario = good();
    assert_eq!(scenario.nodes["A"].kind, DEFAULT_KIND);
    assert_eq!(scenario.nodes["A"].chain, ChainKind::Electrs);
    assert_eq!(scenario.nodes["A"].funds_sat, 1_000_000);
    assert_eq!(scenario.nodes["B"].funds_sat, 2_000_000);
    assert_eq!(scenario.channels[0].label, "A-B");
    assert_eq!(scenario.channels[0].opener, "B");
    assert_eq!(scenario.channels[1].push_msat, 0);
    let labels: Vec<_> = scenario
        .act
        .iter()
        .map(|step| step.label.as_str())
        .collect();
    assert_eq!(labels, ["paid", "step-2", "step-3", "step-4", "step-5"]);
    let StepKind::Pay(payment) = &scenario.act[0].kind else {
        panic!("the first step pays")
    };
    assert_eq!(payment.parts_msat, [25_000_001, 25_000_000]);
}

#[test]
fn a_path_may_be_written_in_names_or_left_out_between_neighbours() {
    let hops = "paths = [[\"A-B\", \"B-C\"], [\"A-B\", \"B-C\"]]";
    let by_names = change(hops, "via = [[\"A\", \"B\", \"C\"]]");
    let scenario = parse(&by_names, "names.toml", "names").unwrap();
    let StepKind::Pay(payment) = &scenario.act[0].kind else {
        panic!("the first step pays")
    };
    assert_eq!(payment.paths, [["A-B", "B-C"]]);

    let direct = by_names
        .replace("via = [[\"A\", \"B\", \"C\"]]\n", "")
        .replace("to = \"C\"", "to = \"B\"");
    let scenario = parse(&direct, "direct.toml", "direct").unwrap();
    let StepKind::Pay(payment) = &scenario.act[0].kind else {
        panic!("the first step pays")
    };
    assert_eq!(payment.paths, [["A-B"]]);
    assert_eq!(payment.parts_msat, [50_000_001]);
}

#[test]
fn a_second_channel_between_the_same_two_is_labelled_so() {
    let twice = change("between = [\"B\", \"C\"]", "between = [\"A\", \"B\"]")
        .replace(
            "[[\"A-B\", \"B-C\"], [\"A-B\", \"B-C\"]]",
            "[[\"A-B\"], [\"A-B.2\"]]",
        )
        .replace("to = \"C\"", "to = \"B\"")
        .replace("\"B-C\"", "\"A-B.2\"")
        .replace("by = \"C\"", "by = \"A\"");
    let scenario = parse(&twice, "twice.toml", "twice").unwrap();
    assert_eq!(scenario.channels[1].label, "A-B.2");
    let StepKind::Pay(payment) = &scenario.act[0].kind else {
        panic!("the first step pays")
    };
    assert_eq!(payment.paths, [["A-B"], ["A-B.2"]]);
}

#[test]
fn a_race_closes_channels_of_its_node_that_nothing_else_closes() {
    let race = "\n[[race]]\nat = \"B\"\nfrom = \"paid\"\nclose = [[\"A-B\"]]\n";
    let text = format!("{GOOD}{race}");
    let scenario = parse(&text, "race.toml", "race").unwrap();
    assert_eq!(scenario.races[0].close, [["A-B"]]);
    for (old, new, words) in [
        ("at = \"B\"", "at = \"C\"", "C is not in `A-B`"),
        ("from = \"paid\"", "from = \"piad\"", "did you mean `paid`"),
        ("[[\"A-B\"]]\n", "[[\"B-C\"]]\n", "`B-C` is closed anyway"),
        ("[[\"A-B\"]]\n", "[[]]\n", "name the channels"),
        (
            "[[\"A-B\"]]\n",
            "[[\"A-B\", \"A-B\"]]\n",
            "is in this group already",
        ),
    ] {
        let bad = format!("{GOOD}{}", race.replace(old, new));
        let errors = errors_of(&bad);
        assert!(errors.contains(words), "{new}: {errors}");
    }
}

/// What is changed, into what, where the first error is, and what it says.
const BAD: &[(&str, &str, &str, &str)] = &[
    // Form.
    ("[nodes]", "[nodes", "3:7", "this is not TOML"),
    (
        "capacity_sat = 1_000_000",
        "capcity_sat = 1_000_000",
        "8:1",
        "a channel needs `capacity_sat`",
    ),
    (
        "push_msat",
        "push_mast",
        "11:1",
        "`push_mast` is no key of a channel; did you mean `push_msat`?",
    ),
    ("about =", "abuot =", "1:1", "needs `about`"),
    (
        "\"C holds a payment, and claims it.\"",
        "\" \"",
        "1:9",
        "say in a sentence",
    ),
    (
        "funds_sat = 2_000_000",
        "funds_sat = \"much\"",
        "5:35",
        "`funds_sat`: invalid type: string",
    ),
    (
        "\"electrs\"",
        "\"elektrs\"",
        "4:15",
        "unknown variant `elektrs`, expected `bitcoind` or `electrs`",
    ),
    (
        "500_000\n",
        "-500_000\n",
        "15:16",
        "invalid value: integer `-500000`",
    ),
    (
        "do = \"mine\"",
        "do = \"mien\"",
        "42:6",
        "no step does `mien`; did you mean `mine`?",
    ),
    (
        "by = \"C\"",
        "by = \"C\"\nblocks = 1",
        "40:1",
        "`blocks` is no key of a `force_close` step",
    ),
    (
        "between = [\"B\", \"C\"]",
        "between = [\"B\"]",
        "14:11",
        "`between` takes two nodes",
    ),
    ("C = {}", "C = 3", "6:5", "a node is a table, not integer"),
    (
        "action = \"hold\"",
        "action = \"hodl\"",
        "53:57",
        "no fault does `hodl`; did you mean `hold`?",
    ),
    // Names.
    (
        "C = {}",
        "C = {}\ncarol = {}",
        "7:1",
        "\"carol\" cannot name a node",
    ),
    (
        "between = [\"B\", \"C\"]",
        "between = [\"B\", \"D\"]",
        "14:17",
        "no node `D` in [nodes]; there are: A, B, C",
    ),
    (
        "between = [\"B\", \"C\"]",
        "between = [\"B\", \"B\"]",
        "14:17",
        "not from B to B",
    ),
    ("from = \"A\"", "from = \"X\"", "21:8", "no node `X`"),
    ("to = \"C\"", "to = \"A\"", "22:6", "A cannot pay itself"),
    ("id = \"p\"", "id = \"live-p\"", "20:6", "belong to the rig"),
    (
        "label = \"paid\"",
        "label = \"step-2\"",
        "28:6",
        "labelled `step-2` already",
    ),
    (
        "channel = \"B-C\"",
        "channel = \"C-B\"",
        "38:11",
        "no channel `C-B`; there are: A-B, B-C",
    ),
    (
        "by = \"C\"",
        "by = \"A\"",
        "39:6",
        "A is not in `B-C`: it is closed by B or C",
    ),
    // Amounts.
    (
        "amount_msat = 50_000_001",
        "amount_msat = 0",
        "23:15",
        "`amount_msat` is 1 or more",
    ),
    (
        "amount_msat = 50_000_001",
        "amount_msat = 1",
        "23:15",
        "1 msat cannot be shared among 2 paths",
    ),
    (
        "amount_msat = 50_000_001",
        "amount_msat = 490_000_001",
        "23:15",
        "A can send 490000000 msat over `A-B`",
    ),
    (
        "capacity_sat = 500_000",
        "capacity_sat = 19_999",
        "15:16",
        "from 20000 to 16777215 sat, not 19999",
    ),
    (
        "capacity_sat = 500_000",
        "capacity_sat = 16_777_216",
        "15:16",
        "not 16777216",
    ),
    (
        "push_msat = 500_000_000",
        "push_msat = 1_000_000_000",
        "11:13",
        "`push_msat` is at most 995000000",
    ),
    (
        "funds_sat = 2_000_000",
        "funds_sat = 1_699_999",
        "5:35",
        "set `funds_sat` to 1700000 or more",
    ),
    (
        "hold = true",
        "parts_msat = [1, 2]\nhold = true",
        "24:14",
        "the parts add up to 3 msat, `amount_msat` is 50000001",
    ),
    (
        "hold = true",
        "parts_msat = [50_000_001]\nhold = true",
        "24:14",
        "there are 1 parts and 2 paths",
    ),
    (
        "hold = true",
        "parts_msat = [0, 50_000_001]\nhold = true",
        "24:15",
        "a part is 1 msat or more",
    ),
    (
        "blocks = 6",
        "blocks = 0",
        "43:10",
        "`blocks` is from 1 to 1000",
    ),
    // Paths.
    (
        "[\"A-B\", \"B-C\"], ",
        "[\"A-B\", \"B-D\"], ",
        "25:18",
        "no channel `B-D`",
    ),
    (
        "[\"A-B\", \"B-C\"], ",
        "[\"B-C\"], ",
        "25:11",
        "`B-C` does not lead on from A",
    ),
    (
        "[\"A-B\", \"B-C\"], ",
        "[\"A-B\"], ",
        "25:10",
        "leads from A to B, the payment from A to C",
    ),
    (
        "[\"A-B\", \"B-C\"], ",
        "[\"A-B\", \"A-B\", \"A-B\", \"B-C\"], ",
        "25:10",
        "comes to A twice",
    ),
    (
        "hold = true",
        "route = \"gossip\"",
        "25:9",
        "one of `via`, `paths` and `route`",
    ),
    (
        "paths = [[\"A-B\", \"B-C\"], [\"A-B\", \"B-C\"]]",
        "route = \"gossip\"",
        "25:9",
        "set `announce = true`",
    ),
    (
        "paths = [[\"A-B\", \"B-C\"], [\"A-B\", \"B-C\"]]",
        "",
        "22:6",
        "A and C share no channel",
    ),
    (
        "paths = [[\"A-B\", \"B-C\"], [\"A-B\", \"B-C\"]]",
        "via = [[\"A\", \"C\"]]",
        "25:14",
        "A and C share no channel",
    ),
    (
        "paths = [[\"A-B\", \"B-C\"], [\"A-B\", \"B-C\"]]",
        "via = [[\"A\", \"Q\", \"C\"]]",
        "25:14",
        "no node `Q`",
    ),
    // Payments along the steps.
    (
        "payment = \"p\"\nuntil",
        "payment = \"q\"\nuntil",
        "29:11",
        "no step pays `q`",
    ),
    ("hold = true\n", "", "33:11", "`p` is not held"),
    (
        "until = \"claimable\"",
        "until = \"failed\"",
        "30:9",
        "says that `p` is sent",
    ),
    (
        "until = \"claimable\"",
        "until = \"sent\"",
        "30:9",
        "put a `claim` step before it",
    ),
    (
        "do = \"claim\"",
        "do = \"fail\"",
        "34:11",
        "it cannot be failed",
    ),
    (
        "do = \"claim\"",
        "do = \"quiet\"",
        "20:6",
        "`p` is held and never claimed",
    ),
    // Outcome and cases.
    (
        "closed = [\"B-C\"]",
        "closed = [\"B-C\", \"A-C\"]",
        "46:18",
        "no channel `A-C`",
    ),
    (
        "closed = [\"B-C\"]",
        "closed = []",
        "38:11",
        "add \"B-C\" to `closed`",
    ),
    ("{ p = \"sent\" }", "{}", "20:6", "say what comes of it"),
    (
        "{ p = \"sent\" }",
        "{ p = \"sent\", q = \"sent\" }",
        "47:26",
        "no step pays `q`",
    ),
    (
        "{ p = \"sent\" }",
        "{ p = \"lost\" }",
        "47:18",
        "unknown variant `lost`",
    ),
    ("B:persist", "D:persist", "53:18", "no node `D`"),
    (
        "B:persist.manager.before",
        "B:persist.manger.before",
        "53:18",
        "no such point \"persist.manger.before\"",
    ),
    (
        "B:persist.manager.before@1",
        "persist.manager.before@1",
        "53:18",
        "names no node",
    ),
    (
        "step = \"paid\"",
        "step = \"piad\"",
        "53:57",
        "no step is labelled `piad`; did you mean `paid`?",
    ),
    (
        "verdict = \"fail\"",
        "verdict = \"pass\"",
        "52:11",
        "only a case that must `fail` has a `finding`",
    ),
    (
        "verdict = \"fail\"",
        "verdict = \"not_run\"",
        "51:11",
        "as `pass` or `fail`",
    ),
];

#[test]
fn every_bad_file_is_refused_at_its_line_and_column_with_what_to_do() {
    let mut wrong = Vec::new();
    for (old, new, place, fragment) in BAD {
        let errors = errors_of(&change(old, new));
        let first = errors.lines().next().unwrap_or_default();
        if !(first.starts_with(&format!("bad.toml:{place}: ")) && first.contains(fragment)) {
            wrong.push(format!(
                "{new:?} should give {place} {fragment:?}, gives:\n{errors}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn all_errors_are_told_at_once_and_none_that_only_follows_from_another() {
    let text = change("500_000\n", "1\n")
        .replace("push_msat", "push_mast")
        .replace("by = \"C\"", "by = \"A\"")
        .replace("blocks = 6", "blocks = 0");
    let errors = parse(&text, "bad.toml", "bad").unwrap_err();
    let places: Vec<_> = errors
        .0
        .iter()
        .map(|error| error.place.unwrap().line)
        .collect();
    // Without its push A has nothing to send; the channel of one satoshi is not complained of twice.
    assert_eq!(places, [11, 15, 23, 39, 43], "{errors}");
    assert!(
        errors
            .to_string()
            .ends_with("5 errors; nothing was started")
    );
}

#[test]
fn a_further_payment_is_measured_against_what_the_steps_before_it_left() {
    let again = |amount_msat: u64, from: &str, to: &str| {
        let step = format!(
            "[[act]]\ndo = \"pay\"\nid = \"q\"\nfrom = \"{from}\"\nto = \"{to}\"\n\
             amount_msat = {amount_msat}\n\n[expect]"
        );
        let text = change("[expect]", &step);
        errors_of(&text.replace("{ p = \"sent\" }", "{ p = \"sent\", q = \"sent\" }"))
    };
    assert!(again(1_000, "B", "C").contains("step 4 has closed `B-C`"));
    // A had 490,000,000 msat to send and has paid 50,000,001 of them.
    assert_eq!(again(439_999_999, "A", "B"), "none");
    assert!(again(440_000_000, "A", "B").contains("A can send 439999999 msat"));
    assert_eq!(again(500_000_000, "B", "A"), "none");
    let twice = "[[act]]\ndo = \"pay\"\nid = \"p\"\nfrom = \"A\"\nto = \"B\"\namount_msat = 1000\n\n[expect]";
    let errors = errors_of(&change("[expect]", twice));
    assert!(
        errors.starts_with("bad.toml:47:6: a payment is called `p` already"),
        "{errors}"
    );
}

#[test]
fn dust_is_noted_and_not_refused() {
    let text = change("amount_msat = 50_000_001", "amount_msat = 600_000");
    let notes = parse(&text, "dust.toml", "dust").unwrap().notes();
    assert_eq!(notes.len(), 2);
    assert!(notes[0].contains("a part of 300000 msat is dust"));
}

#[test]
fn a_file_that_is_not_there_or_not_known_says_what_there_is() {
    let missing = load(Path::new("nowhere.toml"), &root()).unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("nowhere.toml: cannot be read")
    );
    assert_eq!(find(&root(), "forward").unwrap().name, "forward");
    let unknown = find(&root(), "foward").unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "no scenario `foward`; did you mean `forward`?"
    );
}

#[test]
fn kinds_of_the_command_line_go_before_those_of_the_file() {
    let kinds = |words: &[&str]| -> Vec<Override<NodeKind>> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    };
    let kinds_of = |scenario: &Scenario| -> Vec<NodeKind> {
        scenario.nodes.values().map(|node| node.kind).collect()
    };
    let mut scenario = good();
    scenario.set(&kinds(&[])).unwrap();
    assert_eq!(
        kinds_of(&scenario),
        [NodeKind::Unified, NodeKind::Stock, NodeKind::Unified]
    );
    scenario
        .set(&kinds(&["C=unified", "stock", "A=unified", "A=stock"]))
        .unwrap();
    assert_eq!(
        kinds_of(&scenario),
        [NodeKind::Stock, NodeKind::Stock, NodeKind::Unified]
    );
    let before = scenario.clone();
    let refused = scenario.set(&kinds(&["stock", "D=stock"])).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "--kind D=...: scenario good has no node `D`; there are: A, B, C"
    );
    assert_eq!(scenario, before);
    let unknown = "B=stok".parse::<Override<NodeKind>>().unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "--kind stok: write `stock` or `unified`, or NODE= and one of them for one node"
    );
}

#[test]
fn when_writes_are_done_is_set_by_the_file_and_by_the_command_line() {
    let text = GOOD.replace("funds_sat = 2_000_000", "persist = \"async-seeded\"");
    let mut scenario = parse(&text, "good.toml", "good").unwrap();
    let set = |scenario: &Scenario| -> Vec<Persist> {
        scenario.nodes.values().map(|node| node.persist).collect()
    };
    assert_eq!(
        set(&scenario),
        [Persist::Sync, Persist::AsyncSeeded, Persist::Sync]
    );
    scenario
        .set(&["A=async".parse::<Override<Persist>>().unwrap()])
        .unwrap();
    assert_eq!(
        set(&scenario),
        [Persist::Async, Persist::AsyncSeeded, Persist::Sync]
    );
    assert!("asynchronous".parse::<Override<Persist>>().is_err());
}

/// The file's act in place of [`GOOD`]'s.
fn acting(act: &str, expect: &str) -> String {
    let nodes = GOOD.split("[[act]]").next().unwrap();
    format!("{nodes}{act}\n[expect]\n{expect}\n")
}

const FIVE: &str = r#"
[[act]]
do = "pay"
id = "p"
from = "A"
to = "B"
amount_msat = 1_000_000
count = 5
hold = true

[[act]]
do = "claim"
payment = "p"
label = "claims"

[[act]]
do = "await"
payment = "p-2"
until = "sent"
"#;

#[test]
fn several_payments_at_once_are_named_together_or_one_by_one() {
    let text = acting(FIVE, "payments = { p = \"sent\" }");
    let scenario = parse(&text, "five.toml", "five").unwrap();
    let ids: Vec<&str> = scenario.act[0]
        .payments()
        .iter()
        .map(|payment| payment.id.as_str())
        .collect();
    assert_eq!(ids, ["p-1", "p-2", "p-3", "p-4", "p-5"]);
    let labels: Vec<&str> = scenario
        .act
        .iter()
        .map(|step| step.label.as_str())
        .collect();
    assert_eq!(
        labels,
        [
            "step-1", "claims.1", "claims.2", "claims.3", "claims.4", "claims", "step-3"
        ]
    );
    assert_eq!(scenario.expect.payments.len(), 5);
    assert_eq!(scenario.expect.payments["p-3"], ExpectedPayment::Sent);
}

#[test]
fn what_is_wrong_with_several_payments_is_said_once() {
    for (text, expected) in [
        (
            acting(
                &FIVE.replace("count = 5", "count = 51"),
                "payments = { p = \"sent\" }",
            ),
            "`count` is from 2 to 50",
        ),
        (acting(FIVE, ""), "say what comes of it: `p = \"sent\"`"),
        (
            acting(
                &FIVE.replace("1_000_000", "200_000_000"),
                "payments = { p = \"sent\" }",
            ),
            "A can send 90000000 msat over `A-B` at this step, not 200000000",
        ),
    ] {
        let errors = parse(&text, "five.toml", "five").unwrap_err();
        assert_eq!(errors.0.len(), 1, "{errors}");
        assert!(errors.to_string().contains(expected), "{errors}");
    }
}

#[test]
fn a_channel_that_a_step_opens_cannot_be_used_before() {
    let open = "[[act]]\ndo = \"open\"\nchannel = \"A-B\"\n";
    let pay = "[[act]]\ndo = \"pay\"\nid = \"p\"\nfrom = \"B\"\nto = \"A\"\namount_msat = 1_000\n";
    let expect = "payments = { p = \"sent\" }";
    let scenario = parse(&acting(&format!("{open}{pay}"), expect), "o.toml", "o").unwrap();
    assert!(scenario.is_opened_by_step("A-B"));
    assert!(!scenario.is_opened_by_step("B-C"));
    for (act, expected) in [
        (
            format!("{pay}{open}"),
            "step 2 opens `A-B` only: move this after it",
        ),
        (
            format!("{open}{open}{pay}"),
            "a step before has opened `A-B` already",
        ),
    ] {
        let errors = parse(&acting(&act, expect), "o.toml", "o").unwrap_err();
        assert!(errors.to_string().contains(expected), "{errors}");
    }
}

/// [`GOOD`]'s nodes do this, and nothing has to come of it but that `B-C` closes.
fn errors_of_acting(act: &str) -> String {
    let close = "[[act]]\ndo = \"force_close\"\nchannel = \"B-C\"\nby = \"C\"\n";
    errors_of(&acting(&format!("{act}{close}"), "closed = [\"B-C\"]"))
}

/// A step of this kind with these keys.
fn step(what: &str, keys: &str) -> String {
    format!("[[act]]\ndo = \"{what}\"\n{keys}\n")
}

#[test]
fn steps_that_act_on_the_chain_or_on_a_whole_node_are_refused_where_they_cannot_be_done() {
    let reorg = |blocks: u32| step("reorg", &format!("blocks = {blocks}"));
    let of_node = |what: &str, node: &str| step(what, &format!("node = \"{node}\""));
    let copy =
        |node: &str, name: &str| step("snapshot", &format!("node = \"{node}\"\nname = \"{name}\""));
    let back = |node: &str, name: &str| {
        step(
            "restore",
            &format!("node = \"{node}\"\nsnapshot = \"{name}\""),
        )
    };
    let stop = |node: &str| of_node("stop", node);
    let start = |node: &str| of_node("start", node);
    let good = [
        reorg(1),
        reorg(6),
        copy("A", "old") + &copy("C", "older") + &back("C", "older") + &back("A", "old"),
        stop("A") + &start("A") + &stop("A") + &start("A"),
        of_node("forget", "A") + &of_node("forget", "C"),
    ];
    for act in good {
        assert_eq!(errors_of_acting(&act), "none", "{act}");
    }
    let bad = [
        (reorg(0), "`blocks` is from 1 to 6"),
        (reorg(7), "`blocks` is from 1 to 6"),
        (step("reorg", ""), "needs `blocks`"),
        (copy("D", "old"), "no node `D`"),
        (copy("A", "an old one"), "cannot name a snapshot"),
        (copy("A", "old") + &copy("B", "old"), "called `old` already"),
        (step("snapshot", "node = \"A\""), "needs `name`"),
        (back("A", "old"), "no step before makes a snapshot `old`"),
        (back("A", "old") + &copy("A", "old"), "no step before makes"),
        (
            copy("A", "before") + &back("A", "befor"),
            "did you mean `before`?",
        ),
        (
            copy("A", "old") + &back("C", "old"),
            "snapshot `old` is of A, not of C",
        ),
        (copy("A", "old") + &back("D", "old"), "no node `D`"),
        (stop("D"), "no node `D`"),
        (stop("A") + &stop("A"), "A is stopped already"),
        (start("A"), "no step before has stopped A"),
        (stop("C") + &start("A"), "no step before has stopped A"),
        (start("A") + &stop("A"), "no step before has stopped A"),
        (of_node("forget", "D"), "no node `D`"),
        (of_node("forget", "B"), "B is a stock node"),
        (step("forget", ""), "needs `node`"),
    ];
    for (act, words) in bad {
        let errors = errors_of_acting(&act);
        assert!(errors.contains(words), "{act}: {errors}");
    }
}

#[test]
fn a_node_that_has_to_forget_cannot_be_made_a_stock_node_on_the_command_line() {
    let forget = step("forget", "label = \"lost\"\nnode = \"C\"");
    let mut scenario = parse(&acting(&forget, ""), "forget.toml", "forget").unwrap();
    let before = scenario.clone();
    let kinds = |word: &str| [word.parse::<Override<NodeKind>>().unwrap()];
    for word in ["stock", "C=stock"] {
        let refused = scenario.set(&kinds(word)).unwrap_err().to_string();
        assert!(
            refused.starts_with("scenario forget: step lost has C forget its payments"),
            "{refused}"
        );
        assert_eq!(scenario, before);
    }
    scenario.set(&kinds("A=stock")).unwrap();
}

#[test]
fn only_a_node_of_a_channel_that_closes_can_have_to_bump() {
    let expecting = |bumped: &str| {
        let closed = "closed = [\"B-C\"]";
        errors_of(&change(closed, &format!("{closed}\nbumped = {bumped}")))
    };
    let good = "{ B = [\"anchor\", \"htlc\"], C = [\"balance\"] }";
    assert_eq!(expecting(good), "none");
    for (bumped, complaint) in [
        ("{ A = [\"htlc\"] }", "no channel of A is in `closed`"),
        ("{ D = [\"htlc\"] }", "no node `D`"),
        ("{ B = [] }", "say what B has to bump"),
        ("{ B = [\"all\"] }", "unknown variant `all`"),
    ] {
        let said = expecting(bumped);
        assert!(said.contains(complaint), "{bumped}: {said}");
    }
}

/// The README's example is `forward` but for C's chain; its errors are those of two slips in it.
#[test]
fn the_example_and_the_errors_of_the_readme_are_true() {
    let readme = std::fs::read_to_string(root().join("scenarios/README.md")).unwrap();
    let block = |fence: &str| {
        readme
            .split(fence)
            .nth(1)
            .unwrap()
            .split("```")
            .next()
            .unwrap()
    };
    let example = block("```toml\n");
    parse(example, "scenarios/forward.toml", "forward").unwrap();
    let slips = example
        .replacen(
            "push_msat = 500_000_000\n\n[[act]]",
            "push_mast = 500_000_000\n\n[[act]]",
            1,
        )
        .replace("amount_msat = 50_000_000", "amount_msat = 500_000_000");
    let errors = parse(&slips, "scenarios/forward.toml", "forward").unwrap_err();
    assert_eq!(errors.to_string(), block("```text\n").trim_end());
}

#[test]
fn a_file_cut_anywhere_or_without_any_of_its_lines_is_read_or_refused_without_a_panic() {
    for end in 0..GOOD.len() {
        let _ = errors_of(&GOOD[..end]);
        let _ = errors_of(&GOOD[end..]);
        let _ = errors_of(&format!("{}ö{}", &GOOD[..end], &GOOD[end..]));
    }
    let lines: Vec<_> = GOOD.lines().collect();
    for left_out in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(left_out);
        let _ = errors_of(&fewer.join("\n"));
        let mut more = lines.clone();
        more.insert(left_out, lines[left_out]);
        let _ = errors_of(&more.join("\n"));
    }
}
