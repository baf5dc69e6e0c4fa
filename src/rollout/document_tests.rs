//! The document: read whole or refused with the place; the schema beside it and the examples in it agree with us.

use http::HeaderMap;
use http::header::HeaderName;
use proptest::prelude::*;
use std::sync::Arc;

use super::*;
use crate::rollout::{
    Decision, Identity, KeyChain, Percent, Reason, Request, Settings, Standing, Tier, decide,
};
use crate::session::SessionNo;

fn hasher() -> KeyHasher {
    KeyHasher::new(b"secret of the test")
}

fn read(text: &str) -> Document {
    Document::parse(text.as_bytes(), &hasher()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn error(text: &str) -> String {
    Document::parse(text.as_bytes(), &hasher()).unwrap_err().to_string()
}

fn decision(text: &str, path: &str, headers: &[(&str, &str)]) -> Decision {
    let identity = Identity { salt: "salt".to_owned(), chain: KeyChain::default(), hasher: hasher() };
    let settings = Settings {
        identity: Arc::new(identity),
        tier: Tier::File,
        standing: Standing::Flags(read(text).flags),
        confirmed: None,
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let request =
        Request { headers: &map, path, query: None, peer: [192, 0, 2, 1].into(), session: SessionNo(1) };
    decide(&settings, &request)
}

fn arms(first: &str, second: &str) -> String {
    format!(
        r#"{{"schema":1,"percent":"0","rules":[{{"name":"ab","then":{{"experiment":{{"salt":"autumn","arms":[
        {{"name":"control","percent":"{first}","lane":"legacy"}},{{"name":"realtime","percent":"{second}","lane":"hot"}}]}}}}}}]}}"#
    )
}

#[test]
fn every_example_of_the_schema_is_read() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../docs/flags.schema.json")).unwrap();
    let examples = schema["examples"].as_array().unwrap();
    assert!(examples.len() >= 3);
    for example in examples {
        read(&example.to_string());
    }
    let mut fields: Vec<&str> =
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["comment", "lane", "paths", "percent", "rules", "schema", "version"]);
    assert_eq!(schema["properties"]["schema"]["const"], SCHEMA);
}

