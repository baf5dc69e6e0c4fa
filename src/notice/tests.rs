//! The teller against a model on a virtual clock, templates, links and the outbox.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const SETTLE: Duration = Duration::from_secs(5);

#[expect(clippy::disallowed_methods, reason = "only offsets to it are used")]
fn start() -> Instant {
    Instant::now()
}

fn told(kind: Kind, key: &str) -> Told {
    Told { kind, key: key.to_owned() }
}

fn every() -> Vec<Kind> {
    Kind::ALL.to_vec()
}

/// Looks once a second for so many seconds; what was told.
fn seconds(teller: &mut Teller, at: &mut Instant, state: Option<Told>, n: u64) -> Vec<Kind> {
    let subject = state.as_ref().map_or(Subject::Breaker, |state| state.kind.subject());
    let mut heard = Vec::new();
    for _ in 0..n {
        if let Some(Heard::Tell(state)) = teller.observe(subject, state.clone(), SETTLE, *at) {
            heard.push(state.kind);
        }
        *at += Duration::from_secs(1);
    }
    heard
}

#[test]
fn a_state_is_told_once_when_it_has_lasted_and_its_end_once() {
    let (mut teller, mut at) = (Teller::new(every(), Vec::new()), start());
    let open = || Some(told(Kind::BreakerOpen, ""));
    let closed = || Some(told(Kind::BreakerClosed, ""));
    assert_eq!(seconds(&mut teller, &mut at, closed(), 60), [], "nothing had been wrong");
    assert_eq!(seconds(&mut teller, &mut at, open(), 5), [], "not yet");
    assert_eq!(seconds(&mut teller, &mut at, open(), 600), [Kind::BreakerOpen]);
    assert_eq!(seconds(&mut teller, &mut at, closed(), 4), [], "it flaps");
    assert_eq!(seconds(&mut teller, &mut at, open(), 600), [], "and was told before");
    assert_eq!(seconds(&mut teller, &mut at, closed(), 600), [Kind::BreakerClosed]);
    assert_eq!(seconds(&mut teller, &mut at, open(), 600), [Kind::BreakerOpen], "another trip");
}

#[test]
fn a_restart_tells_nothing_again_and_forgets_nothing() {
    let (mut teller, mut at) = (Teller::new(every(), Vec::new()), start());
    seconds(&mut teller, &mut at, Some(told(Kind::BreakerOpen, "")), 10);
    let kept = serde_json::to_string(&teller.told()).unwrap();
    let mut next = Teller::new(every(), serde_json::from_str(&kept).unwrap());
    assert_eq!(seconds(&mut next, &mut at, Some(told(Kind::BreakerOpen, "")), 60), []);
    assert_eq!(
        seconds(&mut next, &mut at, Some(told(Kind::BreakerClosed, "")), 60),
        [Kind::BreakerClosed],
        "the end of what the process before has told"
    );
}

#[test]
fn what_nobody_wants_neither_ends_nor_begins_anything() {
    let wanted = every().into_iter().filter(|kind| kind.is_usual()).collect();
    let (mut teller, mut at) = (Teller::new(wanted, Vec::new()), start());
    let cycle = |teller: &mut Teller, at: &mut Instant| {
        let mut heard = seconds(teller, at, Some(told(Kind::BreakerOpen, "")), 60);
        heard.extend(seconds(teller, at, Some(told(Kind::BreakerHalfOpen, "")), 60));
        heard
    };
    assert_eq!(cycle(&mut teller, &mut at), [Kind::BreakerOpen]);
    assert_eq!(cycle(&mut teller, &mut at), [], "a failed probe is no other trip");
}

#[test]
fn a_plan_that_runs_at_the_start_has_not_just_advanced() {
    let (mut teller, mut at) = (Teller::new(every(), Vec::new()), start());
    assert_eq!(seconds(&mut teller, &mut at, Some(told(Kind::PlanAdvanced, "a")), 60), []);
    assert_eq!(seconds(&mut teller, &mut at, Some(told(Kind::PlanAdvanced, "b")), 60), [Kind::PlanAdvanced]);
    assert_eq!(seconds(&mut teller, &mut at, Some(told(Kind::PlanWaiting, "c")), 60), [Kind::PlanWaiting]);
}

