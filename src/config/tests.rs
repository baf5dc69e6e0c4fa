//! The room as its users meet it: an environment in, a configuration or a list of problems out.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::reader::is_kubernetes_service;
use super::*;

const UPSTREAM: (&str, &str) = ("CROSSFADE_UPSTREAM", "ws://legacy:3000");
const PROJECT: [(&str, &str); 3] =
    [UPSTREAM, ("SUPABASE_URL", "https://p.supabase.co"), ("SUPABASE_KEY", "sb_secret_0123456789")];

fn load(base: &[(&str, &str)], more: &[(&str, &str)]) -> Result<Config, Problems> {
    Config::load(&Strings::of(base.iter().chain(more).copied()))
}

fn problems(base: &[(&str, &str)], more: &[(&str, &str)]) -> Vec<String> {
    load(base, more).map_or_else(|all| all.0.iter().map(ToString::to_string).collect(), |_| Vec::new())
}

fn one_problem(base: &[(&str, &str)], more: &[(&str, &str)]) -> String {
    let mut all = problems(base, more);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn jwt(role: &str) -> String {
    let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"role":"{role}","iss":"supabase"}}"#));
    format!("e30.{payload}.c2ln")
}

#[test]
fn the_upstream_alone_is_a_pure_proxy_that_says_so() {
    let config = load(&[UPSTREAM], &[]).unwrap();
    assert_eq!(config.proxy.upstream, Upstream::Net { tls: false, host: "legacy".to_owned(), port: 3000 });
    assert_eq!(config.proxy.listen.to_string(), "0.0.0.0:8080");
    assert!(config.supabase.is_none());
    assert_eq!(config.service.to_string(), "app:test-host");
    assert_eq!(config.mirror.percent, Percent::ALL);
    assert_eq!(config.hot.window_session, 256 * 1024);
    assert_eq!(config.drain.code, 1012);
    assert!(config.notices()[0].contains("pure, observable proxy"));
}

#[test]
fn nothing_set_asks_for_the_one_required_variable() {
    let line = one_problem(&[], &[]);
    assert_eq!(line, "CROSSFADE_UPSTREAM: is required; for example CROSSFADE_UPSTREAM=ws://127.0.0.1:3000");
}

#[test]
fn every_problem_is_reported_in_one_go() {
    let wrong = [
        ("CROSSFADE_LISTEN", "8080"),
        ("CROSSFADE_UPSTRAEM", "ws://x"),
        ("CROSSFADE_ROLLOUT_PERCENT", "101"),
        ("CROSSFADE_BUFFER", "32MB"),
        ("CROSSFADE_DRAIN_GRACE", "1s"),
        ("SUPABASE_URL", "https://p.supabase.co"),
    ];
    let all = problems(&[], &wrong);
    let named = |name: &str| all.iter().filter(|line| line.starts_with(name)).count();
    assert_eq!(all.len(), 7, "{all:#?}");
    for (name, _) in &wrong[..4] {
        assert_eq!(named(name), 1, "{name} in {all:#?}");
    }
    assert_eq!(named("CROSSFADE_DRAIN_SETTLE:"), 1, "a rule between right values still speaks");
    assert_eq!(named("SUPABASE_KEY:"), 1);
    assert_eq!(named("CROSSFADE_UPSTREAM:"), 1);
    assert!(all.iter().any(|line| line.contains("\"8080\" is not an address")), "{all:#?}");
    assert!(all.iter().any(|line| line.ends_with("did you mean CROSSFADE_UPSTREAM?")), "{all:#?}");
}

#[test]
fn a_strange_name_gets_no_wild_guess() {
    let line = one_problem(&[UPSTREAM], &[("CROSSFADE_ZZZZZ_QQQQ", "1")]);
    assert!(line.ends_with("`crossfade config` lists all variables"), "{line}");
}

