//! What is redacted, what is left alone to the byte, and that no spelling of a key slips through.

use proptest::prelude::*;

use super::super::secret_names::SECRET_NAMES;
use super::*;

fn redact(payload: &str) -> String {
    let redactor = Redactor::new(Scope::Up);
    let out = redactor.redact(Direction::Up, Opcode::Text, payload.as_bytes()).into_owned();
    String::from_utf8(out).unwrap()
}

#[track_caller]
fn check(payload: &str, expect: &str) {
    assert_eq!(redact(payload), expect, "{payload}");
}

#[track_caller]
fn unchanged(payload: &str) {
    let redactor = Redactor::new(Scope::Both);
    let out = redactor.redact(Direction::Up, Opcode::Text, payload.as_bytes());
    assert!(matches!(out, Cow::Borrowed(_)), "{payload}");
    assert_eq!(out, payload.as_bytes());
}

#[test]
fn values_of_any_type_at_any_depth_go_and_the_rest_stays() {
    check(r#"{"password":"x"}"#, r#"{"password":"[redacted]"}"#);
    check(
        " { \"a\" : [ {\"Token\" :\t{\"deep\":[1,\"]}\"]} , \"n\":1e3 } ] }\n",
        " { \"a\" : [ {\"Token\" :\t\"[redacted]\" , \"n\":1e3 } ] }\n",
    );
    for value in ["null", "true", "-1.5e7", "[]", "{}", r#""\"\\""#, r#"[{"token":"t"},[2]]"#] {
        check(&format!(r#"[{{"x":1,"secret":{value}}}]"#), r#"[{"x":1,"secret":"[redacted]"}]"#);
    }
    check(r#"{"pwd":1,"pwd":2}"#, r#"{"pwd":"[redacted]","pwd":"[redacted]"}"#);
}

#[test]
fn every_spelling_of_a_key_is_known() {
    for key in ["API_KEY", "api-key", "ApiKey", "Set-Cookie", r"pass\u0077ord", r"\u0050ASSWORD", "X-Api-Key"]
    {
        check(&format!(r#"{{"{key}":"x"}}"#), &format!(r#"{{"{key}":"[redacted]"}}"#));
    }
    unchanged(r#"{"tokens":3,"password_hint":"x","author":"y","":1,"passwört":2}"#);
}

#[test]
fn framing_prefixes_and_packed_json_are_looked_into() {
    check(r#"42/admin,17["login",{"password":"x"}]"#, r#"42/admin,17["login",{"password":"[redacted]"}]"#);
    check(r#"a["{\"token\":\"x\",\"n\":1}"]"#, r#"a["{\"token\":\"[redacted]\",\"n\":1}"]"#);
    check(
        r#"{"data":"{\"in\":\"{\\\"pin\\\":\\\"1\\\"}\",\"b\":\"\\n\"}"}"#,
        r#"{"data":"{\"in\":\"{\\\"pin\\\":\\\"[redacted]\\\"}\",\"b\":\"\\n\"}"}"#,
    );
    check(r#"{"d":"\u007b\u0022pin\u0022:1}"}"#, r#"{"d":"\u007b\u0022pin\u0022:\"[redacted]\"}"}"#);
    check("{\"type\":6}\x1e{\"otp\":1}\x1e", "{\"type\":6}\x1e{\"otp\":\"[redacted]\"}\x1e");
    check(r#"{"d":"{\"pin\":"}"#, r#"{"d":"[redacted]"}"#);
    check(r#""{\"pin\":1}""#, r#""{\"pin\":\"[redacted]\"}""#);
    check(r#"["\"{\\\"pin\\\":1}\""]"#, r#"["\"{\\\"pin\\\":\\\"[redacted]\\\"}\""]"#);
    unchanged(r#""password", they said: {"pin"}"#);
    unchanged(r#"{"d":"\"password\", they said"}"#);
    unchanged(r#"{"d":"{\"n\":"}"#);
    unchanged(r#"{"d":"[INFO] \"password\" changed"}"#);
}

#[test]
fn json_packed_too_often_is_hidden_whole() {
    let mut text = r#"{"pin":1}"#.to_owned();
    for _ in 0..5 {
        text = format!(r#"{{"d":{}}}"#, serde_json::to_string(&text).unwrap());
    }
    let out = redact(&text);
    assert!(!out.contains("pin"), "{out}");
    assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok());
}

#[test]
fn what_starts_like_json_and_cannot_be_read_fails_closed() {
    let deep = format!("{}{{\"password\":1}}{}", "[".repeat(200), "]".repeat(200));
    for payload in [
        r#"{"password":"x""#,
        r#"{password:'x'}"#,
        r#"{"a":1,}{"p_a-s.s word":"x"}"#,
        r#"["pass\word"#,
        r#"{"pass\x77ord":1}"#,
        r#"42["login",{"password":"x"}"#,
        r#"{"pass\u0077or"#,
        r#"{"token":"x"]"#,
        &deep,
    ] {
        check(payload, "\"[redacted]\"");
    }
    unchanged("{hello}");
    unchanged(r#"{"a":1,}"#);
    unchanged("[INFO] password changed");
    unchanged("password=x");
    unchanged("see {\"password\":1}");
    unchanged("");
}

#[test]
fn binary_that_is_no_text_passes() {
    let redactor = Redactor::new(Scope::Up);
    let payload = b"{\xff\x00password";
    assert!(matches!(redactor.redact(Direction::Up, Opcode::Binary, payload), Cow::Borrowed(_)));
    assert_eq!(&*redactor.redact(Direction::Up, Opcode::Text, payload), REPLACEMENT);
    let json = redactor.redact(Direction::Up, Opcode::Binary, br#"{"pin":1}"#).into_owned();
    assert_eq!(json, br#"{"pin":"[redacted]"}"#);
}

#[test]
fn the_scope_decides_and_names_can_be_added() {
    let secret = br#"{"pin":1,"I-BAN":2}"#;
    let redacts = |value: &str, dir| {
        let out = Redactor::parse(value).unwrap().redact(dir, Opcode::Text, secret).into_owned();
        String::from_utf8(out).unwrap().matches("redacted").count()
    };
    assert_eq!([redacts("up", Direction::Up), redacts("up", Direction::Down)], [1, 0]);
    assert_eq!([redacts("both", Direction::Up), redacts("both", Direction::Down)], [1, 1]);
    assert_eq!([redacts("off", Direction::Up), redacts("off", Direction::Down)], [0, 0]);
    assert_eq!(redacts("both,+iban", Direction::Down), 2);
    for bad in ["", "UP", "up,iban", "up,+", "up,+type", "up,+ü", "+iban,up"] {
        let error = Redactor::parse(bad).unwrap_err().to_string();
        assert!(error.contains("expected up, both or off"), "{bad}: {error}");
    }
}

/// A JSON text and the text that redaction must make of it, written side by side.
#[derive(Clone, Debug)]
struct Twin {
    text: String,
    expect: String,
}

const CANARY: &str = "c4n4ry";

fn key() -> impl Strategy<Value = (String, bool)> {
    let secret = (0..SECRET_NAMES.len(), any::<u64>()).prop_map(|(name, style)| {
        let mut spelled = String::new();
        for (place, letter) in SECRET_NAMES[name].chars().enumerate() {
            match (style >> (place * 2)) & 3 {
                0 => spelled.push(letter),
                1 => spelled.push(letter.to_ascii_uppercase()),
                2 => spelled.push_str(&format!("\\u{:04x}", u32::from(letter))),
                _ => spelled.extend(['_', letter]),
            }
        }
        (spelled, true)
    });
    let plain = "[a-z\"\\\\\u{e9}\n]{0,6}".prop_map(|key: String| {
        let quoted = serde_json::to_string(&key).unwrap();
        (quoted[1..quoted.len() - 1].to_owned(), false)
    });
    prop_oneof![
        secret,
        plain.prop_filter("by chance a secret", |(key, _)| {
            !SecretNames::default().is_secret(key.as_bytes())
        })
    ]
}

fn leaf() -> impl Strategy<Value = Twin> {
    let text = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        ".{0,8}"
            .prop_filter("text that looks like packed JSON is hidden when it is none", |s| {
                !s.trim_start().starts_with(['{', '[', '"', '\\'])
            })
            .prop_map(|s| serde_json::to_string(&s).unwrap()),
    ];
    text.prop_map(|text| Twin { expect: text.clone(), text })
}

fn document() -> impl Strategy<Value = Twin> {
    let space = || "[ \t\n]{0,2}";
    leaf().prop_recursive(5, 48, 5, move |inner| {
        let list = (prop::collection::vec(inner.clone(), 0..4), space()).prop_map(|(items, space)| {
            let join = |part: fn(&Twin) -> &str| {
                format!("[{space}{}]", items.iter().map(part).collect::<Vec<_>>().join(&format!("{space},")))
            };
            Twin { text: join(|t| &t.text), expect: join(|t| &t.expect) }
        });
        let object = prop::collection::vec((key(), inner.clone(), space()), 0..4).prop_map(|fields| {
            let (mut text, mut expect) = ("{".to_owned(), "{".to_owned());
            for (place, ((key, secret), value, space)) in fields.iter().enumerate() {
                let comma = if place == 0 { "" } else { "," };
                let head = format!("{comma}{space}\"{key}\"{space}:{space}");
                if *secret {
                    text.push_str(&format!("{head}[{},\"{CANARY}\"]{space}", value.text));
                    expect.push_str(&format!("{head}\"[redacted]\"{space}"));
                } else {
                    text.push_str(&format!("{head}{}{space}", value.text));
                    expect.push_str(&format!("{head}{}{space}", value.expect));
                }
            }
            Twin { text: text + "}", expect: expect + "}" }
        });
        let packed = inner.prop_map(|twin| Twin {
            text: serde_json::to_string(&twin.text).unwrap(),
            expect: serde_json::to_string(&twin.expect).unwrap(),
        });
        prop_oneof![2 => list, 4 => object, 1 => packed]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn secrets_go_and_every_other_byte_stays(twin in document()) {
        let text = format!("[{}]", twin.text);
        let out = redact(&text);
        prop_assert!(!out.contains(CANARY));
        // JSON packed more than three times is hidden whole; its quotes have fifteen backslashes.
        if !text.contains(&"\\".repeat(15)) {
            prop_assert_eq!(out, format!("[{}]", twin.expect));
        }
    }

    #[test]
    fn any_bytes_are_an_answer_and_a_second_pass_changes_nothing(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let redactor = Redactor::new(Scope::Both);
        let once = redactor.redact(Direction::Up, Opcode::Text, &payload).into_owned();
        let twice = redactor.redact(Direction::Up, Opcode::Text, &once).into_owned();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn no_cut_of_a_document_leaks_its_canary(twin in document(), at in any::<prop::sample::Index>()) {
        let text = format!("{{\"x\":[{}]}}", twin.text);
        let mut cut = at.index(text.len());
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        prop_assert!(!redact(&text[..cut]).contains(CANARY));
    }
}

/// Redacts a message as the mirror does, with the rules of a file.
fn by_file(file: &str, dir: Direction, payload: &str) -> String {
    let rules = crate::mirror::rules::RuleSet::parse_file(file).unwrap().redactions;
    let redactor = Redactor::new(Scope::Up).with_rules(rules);
    let payload = payload.as_bytes();
    let sample =
        crate::mirror::classify::Sample { path: "/ws", subprotocol: None, dir, op: Opcode::Text, payload };
    let reading = sample.read();
    String::from_utf8(redactor.redact_message(&sample.subject(&reading), payload).into_owned()).unwrap()
}

#[test]
fn rules_take_values_out_in_either_direction_and_through_framing() {
    let file = "[[redact]]\nevent = \"profile\"\npointer = \"/user/*/email\"\n\
                [[redact]]\nevent = \"profile\"\npointer = \"/user/0\"\n[[redact]]\npointer = \"/1/iban\"\n\
                [[redact]]\npointer = \"/arguments/0\"\n[[redact]]\ndirection=\"up\"\npointer = \"/data/card\"\n";
    let check = |dir, payload, expect: &str| assert_eq!(by_file(file, dir, payload), expect, "{payload}");
    let down = Direction::Down;
    check(
        down,
        r#"{"event":"profile","user":[{"email":"a@b"},{"email" : "c@d","n":1}]}"#,
        r#"{"event":"profile","user":["[redacted]",{"email" : "[redacted]","n":1}]}"#,
    );
    let other = r#"{"event":"other","user":[{"email":"a@b"}]}"#;
    check(down, other, other);
    check(down, r#"42["pay",{"iban":"DE1"}]"#, r#"42["pay",{"iban":"[redacted]"}]"#);
    check(
        down,
        "{\"type\":6}\x1e{\"type\":1,\"target\":\"a\",\"arguments\":[\"s\",2]}\x1e",
        "{\"type\":6}\x1e{\"type\":1,\"target\":\"a\",\"arguments\":[\"[redacted]\",2]}\x1e",
    );
    let packed = r#"{"event":"x","data":"{\"card\":\"4711\"}"}"#;
    check(down, packed, packed);
    check(Direction::Up, packed, r#"{"event":"x","data":"[redacted]"}"#);
    check(
        Direction::Up,
        r#"{"data":{"card":1},"token":"t"}"#,
        r#"{"data":{"card":"[redacted]"},"token":"[redacted]"}"#,
    );
    check(down, r#"{"arguments":["s"}"#, r#""[redacted]""#);
    check(down, "plain text", "plain text");
}