proptest! {
    /// Whatever happens: told at most once in each entry, only after it has lasted, and never twice in a row.
    #[test]
    fn a_state_is_told_at_most_once_per_entry(moves in prop::collection::vec((0_usize..5, 1_u64..12), 1..60)) {
        let states = [
            None,
            Some(told(Kind::PlanAdvanced, "1")),
            Some(told(Kind::PlanAdvanced, "2")),
            Some(told(Kind::PlanWaiting, "1")),
            Some(told(Kind::PlanFinished, "2")),
        ];
        let (mut teller, mut at) = (Teller::new(every(), Vec::new()), start());
        let (mut entry, mut since, mut in_entry, mut last) = (usize::MAX, at, 0, None::<Told>);
        for (state, seconds) in moves {
            if state != entry {
                (entry, since, in_entry) = (state, at, 0);
            }
            for _ in 0..seconds {
                match teller.observe(Subject::Plan, states[state].clone(), SETTLE, at) {
                    Some(Heard::Tell(what)) => {
                        in_entry += 1;
                        prop_assert!(at - since >= SETTLE, "too soon");
                        prop_assert_eq!(Some(&what), states[state].as_ref());
                        prop_assert_ne!(Some(&what), last.as_ref(), "twice in a row");
                        last = Some(what);
                    }
                    Some(Heard::Quiet(what)) => last = what,
                    None => {}
                }
                prop_assert!(in_entry <= 1, "twice in one entry");
                at += Duration::from_secs(1);
            }
        }
    }
}

fn example() -> Notice {
    let facts = Facts {
        service: "feed".to_owned(),
        pod: "feed-1".to_owned(),
        percent: "12.5".to_owned(),
        plan: Some("a \"plan\" {{pod}} <!channel> & more".to_owned()),
        step: Some(2),
        steps: 3,
        why: vec!["a person has paused it".to_owned()],
    };
    let mut notice = notice(Kind::PlanWaiting, facts, 1_700_000_000_000);
    notice.promote_url = Some("https://c.example/links/1".to_owned());
    notice.rollback_url = Some("https://c.example/links/2".to_owned());
    notice
}