#[test]
fn names_that_kubernetes_injects_are_exempt_and_ours_have_no_such_shape() {
    let injected = [
        ("CROSSFADE_SERVICE_HOST", "10.0.0.1"),
        ("CROSSFADE_SERVICE_PORT", "80"),
        ("CROSSFADE_SERVICE_PORT_HTTP", "80"),
        ("CROSSFADE_PORT", "tcp://10.0.0.1:80"),
        ("CROSSFADE_METRICS_PORT_9464_TCP_ADDR", "10.0.0.1"),
        ("CROSSFADE_PORT_80_TCP", "tcp://10.0.0.1:80"),
    ];
    assert_eq!(problems(&[UPSTREAM], &injected), Vec::<String>::new());
    for about in vars::all() {
        for name in [about.name.to_owned(), format!("{}_FILE", about.name)] {
            assert!(!is_kubernetes_service(&name), "{name} would be ignored when misspelt");
        }
    }
    assert!(!is_kubernetes_service("CROSSFADE_PORT_RANGE"), "no number after _PORT_");
}

#[test]
fn every_default_and_every_example_is_accepted() {
    for about in vars::all() {
        assert!(about.default.is_some() || !about.unset.is_empty(), "{}", about.name);
        for text in about.default.into_iter().chain([about.example]) {
            assert_eq!((about.check)(text), Ok(()), "{}={text}", about.name);
        }
        let words =
            about.kind.split(" | ").filter(|word| about.kind.contains(" | ") && *word == word.to_lowercase());
        for word in words {
            assert_eq!((about.check)(word), Ok(()), "{}={word} is offered by its type", about.name);
        }
        assert!(about.doc.ends_with('.') && about.doc.len() <= 110, "{}: one line of help", about.name);
    }
}

#[test]
fn variables_are_few_and_declared_once() {
    let mut names: Vec<&str> = vars::all().map(|about| about.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), vars::all().count());
    // The webhook is another program's life: what is promised is about the sidecar.
    let sidecar = vars::all().filter(|about| about.group != Group::Inject).count();
    assert!(sidecar <= VARIABLES_MAX, "{sidecar}");
    let declared: usize = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/vars"))
        .expect("the folder of the variables")
        .map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("text"))
        .map(|text| text.matches("Var::new(").count())
        .sum();
    assert_eq!(declared, vars::all().count(), "a declared variable is missing in ALL");
}

#[test]
fn no_error_and_no_debug_output_shows_a_secret() {
    let elevated = jwt("service_role");
    let all = problems(
        &[],
        &[
            ("SUPABASE_ANON_KEY", &elevated),
            ("SUPABASE_URL", &elevated),
            ("CROSSFADE_LISTEN", "sb_secret_hunter2"),
            ("CROSSFADE_UPSTREAM", "ws://user:hunter2@legacy"),
            ("CROSSFADE_ADMIN_TOKEN", "hunter2\nhunter2"),
        ],
    );
    let text = all.join("\n");
    assert_eq!(all.len(), 6, "{text}");
    assert!(!text.contains("hunter2") && !text.contains(&elevated), "{text}");
    assert!(
        text.contains("SUPABASE_ANON_KEY: the value (not shown) is a service_role or secret key"),
        "{text}"
    );

    let strings = Strings::of(PROJECT);
    let config = Config::load(&strings).unwrap();
    for shown in [format!("{config:?}"), format!("{strings:?}")] {
        assert!(!shown.contains("0123456789"), "{shown}");
    }
    assert_eq!(config.supabase.unwrap().key.secret.expose(), "sb_secret_0123456789");
}

#[test]
fn the_public_key_must_be_public() {
    for fine in [jwt("anon"), "sb_publishable_x".to_owned(), "opaque-but-fine".to_owned()] {
        assert_eq!(problems(&PROJECT, &[("SUPABASE_ANON_KEY", &fine)]), Vec::<String>::new());
    }
    for elevated in [jwt("service_role"), jwt("supabase_admin"), "sb_secret_x".to_owned()] {
        let line = one_problem(&PROJECT, &[("SUPABASE_ANON_KEY", &elevated)]);
        assert!(line.contains("clients would get it"), "{line}");
    }
}

