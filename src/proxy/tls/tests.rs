//! Files good and bad: what is said about them, and that a bad one never replaces a good one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::made::{Authority, Made};
use super::*;

const CERT: &str = "CROSSFADE_TLS_CERT";
const KEY: &str = "CROSSFADE_TLS_KEY";
const CA: &str = "CROSSFADE_TLS_CLIENT_CA";

/// 2026, when these tests were written, so that no run depends on the date.
fn then() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_780_000_000))
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("crossfade-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn pair(&self, name: &str, made: &Made) -> (Named, Named) {
        let cert = self.write(&format!("{name}.crt"), &made.cert);
        let key = self.write(&format!("{name}.key"), &made.key);
        (Named { variable: CERT, path: cert }, Named { variable: KEY, path: key })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn files(pairs: Vec<(Named, Named)>) -> ServerFiles {
    ServerFiles { pairs, client_ca: None, http2: false }
}

fn sentences(problems: &[TlsProblem]) -> Vec<(&'static str, String)> {
    problems.iter().map(|problem| (problem.variable, problem.sentence())).collect()
}

/// The certificate that a client gets which asks for this name, however little it believes it.
fn served(config: &Arc<ServerConfig>, authority: &Authority, name: &str) -> Vec<u8> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let client = Arc::new(client_tls(roots).unwrap());
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(config)).unwrap();
    for _ in 0..4 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    assert!(!client.is_handshaking());
    client.peer_certificates().unwrap()[0].to_vec()
}

fn der(made: &Made) -> Vec<u8> {
    CertificateDer::from_pem_slice(made.cert.as_bytes()).unwrap().to_vec()
}

#[test]
fn every_bad_file_is_named_with_its_variable_and_what_is_wrong() {
    let folder = Folder::new("bad");
    let authority = Authority::new();
    let (one, other) = (authority.issue(&["a.example"]), authority.issue(&["b.example"]));
    let garbled = one.cert.replacen("MII", "M!!", 1);
    let cut = &one.cert[..one.cert.len() / 2];
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIE\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let no_x509 = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let large = "x".repeat((1 << 20) + 1);
    let check = |cert: &str, key: &str, expect: &[(&'static str, &str)]| {
        let made = Made { cert: cert.to_owned(), key: key.to_owned() };
        let problems = files(vec![folder.pair("x", &made)]).open(then()).unwrap_err();
        let found = sentences(&problems);
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for ((variable, sentence), (whose, part)) in found.iter().zip(expect) {
            assert_eq!(variable, whose, "{sentence}");
            assert!(sentence.contains(part) && sentence.contains("/x."), "{sentence}");
            assert!(!sentence.contains("BEGIN") && !sentence.contains("MII"), "{sentence}");
        }
    };
    check("", &one.key, &[(CERT, "is empty")]);
    check("hello", &one.key, &[(CERT, "holds no certificate in PEM")]);
    check(&one.key, &one.key, &[(CERT, "holds a key where a certificate is expected")]);
    check(&garbled, &one.key, &[(CERT, "is not valid PEM")]);
    check(cut, &one.key, &[(CERT, "")]);
    check(no_x509, &one.key, &[(CERT, "no X.509 version 3 certificate")]);
    check(&large, &one.key, &[(CERT, "larger than 1 MiB")]);
    check(&one.cert, "", &[(KEY, "is empty")]);
    check(&one.cert, &one.cert, &[(KEY, "holds no private key in PEM")]);
    check(&one.cert, encrypted, &[(KEY, "is encrypted")]);
    check(&one.cert, &other.key, &[(KEY, "is not the key of the certificate in ")]);
    check("", "", &[(CERT, "is empty"), (KEY, "is empty")]);
    let nowhere = Named { variable: CERT, path: folder.0.join("nowhere") };
    let (_, key) = folder.pair("y", &one);
    let problems = files(vec![(nowhere, key)]).open(then()).unwrap_err();
    assert!(problems[0].sentence().contains("cannot be read"), "{problems:?}");
    let (cert, key) = folder.pair("z", &one);
    let ca = Named { variable: CA, path: folder.write("ca.crt", "") };
    let broken =
        ServerFiles { pairs: vec![(cert, key)], client_ca: Some((ca, ClientAuth::Required)), http2: false };
    assert_eq!(sentences(&broken.open(then()).unwrap_err())[0].0, CA);
}

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let folder = Folder::new("names");
    let authority = Authority::new();
    let made =
        [&["a.example"][..], &["b.example", "*.b.example"], &["deep.b.example"]].map(|n| authority.issue(n));
    let pairs = made.iter().enumerate().map(|(at, made)| folder.pair(&at.to_string(), made)).collect();
    let live = files(pairs).open(then()).unwrap();
    assert_eq!(live.warnings(), []);
    let config = live.load();
    for (name, expect) in [("a.example", 0), ("b.example", 1), ("x.b.example", 1), ("deep.b.example", 2)] {
        assert!(served(&config, &authority, name) == der(&made[expect]), "{name}");
    }
}