#[test]
fn garbage_is_refused_with_its_place_and_without_keys() {
    let cases = [
        ("", "cannot be read at line 1"),
        ("{\"schema\":1,\n\"percent\":\"101\"}", "\"101\" is above 100 %"),
        (r#"{"schema":1}"#, "missing field `percent`"),
        (r#"{"schema":2,"percent":"1"}"#, "schema 2 is not known; this build reads schema 1"),
        (r#"{"schema":1,"percent":"1","persent":"2"}"#, "unknown field `persent`"),
        (r#"{"schema":1,"percent":"1","paths":["chat"]}"#, "\"chat\" does not begin with a slash"),
        (r#"{"schema":1,"percent":"1","lane":"warm"}"#, "unknown variant `warm`"),
        (r#"{"schema":1,"percent":"1","rules":[{"name":"r","then":"deny"}]}"#, "\"r\" needs either keys"),
    ];
    for (text, expected) in cases {
        assert!(error(text).contains(expected), "{text}: {}", error(text));
    }
    let leaking =
        r#"{"schema":1,"percent":"1","rules":[{"name":"r","keys":"alice@example.com","then":"deny"}]}"#;
    assert!(!error(leaking).contains("alice"), "{}", error(leaking));
    assert!(error(&" ".repeat(BYTES_MAX + 1)).contains("at most"));
    assert!(error(&arms("60", "41")).contains("more than 100 %"));
    let named = arms("1", "1").replace("\"realtime\"", "\"control\"");
    assert!(error(&named).contains("two arms are named \"control\""));
}

#[test]
fn paths_keep_everybody_else_on_legacy() {
    let text = r#"{"schema":1,"percent":"100","paths":["/chat"],
        "rules":[{"name":"in","when":[{"cookie":["beta","1"]}],"then":"allow"}]}"#;
    let alice: &[(&str, &str)] = &[("x-user-id", "alice"), ("cookie", "a=b; beta=1")];
    let outside = decision(text, "/other", alice);
    assert_eq!((outside.reason, outside.rule.as_deref()), (Reason::Denied, Some("paths")));
    let inside = decision(text, "/chat/7", alice);
    assert_eq!((inside.reason, inside.rule.as_deref()), (Reason::Allowed, Some("in")));
    assert_eq!(decision(text, "/chat", &[("x-user-id", "bob")]).reason, Reason::InCohort);
}

#[test]
fn a_user_opts_in_and_out_by_header_cookie_or_claim() {
    let text = r#"{"schema":1,"percent":"100","rules":[
        {"name":"out","when":[{"header":["x-realtime","off"]}],"then":"deny"},
        {"name":"in","when":[{"claim":["beta","yes"]}],"then":"allow","lane":"native"}]}"#;
    let out = decision(text, "/", &[("x-user-id", "alice"), ("x-realtime", "off")]);
    assert_eq!((out.lane, out.reason), (None, Reason::Denied));
    let token = "Bearer e30.eyJiZXRhIjoieWVzIn0.x";
    let within = decision(text, "/", &[("authorization", token)]);
    assert_eq!((within.lane, within.reason), (Some(RealtimeLane::Native), Reason::Allowed));
}

#[test]
fn an_arm_decides_for_its_users_and_the_next_rule_for_the_others() {
    let mut seen = [0_u32; 3];
    for user in 0..4000 {
        let key = format!("user-{user}");
        let decided = decision(&arms("30", "20"), "/", &[("x-user-id", &key)]);
        let at = match (decided.reason, decided.arm.as_deref(), decided.lane) {
            (Reason::InArm, Some("control"), None) => 0,
            (Reason::InArm, Some("realtime"), Some(RealtimeLane::Hot)) => 1,
            (Reason::OutsideCohort, None, None) => 2,
            other => panic!("{other:?}"),
        };
        seen[at] += 1;
    }
    for (count, share) in seen.into_iter().zip([0.3_f64, 0.2, 0.5]) {
        let bound = 4.0 * (4000.0 * share * (1.0 - share)).sqrt();
        assert!((f64::from(count) - 4000.0 * share).abs() < bound, "{seen:?}");
    }
    let nobody = decision(&arms("50", "50"), "/", &[]);
    assert_eq!(nobody.reason, Reason::NoKey);
}

#[test]
fn an_experiment_is_independent_of_the_fader() {
    let (mut both, mut arm, mut cohort) = (0_u32, 0_u32, 0_u32);
    let half = Percent::from_units(50_000).unwrap();
    for user in 0..4000 {
        let key = format!("user-{user}");
        let decided = decision(&arms("0", "50"), "/", &[("x-user-id", &key)]);
        let (one, other) = (decided.arm.is_some(), decided.subject.bucket.unwrap().is_within(half));
        arm += u32::from(one);
        cohort += u32::from(other);
        both += u32::from(one && other);
    }
    let expected = f64::from(arm) * f64::from(cohort) / 4000.0;
    assert!((f64::from(both) - expected).abs() < 130.0, "{both} of {arm} and {cohort}");
}

proptest! {
    #[test]
    fn two_arms_can_grow_without_anyone_changing_his_arm(
        key in "[a-z0-9]{1,12}", first in 0_u32..50_000, second in 0_u32..50_000, more in 0_u32..50_000,
    ) {
        let text = |units: u32| Percent::from_units(units.min(50_000)).unwrap().to_string();
        let headers: &[(&str, &str)] = &[("x-user-id", &key)];
        let before = decision(&arms(&text(first), &text(second)), "/", headers).arm;
        let after = decision(&arms(&text(first + more), &text(second + more)), "/", headers).arm;
        prop_assert!(before.is_none() || before == after);
    }

    #[test]
    fn no_text_is_a_panic(text in "\\PC{0,200}") {
        drop(Document::parse(text.as_bytes(), &hasher()));
    }
}
