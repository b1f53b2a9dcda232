//! What a configuration may say, and which changes of it are taken while the gateway runs.

use super::*;

#[expect(unreachable_pub, reason = "for the fuzz targets it is part of a crate")]
#[path = "../../../../../../fuzz/entries/mutate.rs"]
mod mutate;

const LEAST: &str = r#"
model = "m"
weights = "m.gguf"
receipt_key = "gateway.key"
[whitelist]
file = "list"
parties = ["a.pub", "b.pub"]
[log]
folder = "data"
[audit]
rate_ppm = 100000
"#;

/// The least configuration with a line at its top and another at its end.
fn with(top: &str, end: &str) -> anyhow::Result<Config> {
    Config::parse(&format!("{top}\n{LEAST}{end}\n"))
}

fn check_refused(top: &str, end: &str, says: &str) {
    let error = format!("{:#}", with(top, end).expect_err(says));
    assert!(error.contains(says), "{top} {end}: {error}");
}

#[test]
fn what_is_left_out_has_a_default() {
    let config = with("", "").unwrap();
    assert_eq!(config.address.to_string(), "127.0.0.1:8080");
    assert_eq!(config.policy(), AuditPolicy { rate_ppb: PPB / 10, floor_ppb: PPB / 10 });
    assert_eq!(config.timeouts(), Timeouts::default());
    assert_eq!((config.server.command, config.server.load_ms), (None, 300_000));
    assert_eq!((config.limits, config.api_keys), (Rates::default(), None));
    let config = with("", "floor_ppm = 100\n[server]\nload_ms = 5\n[timeouts]\nhead_ms = 7").unwrap();
    assert_eq!((config.policy().floor_ppb, config.server.load_ms), (100_000, 5));
    assert_eq!((config.server.silence_ms, config.timeouts().head.as_millis()), (120_000, 7));
}

#[test]
fn recomputers_have_names_of_their_own_and_shares() {
    let config =
        with("", "[recomputers]\nnames = [\"north\", \"south\"]\nsecond_ppm = 5\ncanary_ppm = 6").unwrap();
    let panel = config.panel([1; 32]);
    assert_eq!((panel.names.len(), panel.second_ppb, panel.canary_ppb), (2, 5000, 6000));
    assert_eq!((panel.lease_ms, panel.jobs_max, panel.slot_ms), (60_000, 1024, 500));
    for names in ["[]", "[\"a\", \"a\"]", "[\"\"]", "[\"a\", \"b\", \"c\", \"d\"]"] {
        check_refused("", &format!("[recomputers]\nnames = {names}"), "recomputers.names");
    }
    check_refused("", "[recomputers]\ncanary_ppm = 1000001", "recomputers");
    check_refused("", "[egress]\nunverified_bytes_max = 0", "unverified_bytes_max");
    let config = with("", "[egress]\ntau_ms = 7").unwrap();
    assert_eq!((config.governor().tau_ms, config.governor().unverified_bytes_max), (7, 64 << 20));
}

#[test]
fn a_models_own_floor_counts_where_it_is_higher() {
    let floor = |end: &str| with("", end).unwrap().policy().floor_ppb;
    assert_eq!(floor("floor_ppm = 1000\nmodel_floors_ppm = { m = 2000, other = 9000 }"), 2_000_000);
    assert_eq!(floor("floor_ppm = 1000\nmodel_floors_ppm = { m = 500 }"), 1_000_000);
    assert_eq!(floor("floor_ppm = 1000\nmodel_floors_ppm = { other = 9000 }"), 1_000_000);
    // Above the rate: even the shortest answers of this model are recomputed more often.
    assert_eq!(floor("model_floors_ppm = { m = 500000 }"), 500_000_000);
}

#[test]
fn the_configuration_in_the_help_is_one_and_has_every_field() {
    let help = super::super::EXAMPLES;
    let start = help.find("  address = ").unwrap();
    let shown = &help[start..help.find("\n\nSIGHUP").unwrap()];
    let parse = |text: &str| Config::parse(text).unwrap_or_else(|error| unreachable!("{error:#}\n{text}"));
    let least = parse(shown);
    let whole = parse(&shown.replace("\n  # ", "\n  "));
    assert_eq!(least.address, with("", "").unwrap().address);
    // What has a default stands there with it.
    assert_eq!((&least.timeouts, &least.capacity), (&whole.timeouts, &whole.capacity));
    assert_eq!(least.policy(), whole.policy());
    assert_eq!(ServerSection { command: None, ..whole.server.clone() }, least.server);
    assert_eq!((least.audit.lease_ms, least.whitelist.lowest_version), (whole.audit.lease_ms, 0));
    // Nothing is missing: a field that the help does not set would be null.
    let all = serde_json::to_string(&whole).unwrap();
    assert!(!all.contains("null"), "{all}");
    assert_eq!(whole.limits.requests_per_minute.map(NonZeroU32::get), Some(60));
}