#[test]
fn an_expired_certificate_is_served_with_a_warning_and_replaces_no_better_one() {
    let folder = Folder::new("expired");
    let authority = Authority::new();
    let old = authority.issue_from_to(&["a.example"], 2020, 2021);
    let live = files(vec![folder.pair("a", &old)]).open(then()).unwrap();
    assert_eq!(live.expires(), Some(1_609_459_200), "the first of January 2021");
    assert!(live.warnings()[0].sentence().contains("has expired 5years"), "{:?}", live.warnings());

    let good = authority.issue(&["a.example"]);
    folder.pair("a", &good);
    assert_eq!([live.look(then()), live.look(then())], [Look::Same, Look::Applied]);
    assert!(served(&live.load(), &authority, "a.example") == der(&good));
    for (from, to, part) in [(2020, 2021, "has expired"), (3000, 3001, "is valid only in")] {
        folder.pair("a", &authority.issue_from_to(&["a.example"], from, to));
        assert_eq!(live.look(then()), Look::Same);
        let Look::Refused(problems) = live.look(then()) else { panic!("{part}: not refused") };
        assert!(problems[0].sentence().contains(part), "{problems:?}");
        assert!(served(&live.load(), &authority, "a.example") == der(&good));
    }
    // The day on which it becomes valid needs no new file.
    let later = UnixTime::since_unix_epoch(Duration::from_secs(32_503_680_000 + 86_400));
    assert_eq!(live.look(later), Look::Applied);
}

#[test]
fn a_bad_file_keeps_the_last_good_one_and_is_told_once() {
    let folder = Folder::new("reload");
    let authority = Authority::new();
    let [first, second] = [0, 1].map(|_| authority.issue(&["a.example"]));
    let live = files(vec![folder.pair("a", &first)]).open(then()).unwrap();
    let serves = |made: &Made| served(&live.load(), &authority, "a.example") == der(made);
    let look = || live.look(then());
    assert_eq!([look(), look()], [Look::Same, Look::Same]);
    // Half of a pair: at first it may still be on its way, then it is wrong.
    folder.write("a.crt", &second.cert);
    assert_eq!(look(), Look::Same);
    assert!(matches!(look(), Look::Refused(_)));
    assert_eq!([look(), look()], [Look::Same, Look::Same], "told once");
    assert!(serves(&first));
    folder.write("a.key", &second.key);
    assert_eq!([look(), look(), look()], [Look::Same, Look::Applied, Look::Same]);
    assert!(serves(&second));
    std::fs::remove_file(folder.0.join("a.key")).unwrap();
    assert_eq!(look(), Look::Same);
    assert!(matches!(look(), Look::Refused(_)));
    assert!(serves(&second));
    folder.write("a.key", &second.key);
    assert_eq!([look(), look()], [Look::Restored, Look::Same]);
    // A pair whose halves come one after the other between two looks is never complained about.
    folder.write("a.crt", &first.cert);
    assert_eq!(look(), Look::Same);
    folder.write("a.key", &first.key);
    assert_eq!([look(), look()], [Look::Same, Look::Applied]);
    assert!(serves(&first));
}

#[test]
fn a_swapped_symlink_is_seen_as_the_kubelet_swaps_it() {
    let folder = Folder::new("kubelet");
    let authority = Authority::new();
    let [first, second] = [0, 1].map(|_| authority.issue(&["a.example"]));
    for (name, made) in [("..one", &first), ("..two", &second)] {
        std::fs::create_dir_all(folder.0.join(name)).unwrap();
        folder.pair(&format!("{name}/tls"), made);
    }
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, folder.0.join(at)).unwrap();
    link("..one", "..data");
    link("..data/tls.crt", "tls.crt");
    link("..data/tls.key", "tls.key");
    let named = |variable, name: &str| Named { variable, path: folder.0.join(name) };
    let live = files(vec![(named(CERT, "tls.crt"), named(KEY, "tls.key"))]).open(then()).unwrap();
    link("..two", "..data_tmp");
    std::fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
    assert_eq!([live.look(then()), live.look(then())], [Look::Same, Look::Applied]);
    assert!(served(&live.load(), &authority, "a.example") == der(&second));
}

#[test]
fn roots_and_an_own_certificate_towards_the_service() {
    let folder = Folder::new("upstream");
    let authority = Authority::new();
    let ca =
        |content: &str| Named { variable: "CROSSFADE_UPSTREAM_CA", path: folder.write("ca.crt", content) };
    let own = folder.pair("own", &authority.issue(&["us"]));
    let all = UpstreamFiles { ca: Some(ca(&authority.pem())), pair: Some(own.clone()) };
    assert!(all.clone().open(then()).unwrap().load().client_auth_cert_resolver.has_certs());
    let no_pair = UpstreamFiles { ca: all.ca.clone(), pair: None };
    assert!(!no_pair.open(then()).unwrap().load().client_auth_cert_resolver.has_certs());
    let bad = UpstreamFiles { ca: Some(ca("nothing")), pair: Some((own.1.clone(), own.0)) };
    let problems = sentences(&bad.open(then()).unwrap_err());
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(Path::new(&folder.0).exists());
}

#[test]
fn the_lists_of_words_are_complete() {
    for (place, outcome) in Handshake::ALL.into_iter().enumerate() {
        assert_eq!(outcome as usize, place, "{}", outcome.as_str());
    }
    for (place, version) in TlsVersion::ALL.into_iter().enumerate() {
        assert_eq!(version as usize, place, "{}", version.as_str());
    }
}