#[test]
fn a_public_key_for_the_sidecar_is_noticed() {
    let anon = jwt("anon");
    let config = load(&PROJECT[..2], &[("SUPABASE_KEY", &anon)]).unwrap();
    assert!(config.notices()[0].contains("public key"));
    assert!(load(&PROJECT, &[]).unwrap().notices().is_empty());
}

#[test]
fn a_secret_can_come_from_a_file_that_is_remembered() {
    let strings = Strings::of([UPSTREAM, PROJECT[1], ("SUPABASE_KEY_FILE", "/run/key")]);
    let key =
        Config::load(&strings.clone().with_file("/run/key", "sb_secret_f\n")).unwrap().supabase.unwrap().key;
    assert_eq!(key.secret.expose(), "sb_secret_f", "the line break at the end is not part of it");
    assert_eq!(key.file.as_deref(), Some(std::path::Path::new("/run/key")));

    let missing = Config::load(&strings).unwrap_err().to_string();
    assert!(missing.contains("SUPABASE_KEY_FILE: cannot be read"), "{missing}");
    let empty = Config::load(&strings.with_file("/run/key", "\n")).unwrap_err().to_string();
    assert!(empty.contains("SUPABASE_KEY_FILE: is an empty file"), "{empty}");

    let both = one_problem(&PROJECT, &[("SUPABASE_KEY_FILE", "/run/key")]);
    assert!(both.contains("are both set"), "{both}");
    let no_secret = one_problem(&[UPSTREAM], &[("CROSSFADE_LISTEN_FILE", "/x")]);
    assert!(no_secret.contains("is not a variable"), "only secrets come from files: {no_secret}");
}