#[test]
fn a_template_says_what_is_wrong_with_it() {
    for (text, word) in [
        ("{\"text\": {{title}}}", "placeholders stand inside strings"),
        ("[\"{{title}}\"]", "not a JSON object"),
        ("{\"text\": \"{{tilte}}\"}", "did you mean {{title}}?"),
        ("{\"text\": \"{{zzz}}\"}", "there are title, text"),
        ("{\"text\": \"{{title\"}", "without"),
        ("{\"{{title}}\": 1}", "field's name"),
        ("{\"a\": [{\"b\": \"{{promte_url}}\"}]}", "did you mean {{promote_url}}?"),
    ] {
        let error = Template::parse(text).unwrap_err();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn every_shape_is_json_whatever_a_name_contains() {
    let notice = example();
    let own = Template::parse("{\"a\":[{\"b\":\"{{plan}} {{ step }}/{{steps}}\"}],\"n\":1}").unwrap();
    let body: serde_json::Value = serde_json::from_str(&Format::Own(own).body(&notice)).unwrap();
    assert_eq!(
        body["a"][0]["b"], "a \"plan\" {{pod}} <!channel> & more 2/3",
        "a value is not looked at again"
    );
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_str(&Format::named(name).unwrap().body(&notice)).unwrap()
    };
    let slack = read("slack")["text"].as_str().unwrap().to_owned();
    assert!(slack.contains("&lt;!channel&gt; &amp; more"), "nobody is mentioned: {slack}");
    assert!(slack.contains("<https://c.example/links/1|Promote>"), "{slack}");
    let discord = read("discord");
    assert!(discord["content"].as_str().unwrap().contains("Roll back: <https://c.example/links/2>"));
    assert_eq!(discord["allowed_mentions"]["parse"], serde_json::json!([]));
    let card = &read("teams")["attachments"][0]["content"];
    assert_eq!(card["actions"][1]["url"], "https://c.example/links/2");
    assert_eq!(
        (card["type"].as_str(), card["body"][0]["weight"].as_str()),
        (Some("AdaptiveCard"), Some("bolder"))
    );
    let own = read("json");
    assert_eq!((own["v"].as_u64(), own["state"].as_str()), (Some(1), Some("plan_waiting")));
    assert!(Format::named("slak").unwrap_err().contains("slack, discord"));
}

#[test]
fn every_state_has_its_words() {
    for kind in Kind::ALL {
        let notice = notice(kind, Facts::default(), 0);
        assert!(notice.text.len() > 20, "{notice:?}");
        assert!(Subject::ALL.contains(&kind.subject()));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
}

fn signer(secret: u8, service: &str) -> Signer {
    Signer::new(&[secret; SECRET_BYTES_MIN], service).unwrap()
}

#[test]
fn a_link_is_ours_whole_and_in_time_or_nothing() {
    let own = signer(7, "feed");
    let claims = Claims::new(Action::Promote, "0123456789abcdef", 1_000, [9; NONCE_BYTES]);
    let token = own.sign(&claims);
    assert_eq!(own.open(&token, 999), Ok(claims.clone()));
    assert_eq!(own.open(&token, 1_000), Err(LinkError::Expired(claims.clone())));
    for other in [signer(8, "feed"), signer(7, "other")] {
        assert_eq!(other.open(&token, 0), Err(LinkError::Forged));
    }
    // Each single character matters, and so does each part.
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        let changed = String::from_utf8(bytes).unwrap();
        // The last character of the MAC has bits that say nothing; those are refused, too.
        assert_eq!(own.open(&changed, 0), Err(LinkError::Forged), "{at}");
    }
    for text in ["", ".", "1.promote", &token[1..], &format!("{token}a"), &"a".repeat(10_000)] {
        assert_eq!(own.open(text, 0), Err(LinkError::Forged), "{text}");
    }
    assert!(Signer::new(&[1; SECRET_BYTES_MIN - 1], "feed").unwrap_err().contains("at least 32"));
    assert_eq!((format!("{own:?}"), claims.id()), ("Signer".to_owned(), "09090909"));
}

#[test]
fn a_used_link_stays_used_until_it_expires() {
    let mut used = Used::default();
    assert_eq!(used.burn("a", 100, 0), Ok(()));
    assert_eq!(used.burn("a", 100, 99), Err(BurnError::Used));
    let mut again = Used::parse(used.to_json().as_bytes()).unwrap();
    assert_eq!(again.burn("a", 100, 50), Err(BurnError::Used), "after a restart");
    for n in 1..USED_MAX {
        assert_eq!(used.burn(&n.to_string(), 200, 0), Ok(()));
    }
    assert_eq!(used.burn("one more", 200, 0), Err(BurnError::Full));
    assert_eq!(used.burn("one more", 200, 100), Ok(()), "the first has expired");
    assert_eq!(Used::parse(b"[]"), None);
}

#[test]
fn a_notice_is_tried_a_few_times_and_as_late_as_is_asked_for() {
    let (mut outbox, mut at) = (Outbox::default(), start());
    outbox.push("one".to_owned());
    outbox.push("two".to_owned());
    let mut told = Vec::new();
    for attempt in 0..ATTEMPTS_MAX {
        at = outbox.poll_timeout().unwrap_or(at);
        assert_eq!(outbox.poll_transmit(at).as_deref(), Some("one"), "{attempt}");
        assert_eq!(outbox.poll_transmit(at), None, "one at a time");
        let answer =
            if attempt == 1 { Answer::Status(429, Some(Duration::from_secs(60))) } else { Answer::Nothing };
        told.extend(outbox.handle_answer(answer, at));
        if attempt == 1 {
            assert_eq!(outbox.poll_timeout(), Some(at + Duration::from_secs(60)), "Retry-After");
        }
    }
    assert_eq!(told, [Wrong::Silent, Wrong::Refused(429), Wrong::Silent], "each kind once");
    assert_eq!(outbox.poll_transmit(at).as_deref(), Some("two"), "the next one at once");
    assert_eq!(outbox.handle_answer(Answer::Status(204, None), at), None);
    outbox.push("three".to_owned());
    outbox.poll_transmit(at).unwrap();
    outbox.handle_answer(Answer::Status(404, None), at);
    assert_eq!((outbox.counts(), outbox.is_empty()), ([1, 2, 0], true), "404 is not tried again");
}

#[test]
fn the_oldest_gives_way_and_what_is_left_is_counted() {
    let (mut outbox, at) = (Outbox::default(), start());
    outbox.push("0".to_owned());
    outbox.poll_transmit(at).unwrap();
    for n in 1..=WAITING_MAX + 1 {
        outbox.push(n.to_string());
    }
    assert_eq!(outbox.counts(), [0, 0, 2]);
    outbox.handle_answer(Answer::Status(200, None), at);
    assert_eq!(outbox.poll_transmit(at).as_deref(), Some("3"));
    outbox.abandon();
    assert_eq!(outbox.counts(), [1, 0, 2 + WAITING_MAX as u64 - 1]);
}

#[test]
fn a_line_that_is_shown_loses_its_urls() {
    let shown = "2 | urll = \"https://chat.example/SECRET?a=b\" # x\n";
    assert_eq!(without_urls(shown), "2 | urll = \"https://***\" # x\n");
    assert_eq!(without_urls("none"), "none");
}

fn section(text: &str) -> Result<Settings, String> {
    toml::from_str::<Section>(text).map_err(|error| error.to_string())?.check()
}

#[test]
fn the_section_says_what_is_wrong_and_never_quotes_a_url() {
    let target = |rest: &str| format!("[[targets]]\nname = \"team\"\n{rest}");
    for (text, word) in [
        ("targets = []".to_owned(), "from 1 to 8"),
        (target(""), "either url or url_file"),
        (target("url = \"https://chat.example/SECRET\"\nurl_file = \"/x\""), "either url or url_file"),
        (target("url = \"http://chat.example/SECRET\""), "use https"),
        (target("url = \"http://chat.example/SECRET\"\nplain_http = true"), "neither loopback nor"),
        (target("url = \"ftp://chat.example/SECRET\""), "neither https nor http"),
        (target("url = \"https://a:SECRET@chat.example/\""), "a user"),
        (target("url_file = \"/x\"\nformat = \"slak\""), "slack"),
        (target("url_file = \"/x\"\ntemplate = '{\"t\":\"{{titel}}\"}'"), "did you mean {{title}}?"),
        (target("url_file = \"/x\"\nformat = \"slack\"\ntemplate = '{}'"), "either format or template"),
        (format!("settle = \"2h\"\n{}", target("url_file = \"/x\"")), "notices.settle"),
        (format!("states = [\"breaker_opn\"]\n{}", target("url_file = \"/x\"")), "breaker_open"),
        (format!("{0}{0}", target("url_file = \"/x\"\n")), "two are named"),
    ] {
        let error = section(&text).unwrap_err();
        assert!(error.contains(word), "{text}: {error}");
        assert!(!error.contains("SECRET"), "{error}");
    }
    let links =
        |rest: &str| format!("{}\n[links]\nsecret_file = \"/x\"\n{rest}", target("url_file = \"/x\""));
    for (rest, word) in [
        ("base_url = \"http://crossfade.example\"", "base_url"),
        ("base_url = \"https://crossfade.example?a=b\"", "query"),
        ("base_url = \"https://crossfade.example\"\nttl = \"1s\"", "ttl"),
    ] {
        let error = section(&links(rest)).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    let good = section(&links("base_url = \"https://crossfade.example:8443/ops/\"")).unwrap();
    let own = good.links.unwrap();
    assert_eq!(
        (own.base_url.as_str(), own.host.as_str()),
        ("https://crossfade.example:8443/ops", "crossfade.example:8443")
    );
    assert!(!good.states.contains(&Kind::BreakerHalfOpen) && good.states.contains(&Kind::BreakerOpen));
    for near in
        ["http://127.0.0.1:9", "http://[::1]:9", "http://10.1.2.3", "http://hooks", "http://hooks.chat.svc"]
    {
        let text = target(&format!("url = \"{near}\"\nplain_http = true"));
        assert!(section(&text).is_ok(), "{near}");
    }
}
