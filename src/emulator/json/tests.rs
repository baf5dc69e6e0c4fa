use super::parse::DEPTH_MAX;
use super::*;
use proptest::prelude::*;

fn again(text: &str) -> String {
    Json::parse(text).unwrap().encode()
}

#[test]
fn reencodes_what_recording_02_shows() {
    let sent = r#"{"z":1,"a":1.0,"big":12345678901234567890,"f":1e3,"small":1.5e-7,"u":"\u00e9\ud83d\ude00","slash":"a/b","nul":null,"b":true,"dup":1,"dup":2}"#;
    let seen = r#"{"a":1.0,"b":true,"big":12345678901234567890,"dup":1,"f":1.0e3,"nul":null,"slash":"a/b","small":1.5e-7,"u":"é😀","z":1}"#;
    assert_eq!(again(sent), seen);
}

#[test]
fn prints_floats_in_the_short_form() {
    for (value, text) in [
        ("100.0", "100.0"),
        ("1000.0", "1.0e3"),
        ("123456.0", "123456.0"),
        ("1.5", "1.5"),
        ("0.1", "0.1"),
        ("0.01", "0.01"),
        ("0.0001", "1.0e-4"),
        ("-2.5e10", "-2.5e10"),
        ("0.0", "0.0"),
        ("21.5", "21.5"),
    ] {
        assert_eq!(again(value), text, "{value}");
    }
}

#[test]
fn refuses_what_is_not_json() {
    for text in [
        "",
        "{",
        "tru",
        "01",
        "1.",
        ".5",
        "\"\\ud800\"",
        "[1,]",
        "{\"a\" 1}",
        "1 2",
        "\"\n\"",
        "1e999",
        "nul",
        "+1",
        "--1",
    ] {
        assert!(Json::parse(text).is_err(), "{text}");
    }
    assert!(Json::parse(&"[".repeat(DEPTH_MAX + 2)).is_err());
}

#[test]
fn measures_terms_as_erlang_does() {
    // external_size(#{<<"a">> => 1}) is 1 + 5 + (5 + 1) + 2.
    assert_eq!(Json::parse(r#"{"a":1}"#).unwrap().term_size(), 14);
    assert_eq!(Json::parse("[]").unwrap().term_size(), 2);
    assert_eq!(Json::parse("1.5").unwrap().term_size(), 10);
}

#[test]
fn debug_hides_the_payload() {
    assert_eq!(format!("{:?}", Json::text("secret")), "string");
}

proptest! {
    #[test]
    fn agrees_with_serde_json(text in "\\PC{0,40}", integer in any::<i64>()) {
        let value = serde_json::json!({"t": text, "i": integer, "l": [text, null, true]});
        let mine = again(&value.to_string());
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&mine).unwrap(), value);
    }

    #[test]
    fn floats_read_back(number in proptest::num::f64::NORMAL) {
        let mut out = String::new();
        Json::Float(number).write(&mut out);
        prop_assert_eq!(out.parse::<f64>().unwrap(), number, "{}", out);
    }

    #[test]
    fn never_panics(text in "\\PC{0,60}") {
        if let Ok(value) = Json::parse(&text) {
            prop_assert_eq!(again(&value.encode()), value.encode());
        }
    }
}