#[test]
fn wrong_configurations_say_what_is_wrong() {
    check_refused("modell = \"x\"", "", "modell");
    check_refused("", "rate = 1", "rate");
    check_refused("", "[timeouts]\nhead = 1", "head");
    check_refused("", "[limits]\nrequests_per_minute = 0", "nonzero");
    check_refused("", "[limits]\ntokens_per_minute = -1", "-1");
    check_refused("", "[timeouts]\nbody_idle_ms = 0", "nonzero");
    check_refused("", "floor_ppm = 100001", "floor_ppm");
    // Less than the least that any gateway recomputes, and the least itself.
    check_refused("", "floor_ppm = 99", "floor_ppm");
    assert!(with("", "floor_ppm = 100").is_ok());
    check_refused("", "model_floors_ppm = { m = 1000001 }", "model_floors_ppm");
    check_refused("", "epoch_answers = 0", "epoch_answers");
    check_refused("", "epoch_answers = 65537", "epoch_answers");
    check_refused("", "[server]\ncommand = []", "server.command");
    check_refused("", "[server]\nreadback_ms = 0", "0 ms");
    check_refused("", "[capacity]\nin_flight_max = 0", "capacity.in_flight_max");
    check_refused("", "[capacity]\nin_flight_max = 100000", "capacity.in_flight_max");
    check_refused("", "[capacity]\nbacklog_max = 31", "backlog_max");
    check_refused("model = \"x\"", "", "model");
    check_refused("address = \"localhost\"", "", "address");
    for (from, to) in [
        ("\"b.pub\"", ""),
        ("\"b.pub\"", "\"b.pub\", \"c.pub\""),
        ("rate_ppm = 100000", "rate_ppm = 0"),
        ("rate_ppm = 100000", "rate_ppm = 99"),
        ("rate_ppm = 100000", "rate_ppm = 1000001"),
        ("model = \"m\"", ""),
    ] {
        assert!(Config::parse(&LEAST.replace(from, to)).is_err(), "{to}");
    }
    with("", "[capacity]\nin_flight_max = 32\nbacklog_max = 32").unwrap();
}

#[test]
fn strangers_need_keys() {
    for address in ["0.0.0.0:80", "192.168.0.1:80", "[::]:80"] {
        check_refused(&format!("address = \"{address}\""), "", "api_keys");
        with(&format!("address = \"{address}\"\napi_keys = \"keys.json\""), "").unwrap();
    }
    for address in ["127.0.0.1:0", "[::1]:80"] {
        with(&format!("address = \"{address}\""), "").unwrap();
    }
}

#[test]
fn only_keys_limits_and_timeouts_change_while_it_runs() {
    let old = with("", "").unwrap();
    for (top, end) in [
        ("", ""),
        ("api_keys = \"keys.json\"", ""),
        ("", "[limits]\nrequests_per_minute = 5"),
        ("", "[timeouts]\nhead_ms = 5\ndrain_ms = 0"),
        ("", "[capacity]\nin_flight_max = 32"),
    ] {
        old.check_change(&with(top, end).unwrap()).unwrap();
    }
    for (top, end, name) in [
        ("address = \"127.0.0.1:8081\"", "", "address"),
        ("", "floor_ppm = 500", "audit.floor_ppm"),
        ("", "model_floors_ppm = { m = 5 }", "audit.model_floors_ppm"),
        ("", "epoch_answers = 5", "audit.epoch_answers"),
        ("", "beacon_party = \"x\"", "audit.beacon_party"),
        ("", "lease_ms = 5", "audit.lease_ms"),
        ("", "[server]\ncommand = [\"x\"]", "server.command"),
        ("", "[sockets]\nlink = \"x\"", "sockets.link"),
        ("", "[capacity]\nin_flight_max = 31", "capacity.in_flight_max"),
        ("api_keys = \"keys.json\"", "floor_ppm = 500\n[limits]\nrequests_per_minute = 5", "audit.floor_ppm"),
    ] {
        let error = old.check_change(&with(top, end).unwrap()).expect_err(name).to_string();
        assert!(error.starts_with(&format!("{name} can't change")), "{error}");
        assert_eq!(error.contains("committed"), name.starts_with("audit."), "{error}");
    }
    let other = Config::parse(&LEAST.replace("100000", "99999").replace("\"a.pub\"", "\"c.pub\"")).unwrap();
    let error = old.check_change(&other).expect_err("two fields").to_string();
    assert!(error.contains("audit.rate_ppm") && error.contains("whitelist.parties"), "{error}");
}

/// What the fuzz targets do to the parsers of the gateway; this one is in no library that they could link.
#[test]
fn any_text_is_an_error_or_a_configuration_that_can_be_written_down() {
    const SEED: u64 = 2026;
    let long = "[recomputers]\nnames = [\"north\", \"south\"]\nsecond_ppm = 5\n[limits]\nrequests_per_minute = 5\n\
        [timeouts]\nhead_ms = 7\n[capacity]\nin_flight_max = 3\n[server]\ncommand = [\"a\", \"b\"]\n";
    let seeds = [LEAST.to_owned(), format!("address = \"127.0.0.1:1\"\n{LEAST}{long}")];
    let seeds = seeds.map(|seed| seed.into_bytes());
    let parse = |bytes: &[u8]| Config::parse(&String::from_utf8_lossy(bytes));
    assert!(seeds.iter().all(|seed| parse(seed).is_ok()));
    let mut accepted = 0;
    for number in 0..20_000 {
        let input = mutate::mutated(&mut (SEED ^ number << 20), &seeds);
        let Ok(config) = parse(&input) else { continue };
        accepted += 1;
        let context = || format!("seed {SEED}, input {number}: {}", String::from_utf8_lossy(&input));
        // Nothing that is accepted panics when it is used, and all of it is in its JSON.
        let _ = (config.policy(), config.timeouts(), config.governor(), config.panel([1; 32]));
        assert!(config.whitelist.parties.len() == 2 && config.audit.rate_ppm.get() <= PPM, "{}", context());
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(serde_json::from_value::<Config>(json).unwrap(), config, "{}", context());
    }
    println!("20000 changed configurations from seed {SEED}, {accepted} accepted");
    assert!((100..15_000).contains(&accepted), "{accepted}");
}