#[test]
fn a_rotated_file_is_read_again() {
    let path = std::env::temp_dir().join(format!("crossfade-secret-{}", std::process::id()));
    std::fs::write(&path, "first\n").unwrap();
    assert_eq!(read_secret_file(&path).unwrap().expose(), "first");
    std::fs::write(&path, "second\n").unwrap();
    assert_eq!(read_secret_file(&path).unwrap().expose(), "second");
    std::fs::write(&path, "").unwrap();
    assert!(read_secret_file(&path).is_err(), "half-written");
    std::fs::write(&path, "x".repeat(64 * 1024 + 1)).unwrap();
    assert!(read_secret_file(&path).is_err(), "too large");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn the_service_role_key_is_the_second_name() {
    let more = [("SUPABASE_SERVICE_ROLE_KEY", "sb_secret_second")];
    let key = |config: Config| config.supabase.unwrap().key.secret.expose().to_owned();
    assert_eq!(key(load(&PROJECT[..2], &more).unwrap()), "sb_secret_second");
    assert_eq!(key(load(&PROJECT, &more).unwrap()), "sb_secret_0123456789");
}

#[test]
fn an_empty_value_counts_as_not_set() {
    let config = load(&[UPSTREAM], &[("CROSSFADE_LISTEN", ""), ("SUPABASE_URL", " ")]).unwrap();
    assert_eq!(config.proxy.listen.port(), 8080);
    assert!(config.supabase.is_none());
}

#[test]
fn rules_between_variables() {
    type Pairs = &'static [(&'static str, &'static str)];
    let cases: [(Pairs, Pairs, &str); 14] = [
        (&[UPSTREAM], &[PROJECT[1]], "SUPABASE_KEY: is required with SUPABASE_URL"),
        (&[UPSTREAM], &[PROJECT[2]], "SUPABASE_URL: is required with a key"),
        (&[UPSTREAM], &[("CROSSFADE_ROLLOUT_PERCENT", "1")], "SUPABASE_URL: and a key are required while"),
        (&[UPSTREAM], &[("CROSSFADE_MIRROR_FORMAT", "both")], "SUPABASE_URL: and a key are required while"),
        (
            &PROJECT,
            &[("CROSSFADE_ROLLOUT_PERCENT", "1"), ("CROSSFADE_ROLLOUT_LANE", "native")],
            "SUPABASE_ANON_KEY: is required with",
        ),
        (
            &PROJECT,
            &[("CROSSFADE_ROLLOUT_PERCENT", "1"), ("CROSSFADE_ROLLOUT_LANE", "cold")],
            "CROSSFADE_COLD_AUTH: is required with",
        ),
        (&PROJECT, &[("CROSSFADE_COLD_AUTH", "public")], "CROSSFADE_COLD_SOURCE: is required with"),
        (
            &PROJECT,
            &[("CROSSFADE_COLD_AUTH", "public"), ("CROSSFADE_COLD_SOURCE", "room")],
            "SUPABASE_ANON_KEY: is required with",
        ),
        (&PROJECT, &[("CROSSFADE_TABLE_RATE", "7")], "CROSSFADE_TABLE_RATE: is now rate in [table]"),
        (&PROJECT, &[("CROSSFADE_WINDOW_SESSION", "65MiB")], "CROSSFADE_WINDOW_SESSION: is larger"),
        (&PROJECT, &[("CROSSFADE_MESSAGE_MAX", "33MiB")], "CROSSFADE_MESSAGE_MAX: is larger"),
        (&PROJECT, &[("CROSSFADE_DRAIN_SETTLE", "25s")], "CROSSFADE_DRAIN_SETTLE: is not shorter"),
        (
            &PROJECT,
            &[("CROSSFADE_METRICS_LISTEN", "127.0.0.1:8080")],
            "CROSSFADE_METRICS_LISTEN: takes the port",
        ),
        (&PROJECT, &[("CROSSFADE_ADMIN_LISTEN", "127.0.0.1:9464")], "CROSSFADE_ADMIN_LISTEN: takes the port"),
    ];
    for (base, more, expected) in cases {
        let line = one_problem(base, more);
        assert!(line.starts_with(expected), "{line}\nexpected {expected}");
    }
    let free = [("CROSSFADE_LISTEN", "127.0.0.1:0"), ("CROSSFADE_METRICS_LISTEN", "127.0.0.1:0")];
    assert_eq!(problems(&PROJECT, &free), Vec::<String>::new());
}

#[test]
fn wrong_texts_are_refused_with_the_reason() {
    let cases = [
        ("CROSSFADE_UPSTREAM", "ftp://legacy", "does not begin with one of ws://, wss://, http://, https://"),
        ("CROSSFADE_UPSTREAM", "ws://legacy/socket", "has a path or query"),
        ("CROSSFADE_UPSTREAM", "legacy", "is not a URL"),
        ("CROSSFADE_HOT_DEADLINE", "0s", "shorter than 1ms"),
        ("CROSSFADE_HOT_DEADLINE", "500", "not a duration"),
        ("CROSSFADE_HOT_DEADLINE", "25h", "longer than a day"),
        ("CROSSFADE_BUFFER", "0", "no room"),
        ("CROSSFADE_BUFFER", "99999999999999GiB", "not a size"),
        ("CROSSFADE_ROLLOUT_KEY", "header:", "has an entry"),
        ("CROSSFADE_ROLLOUT_KEY", "header:a,,ip", "has an entry"),
        ("CROSSFADE_TRUSTED_PROXIES", "10.0.0.0/33", "no CIDR"),
        ("CROSSFADE_DRAIN_CODE", "1006", "not a close code"),
        ("CROSSFADE_LOG", "loud", "is not a level"),
        ("CROSSFADE_POD", "a b", "is not a name"),
        ("CROSSFADE_BREAKER", "open", "is not one of auto, forced_open"),
        ("CROSSFADE_BREAKER_CONFIDENCE", "NaN", "confidence"),
        ("CROSSFADE_WORKERS", "0", "neither auto"),
        ("CROSSFADE_READBACK", "sample:x", "has a share"),
        ("CROSSFADE_MIRROR_FORMAT", "events", "is not offered alone"),
        ("CROSSFADE_EVENTS_MAX_AGE", "0s", "shorter than 1ms"),
        ("CROSSFADE_PLAN", "custom:fast", "has no whole number"),
        ("CROSSFADE_READERS", "-1", "not a whole number from 0"),
    ];
    for (name, text, expected) in cases {
        let line = problems(&[UPSTREAM], &[(name, text)]).join("\n");
        assert!(line.starts_with(name) && line.contains(expected), "{name}={text}: {line}");
    }
}

#[test]
fn right_texts_mean_what_they_say() {
    let more = [
        ("CROSSFADE_UPSTREAM", "wss://[::1]"),
        ("CROSSFADE_ROLLOUT_PERCENT", "12.5"),
        ("CROSSFADE_ROLLOUT_KEY", "header:X-User, jwt:sub,ip"),
        ("CROSSFADE_TRUSTED_PROXIES", "10.0.0.0/8,192.0.2.7,fd00::/8"),
        ("CROSSFADE_BREAKER_COOLDOWN", "1m 30s"),
        ("CROSSFADE_WORKERS", "3"),
        ("CROSSFADE_LANE_HEADER", "on"),
        ("CROSSFADE_READBACK", "hot"),
    ];
    let config = load(&PROJECT[1..], &more).unwrap();
    assert_eq!(config.proxy.upstream.to_string(), "wss://[::1]:443");
    assert_eq!(config.rollout.percent.thousandths(), 12_500);
    assert_eq!(config.rollout.percent.to_string(), "12.5");
    assert_eq!(config.rollout.key[0], KeySource::Header("x-user".to_owned()));
    assert_eq!(config.breaker.cooldown, Duration::from_secs(90));
    assert_eq!(config.proxy.workers, Some(3));
    assert!(config.proxy.lane_header);
    let trusted =
        |peer: &str| config.proxy.trusted_proxies.iter().any(|block| block.contains(peer.parse().unwrap()));
    for (peer, expected) in [
        ("10.255.0.1", true),
        ("::ffff:10.1.1.1", true),
        ("11.0.0.1", false),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("fd12::1", true),
        ("fe00::1", false),
    ] {
        assert_eq!(trusted(peer), expected, "{peer}");
    }
}

#[test]
fn a_block_of_all_addresses_holds_all() {
    let all = Cidrs::parse("0.0.0.0/0,::/0").unwrap().0;
    assert!(all[0].contains("203.0.113.9".parse().unwrap()));
    assert!(all[1].contains("2001:db8::1".parse().unwrap()));
    assert!(!all[1].contains("203.0.113.9".parse().unwrap()), "families do not mix");
}

#[test]
fn host_names_become_names() {
    assert_eq!(Name::of_host(Some("app-0.ns\n")), "app-0.ns");
    assert_eq!(Name::of_host(Some("ü b")), "--b");
    assert_eq!(Name::of_host(None), "pod");
}

#[test]
fn the_tables_name_every_variable() {
    let json: Vec<serde_json::Value> = serde_json::from_str(&table::json()).unwrap();
    assert_eq!(json.len(), vars::all().count());
    for about in vars::all() {
        assert!(table::markdown().contains(&format!("| `{}` |", about.name)), "{}", about.name);
        assert!(table::text().contains(about.name), "{}", about.name);
        assert!(json.iter().any(|row| row["name"] == about.name && row["type"] == about.kind));
    }
}

proptest! {
    #[test]
    fn a_percentage_reads_back_as_it_is_shown(units in 0_u32..=100_000) {
        let text = format!("{}.{:03}", units / 1000, units % 1000);
        let percent = Percent::parse(&text).unwrap();
        prop_assert_eq!(percent.thousandths(), units);
        prop_assert_eq!(Percent::parse(&percent.to_string()).unwrap(), percent);
    }

    #[test]
    fn no_text_upsets_any_parser(text in "\\PC{0,40}", at in 0..vars::all().count()) {
        let about = vars::all().nth(at).expect("in range");
        if let Err(why) = (about.check)(&text) {
            prop_assert!(!why.is_empty());
        }
    }

    #[test]
    fn sizes_scale(n in 1_u64..1 << 20) {
        prop_assert_eq!(Size::parse(&format!("{n}KiB")).unwrap().0, n * 1024);
        prop_assert_eq!(Size::parse(&format!("{n} MiB")).unwrap().0, n << 20);
    }
}
