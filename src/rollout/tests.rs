//! The room's suite: where keys are found, what rules cover, who decides, and that nothing leaks or drifts.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::session::SessionNo;

/// A request in parts.
struct Upgrade {
    headers: HeaderMap,
    path: &'static str,
    query: Option<&'static str>,
    peer: IpAddr,
    session: u32,
}

impl Upgrade {
    fn new(headers: &[(&str, &str)]) -> Self {
        let pairs = headers.iter().map(|(name, value)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        });
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value);
        }
        Self { headers: map, path: "/", query: None, peer: [192, 0, 2, 7].into(), session: 1 }
    }

    fn request(&self) -> Request<'_> {
        Request {
            headers: &self.headers,
            path: self.path,
            query: self.query,
            peer: self.peer,
            session: SessionNo(self.session),
        }
    }
}

fn token(payload: &str) -> String {
    format!("Bearer e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
}

fn found(chain: &str, upgrade: &Upgrade) -> Option<String> {
    let key = chain.parse::<KeyChain>().unwrap().find(&upgrade.request())?;
    Some(String::from_utf8(key.bytes().to_vec()).unwrap())
}

#[test]
fn the_first_place_that_has_a_key_wins() {
    let sub = token(r#"{"sub":"from-token"}"#);
    let both = Upgrade::new(&[("x-user-id", "from-header"), ("authorization", &sub)]);
    assert_eq!(found(&KeyChain::default().to_string(), &both).as_deref(), Some("from-header"));
    let empty = Upgrade::new(&[("x-user-id", ""), ("authorization", &sub)]);
    assert_eq!(found("header:x-user-id,jwt:sub", &empty).as_deref(), Some("from-token"));
    assert_eq!(found("header:x-user-id,jwt:sub", &Upgrade::new(&[])), None);
}

#[test]
fn each_place_is_read_as_its_standard_says() {
    let mut upgrade = Upgrade::new(&[
        ("x-user-id", "first"),
        ("x-user-id", "second"),
        ("cookie", "a=1; userid=no; user = \"u 1\" ; empty="),
        ("cookie", "later=2"),
    ]);
    upgrade.query = Some("x=1&user=Zo%C3%AB+B&user=2");
    let cases = [
        ("header:X-User-Id", Some("first")),
        ("cookie:user", Some("u 1")),
        ("cookie:later", Some("2")),
        ("cookie:empty", None),
        ("cookie:use", None),
        ("query:user", Some("Zoë B")),
        ("query:USER", None),
        ("ip", Some("192.0.2.7")),
        ("jwt:sub", None),
    ];
    for (chain, expected) in cases {
        assert_eq!(found(chain, &upgrade).as_deref(), expected, "{chain}");
    }
    upgrade.peer = "::ffff:192.0.2.7".parse().unwrap();
    assert_eq!(found("ip", &upgrade).as_deref(), Some("192.0.2.7"));
}

#[test]
fn claims_are_read_from_bearer_tokens_and_from_nothing_broken() {
    let payload = r#"{"sub":"u1","n":42,"f":1.5,"o":{"x":1},"e":"","null":null}"#;
    let claim = |authorization: &str, name: &str| {
        found(&format!("jwt:{name}"), &Upgrade::new(&[("authorization", authorization)]))
    };
    assert_eq!(claim(&token(payload), "sub").as_deref(), Some("u1"));
    assert_eq!(claim(&token(payload).replace("Bearer", "bEARER"), "n").as_deref(), Some("42"));
    for name in ["f", "o", "e", "null", "absent"] {
        assert_eq!(claim(&token(payload), name), None, "{name}");
    }
    let broken =
        ["Bearer", "Bearer ", "Bearer a.b.c", "Bearer onlyonepart", "Basic dTpw", "Bearer e30.W10.x"];
    for authorization in broken {
        assert_eq!(claim(authorization, "sub"), None, "{authorization}");
    }
    let huge = token(&format!(r#"{{"pad":"{}","sub":"u1"}}"#, "x".repeat(20_000)));
    assert_eq!(claim(&huge, "sub"), None, "over the limit");
}

#[test]
fn a_chain_is_refused_with_the_name_of_its_problem() {
    let unknown = |text: &str| KeyChainError::Unknown(text.to_owned());
    let name = |text: &str| KeyChainError::Name(text.to_owned());
    let cases = [
        (" , ", KeyChainError::Empty),
        ("header", unknown("header")),
        ("ip,body:x", unknown("body:x")),
        ("header:", name("header:")),
        ("header:a b", name("header:a b")),
        ("jwt: ", name("jwt:")),
    ];
    for (text, expected) in cases {
        assert_eq!(text.parse::<KeyChain>().unwrap_err(), expected, "{text:?}");
    }
    assert_eq!(vec!["ip"; 17].join(",").parse::<KeyChain>().unwrap_err(), KeyChainError::TooMany(17));
}

#[test]
fn keys_and_secrets_have_no_text_form() {
    let hasher = KeyHasher::new(b"hunter2");
    let key = UserKey::new(b"alice@example.com");
    let shown = format!("{key:?} {hasher:?} {:?}", hasher.hash(&key));
    assert!(!shown.contains("alice") && !shown.contains("hunter2"), "{shown}");
    let settings = settings("100", &[]);
    let upgrade = Upgrade::new(&[("x-user-id", "alice@example.com")]);
    let shown = format!("{settings:?} {:?}", decide(&settings, &upgrade.request()));
    assert!(!shown.contains("alice") && !shown.contains(SECRET), "{shown}");
}

#[test]
fn the_keyed_hash_is_hmac_sha_256_cut_to_64_bits() {
    // RFC 4231, test cases 1, 2 and 6 (the last with a secret longer than a block).
    let cases: [(&[u8], &[u8], &str); 3] = [
        (&[0x0b; 20], b"Hi There", "key:b0344c61d8db3853"),
        (b"Jefe", b"what do ya want for nothing?", "key:5bdcc146bf60754e"),
        (&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First", "key:60e431591ee0b67f"),
    ];
    for (secret, data, expected) in cases {
        assert_eq!(KeyHasher::new(secret).hash(&UserKey::new(data)).to_string(), expected);
    }
    for wrong in ["", "key:", "key:+034567890123456", "key:b0344c61d8db385", "b0344c61d8db3853"] {
        assert_eq!(wrong.parse::<KeyHash>(), Err(NotAHash), "{wrong}");
    }
}

#[test]
fn networks_contain_what_they_should() {
    let contains = |cidr: &str, address: &str| {
        cidr.parse::<Cidr>().unwrap().contains(address.parse::<IpAddr>().unwrap())
    };
    for (cidr, inside, outside) in [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
        ("192.0.2.128/25", "::ffff:192.0.2.200", "192.0.2.127"),
        ("0.0.0.0/0", "255.255.255.255", "2001:db8::1"),
        ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
        ("::/0", "2001:db8::1", "1.2.3.4"),
    ] {
        assert!(contains(cidr, inside), "{cidr} {inside}");
        assert!(!contains(cidr, outside), "{cidr} {outside}");
    }
    for wrong in
        ["", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0/8", "10.0.0.0/", "host/8"]
    {
        assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
    }
}

const SECRET: &str = "the-secret-of-the-hash";

fn identity() -> Arc<Identity> {
    Arc::new(Identity {
        salt: "crossfade".to_owned(),
        chain: KeyChain::default(),
        hasher: KeyHasher::new(SECRET.as_bytes()),
    })
}

fn flags(percent: &str, rules: &[&str]) -> Flags {
    let texts: Vec<RuleText> = rules.iter().map(|rule| serde_json::from_str(rule).unwrap()).collect();
    let rules = compile(&texts, &KeyHasher::new(SECRET.as_bytes())).unwrap();
    Flags { percent: percent.parse().unwrap(), lane: RealtimeLane::Hot, rules }
}

fn settings(percent: &str, rules: &[&str]) -> Settings {
    Tiers { env: flags(percent, rules), ..Tiers::default() }.settings(&identity())
}

fn user(id: &str) -> Upgrade {
    Upgrade::new(&[("x-user-id", id)])
}

fn why(settings: &Settings, upgrade: &Upgrade) -> Reason {
    decide(settings, &upgrade.request()).reason
}

#[test]
fn the_percentage_decides_by_bucket_and_explains_it() {
    // The bucket itself is the edge: at b units it is outside, at b + 1 inside.
    let upgrade = user("0");
    let bucket = Bucket::of(b"crossfade", b"0").number();
    let at = |units| Percent::from_units(units).unwrap().to_string();
    let outside = decide(&settings(&at(bucket), &[]), &upgrade.request());
    assert_eq!((outside.lane, outside.reason), (None, Reason::OutsideCohort));
    let inside = decide(&settings(&at(bucket + 1), &[]), &upgrade.request());
    assert_eq!((inside.lane, inside.reason), (Some(RealtimeLane::Hot), Reason::InCohort));
    assert_eq!((inside.percent.units(), inside.tier, inside.rule), (bucket + 1, Tier::Env, None));
    assert_eq!(inside.subject.bucket.unwrap().number(), bucket);
    assert_eq!(why(&settings("100", &[]), &Upgrade::new(&[])), Reason::NoKey);
}

#[test]
fn the_first_matching_rule_wins() {
    let hashed = KeyHasher::new(SECRET.as_bytes()).hash(&UserKey::new(b"carol")).to_string();
    let deny = format!(r#"{{"name":"deny","keys":["alice","{hashed}"],"then":"deny"}}"#);
    let rules = [
        deny.as_str(),
        r#"{"name":"allow","keys":["alice","bob"],"then":"allow","lane":"native"}"#,
        r#"{"name":"gold","when":[{"header":["x-plan","gold"]},{"path":"/chat"}],"then":{"percent":100},"lane":"cold"}"#,
        r#"{"name":"office","when":[{"cidr":"192.0.2.0/24"},{"subprotocol":"v2"}],"then":{"percent":"0"}}"#,
        r#"{"name":"tenant","when":[{"claim":["tenant","acme"]}],"then":"allow"}"#,
    ];
    let settings = settings("100", &rules);
    let decided = |upgrade: &Upgrade| {
        let decision = decide(&settings, &upgrade.request());
        (decision.reason, decision.lane, decision.rule.map(|rule| rule.to_string()))
    };
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(decided(&user("alice")), (Reason::Denied, None, named("deny")));
    assert_eq!(decided(&user("carol")), (Reason::Denied, None, named("deny")), "by hash");
    assert_eq!(decided(&user("bob")), (Reason::Allowed, Some(RealtimeLane::Native), named("allow")));
    let mut gold = Upgrade::new(&[("x-user-id", "dave"), ("x-plan", "gold")]);
    gold.path = "/chat/1";
    assert_eq!(decided(&gold), (Reason::InSegment, Some(RealtimeLane::Cold), named("gold")));
    gold.path = "/chatter";
    assert_eq!(decided(&gold), (Reason::InCohort, Some(RealtimeLane::Hot), None), "all conditions count");
    let office = Upgrade::new(&[("x-user-id", "erin"), ("sec-websocket-protocol", "v1, v2")]);
    assert_eq!(decided(&office), (Reason::OutsideSegment, None, named("office")));
    let tenant = Upgrade::new(&[("authorization", &token(r#"{"tenant":"acme"}"#))]);
    assert_eq!(
        decided(&tenant),
        (Reason::Allowed, Some(RealtimeLane::Hot), named("tenant")),
        "without a key"
    );
}

#[test]
fn rules_that_cannot_work_are_refused() {
    let error = |rules: &[&str]| {
        let texts: Vec<RuleText> = rules.iter().map(|rule| serde_json::from_str(rule).unwrap()).collect();
        compile(&texts, &KeyHasher::new(b"")).unwrap_err().to_string()
    };
    assert!(error(&[r#"{"name":"r","then":"deny"}"#]).contains("\"r\" needs either keys or conditions"));
    let both = r#"{"name":"r","keys":["secret-user"],"when":[{"path":"/"}],"then":"deny"}"#;
    assert!(!error(&[both]).contains("secret-user"));
    let network = r#"{"name":"r","when":[{"cidr":"10/8"}],"then":"deny"}"#;
    assert!(error(&[network]).contains("\"10/8\" is not a network"));
    let ok = r#"{"name":"r","when":[{"path":"/"}],"then":"deny"}"#;
    assert_eq!(error(&[ok, ok]), "two rules are named \"r\"");
    assert!(serde_json::from_str::<RuleText>(r#"{"name":"r","then":{"percent":"101"}}"#).is_err());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of virtual time")]
fn the_highest_configured_tier_decides_and_a_silent_one_decides_for_nobody() {
    let (identity, now) = (identity(), Instant::now());
    let mut tiers = Tiers { env: flags("100", &[]), ..Tiers::default() };
    let decided = |tiers: &Tiers| {
        let settings = tiers.settings(&identity);
        let decision = decide(&settings, &user("0").request());
        (decision.tier, decision.reason, settings.age(now + Duration::from_secs(9)).as_secs())
    };
    assert_eq!(decided(&tiers), (Tier::Env, Reason::InCohort, 0));
    tiers.file = Slot::Known(flags("0", &[]), now);
    assert_eq!(decided(&tiers), (Tier::File, Reason::OutsideCohort, 9));
    tiers.redis = Slot::Silent;
    assert_eq!(decided(&tiers), (Tier::Redis, Reason::TierUnknown, 0));
    tiers.redis = Slot::Known(flags("100", &[]), now);
    assert_eq!(decided(&tiers), (Tier::Redis, Reason::InCohort, 9));
    tiers.emergency_off = true;
    assert_eq!(decided(&tiers), (Tier::EmergencyOff, Reason::EmergencyOff, 0));
}

#[test]
fn emergency_off_beats_an_allow_rule() {
    let env = flags("100", &[r#"{"name":"vip","keys":["alice"],"then":"allow"}"#]);
    let tiers = Tiers { env, emergency_off: true, ..Tiers::default() };
    assert_eq!(why(&tiers.settings(&identity()), &user("alice")), Reason::EmergencyOff);
}

#[test]
fn an_open_session_follows_lists_and_percentages_and_keeps_its_segment() {
    let segment = |percent: &str| {
        let then = format!(r#"{{"percent":"{percent}"}}"#);
        format!(r#"{{"name":"chat","when":[{{"path":"/chat"}}],"then":{then}}}"#)
    };
    let mut upgrade = user("alice");
    upgrade.path = "/chat";
    let first = decide(&settings("0", &[&segment("100")]), &upgrade.request());
    assert_eq!(first.reason, Reason::InSegment);
    let again = |settings: &Settings| decide_again(settings, first.subject.clone()).reason;
    assert_eq!(again(&settings("0", &[&segment("0")])), Reason::OutsideSegment);
    assert_eq!(again(&settings("100", &[])), Reason::InCohort, "the segment is gone");
    let deny = r#"{"name":"deny","keys":["alice"],"then":"deny"}"#;
    assert_eq!(again(&settings("100", &[deny, &segment("100")])), Reason::Denied);
}

#[test]
fn sessions_without_a_key_are_spread_over_the_mirror_by_their_number() {
    let buckets: std::collections::HashSet<Bucket> = (1..=50)
        .map(|session| {
            let upgrade = Upgrade { session, ..Upgrade::new(&[]) };
            decide(&settings("0", &[]), &upgrade.request()).subject.mirror_bucket
        })
        .collect();
    assert!(buckets.len() > 45);
    let of = |session| Upgrade { session, ..user("alice") };
    let mirror = |session| decide(&settings("0", &[]), &of(session).request()).subject.mirror_bucket;
    assert_eq!(mirror(1), mirror(2), "with a key the user decides");
}

#[test]
fn the_share_of_a_cohort_is_the_percentage() {
    for (percent, expected) in [("0.1", 20.0_f64), ("1", 200.0), ("10", 2_000.0), ("50", 10_000.0)] {
        let settings = settings(percent, &[]);
        let inside = (0..20_000)
            .filter(|n| why(&settings, &user(&format!("user-{n}@example.com"))) == Reason::InCohort)
            .count() as f64;
        let deviation = (expected * (1.0 - expected / 20_000.0)).sqrt();
        assert!((inside - expected).abs() < 4.0 * deviation, "{percent} %: {inside}, expected {expected}");
    }
}

proptest! {
    #[test]
    fn stop_and_resume_finds_the_same_cohort_and_raising_moves_nobody_out(
        ids in prop::collection::vec("[a-z0-9@.:-]{1,24}", 1..40), low in 0..=BUCKETS, high in 0..=BUCKETS,
    ) {
        let at = |units| settings(&Percent::from_units(units).unwrap().to_string(), &[]);
        let cohort = |settings: &Settings| -> Vec<bool> {
            ids.iter().map(|id| why(settings, &user(id)) == Reason::InCohort).collect()
        };
        let (low, high) = (low.min(high), low.max(high));
        let before = cohort(&at(low));
        prop_assert!(cohort(&at(0)).iter().all(|inside| !inside));
        prop_assert_eq!(&cohort(&at(low)), &before);
        for (was, is) in before.iter().zip(cohort(&at(high))) {
            prop_assert!(!was || is);
        }
    }

    #[test]
    fn any_head_gets_a_decision(
        authorization in "\\PC{0,60}", cookie in "\\PC{0,60}", query in "\\PC{0,60}", number in any::<u32>(),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in [("authorization", &authorization), ("cookie", &cookie)] {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let chain: KeyChain = "jwt:sub,cookie:a,query:a,ip".parse().unwrap();
        let request = Request {
            headers: &headers,
            path: "/",
            query: Some(&query),
            peer: [127, 0, 0, 1].into(),
            session: SessionNo(number),
        };
        prop_assert!(chain.find(&request).is_some(), "the address is always there");
        let decision = decide(&settings("50", &[]), &request);
        prop_assert!(decision.lane.is_none() || decision.subject.bucket.is_some());
    }
}
