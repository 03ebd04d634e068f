//! `infill pull` and `infill models`: the real program against a hub on this machine that speaks the hub's protocol.
//!
//! ```text
//! GET /api/models/org/tiny/revision/main?blobs=true   the list: names, sizes, SHA-256
//! GET /org/tiny/resolve/<commit>/model.safetensors    302 to the storage, another port: 206 from the byte asked for
//! ```
//! Files are real: the small model's GGUF, and the reference checkpoint.
mod hub;

use hub::{COMMIT, Hub, Trouble};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A user's home, and what the program says there.
struct House {
    folder: tempfile::TempDir,
    endpoint: String,
    more: Vec<(String, String)>,
}

struct Said {
    ok: bool,
    out: String,
    err: String,
}

impl House {
    fn at(hub: &Hub) -> House {
        House { folder: tempfile::tempdir().expect("a folder"), endpoint: hub.endpoint(), more: vec![] }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> House {
        self.more.push((name.into(), value.into()));
        self
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infill"));
        let ours = |name: &str| {
            ["INFILL_", "HF_", "HUGGING", "XDG_"].iter().any(|p| name.starts_with(p)) || name.to_lowercase().ends_with("_proxy")
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        let home = self.folder.path();
        command.env("HOME", home).env("HF_ENDPOINT", &self.endpoint).env("HF_HUB_DOWNLOAD_TIMEOUT", "20");
        command.envs(self.more.iter().cloned()).current_dir(home).args(arguments);
        Said::from(command.output().expect("infill runs"))
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert!(said.ok, "{arguments:?}: {}", said.err);
        said
    }

    /// Fails with one sentence that holds all of `words`.
    #[track_caller]
    fn fails(&self, arguments: &[&str], words: &[&str]) -> Said {
        let said = self.run(arguments);
        assert!(!said.ok && said.out.is_empty(), "{arguments:?}: {} {}", said.out, said.err);
        let last = said.err.lines().last().unwrap_or_default();
        assert!(last.starts_with("infill: "), "{}", said.err);
        for word in words {
            assert!(last.contains(word), "{word:?} is not in: {}", said.err);
        }
        for word in ["panicked", "os error", "Some(", "hf_secret"] {
            assert!(!said.err.contains(word), "{word:?} is in: {}", said.err);
        }
        said
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join(".cache/huggingface/hub")
    }

    fn repo(&self) -> PathBuf {
        self.cache().join("models--org--tiny")
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Said { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).expect("a fixture")
}

/// A repository with GGUF files.
fn ggufs() -> Hub {
    Hub::with(&[("nano-Q8_0.gguf", fixture("nano/nano.gguf")), ("README.md", b"hello".to_vec())])
}

/// A repository with a checkpoint, and things that nobody needs.
fn checkpoint() -> Hub {
    Hub::with(&[
        ("config.json", fixture("reference/lite/config.json")),
        ("tokenizer.json", fixture("nano/tokenizer.json")),
        ("model.safetensors", fixture("reference/lite/model.safetensors")),
        ("pytorch_model.bin", vec![1; 1000]),
        ("LICENSE", b"be good".to_vec()),
    ])
}

#[test]
fn a_whole_repository_lands_in_the_cache_and_is_used_offline() {
    let hub = checkpoint();
    let house = House::at(&hub);
    let said = house.succeeds(&["pull", "org/tiny"]);
    let snapshot = PathBuf::from(said.out.trim());
    assert_eq!(snapshot, house.repo().join("snapshots").join(COMMIT));
    assert_eq!(std::fs::read(snapshot.join("model.safetensors")).unwrap(), fixture("reference/lite/model.safetensors"));
    assert!(!snapshot.join("pytorch_model.bin").exists());
    assert_eq!(std::fs::read_to_string(house.repo().join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    assert!(std::fs::read_link(snapshot.join("config.json")).unwrap().starts_with("../../blobs"));
    assert!(said.err.contains("4 files") && said.err.contains("licence: deepseek-license (https://example.com/terms)"), "{}", said.err);
    // Again: nothing to do, and the licence has been shown.
    let requests = hub.requests().len();
    let again = house.succeeds(&["pull", "org/tiny"]);
    assert!(again.err.contains("all of it is here already") && !again.err.contains("licence"), "{}", again.err);
    assert_eq!(hub.requests().len(), requests + 1, "the list, and no file");
    let elsewhere = house.folder.path().join("elsewhere").display().to_string();
    let house = house.with("HF_HUB_CACHE", elsewhere);
    assert!(!house.succeeds(&["pull", "org/tiny"]).err.contains("licence"), "it has been shown");
    let house = House { more: vec![], ..house };
    // Without a network.
    drop(hub);
    assert_eq!(house.succeeds(&["pull", "org/tiny", "--offline"]).out, said.out);
    let unreachable = house.succeeds(&["pull", "org/tiny"]);
    assert!(unreachable.err.contains("cannot be reached") && unreachable.out == said.out, "{}", unreachable.err);
    assert_eq!(house.with("HF_HUB_OFFLINE", "1").succeeds(&["pull", "org/tiny"]).out, said.out);
}

#[test]
fn a_downloaded_gguf_completes_by_its_name() {
    let hub = ggufs();
    let house = House::at(&hub);
    let said = house.succeeds(&["pull", "org/tiny:q8_0"]);
    drop(hub);
    assert_eq!(std::fs::read(said.out.trim()).unwrap(), fixture("nano/nano.gguf"));
    std::fs::write(house.folder.path().join("a.py"), "def add(a, b):\n    return a\n").unwrap();
    let complete = |model: &str| house.succeeds(&["complete", "a.py:2:12", "--model", model]).out;
    // As the file in a folder of the user's: without the sidecar of the one inside the binary, which copies.
    let expected = complete(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/nano/nano.gguf"));
    for model in ["org/tiny", "org/tiny:Q8_0", "org/tiny/nano-Q8_0.gguf"] {
        assert_eq!(complete(model), expected, "{model}");
    }
    house.fails(&["complete", "a.py:2:12", "--model", "org/tiny:Q2_K"], &["not on this machine", "infill pull org/tiny:Q2_K"]);
    house.fails(&["complete", "a.py:2:12", "--model", "deepseek-coder-v2-lite-base"], &["infill pull deepseek-coder-v2-lite-base"]);
    let doctor = house.run(&["doctor", "--model", "org/tiny"]).out;
    assert!(doctor.contains("ok  downloads     org/tiny in ") && doctor.contains(".cache/huggingface/hub"), "{doctor}");
}

#[test]
fn a_cut_connection_is_resumed() {
    let hub = ggufs();
    hub.trouble(Trouble::Cut { after: 1_000_000, times: 2 });
    let house = House::at(&hub);
    let said = house.succeeds(&["pull", "org/tiny"]);
    assert_eq!(std::fs::read(said.out.trim()).unwrap(), fixture("nano/nano.gguf"));
    assert_eq!(hub.ranges(), [None, Some(1_000_000), Some(2_000_000)], "{}", said.err);
    assert!(said.err.contains("resuming"), "{}", said.err);
}

#[test]
fn a_download_that_broke_off_goes_on_in_the_next_process() {
    let hub = ggufs();
    hub.trouble(Trouble::Cut { after: 1_500_000, times: 1 });
    let house = House::at(&hub);
    hub.then(Trouble::Status(503, vec![]));
    house.fails(&["pull", "org/tiny"], &["stopped at 1.5 MB", "503", "run it again"]);
    std::fs::write(house.folder.path().join("x.py"), "x = 1\n").unwrap();
    house.fails(&["complete", "x.py:1:1", "--model", "org/tiny"], &["not whole", "infill pull org/tiny"]);
    house.fails(&["pull", "org/tiny", "--offline"], &["interrupted", "--offline"]);
    assert!(house.run(&["models"]).out.contains("pick: "));
    hub.calm();
    let said = house.succeeds(&["pull", "org/tiny"]);
    assert_eq!(std::fs::read(said.out.trim()).unwrap(), fixture("nano/nano.gguf"));
    assert_eq!(hub.ranges().last(), Some(&Some(1_500_000)));
    assert!(!house.repo().join("blobs").read_dir().unwrap().any(|f| f.unwrap().path().extension().is_some_and(|e| e == "incomplete")));
}

#[test]
fn a_server_that_ignores_the_range_starts_the_file_anew() {
    let hub = ggufs();
    hub.trouble(Trouble::Cut { after: 1_000_000, times: 1 });
    hub.then(Trouble::NoRanges);
    let house = House::at(&hub);
    let said = house.succeeds(&["pull", "org/tiny"]);
    assert_eq!(std::fs::read(said.out.trim()).unwrap(), fixture("nano/nano.gguf"));
}

#[test]
fn a_wrong_checksum_is_an_error_and_nothing_is_kept() {
    let hub = ggufs();
    hub.trouble(Trouble::Damage);
    let house = House::at(&hub);
    house.fails(&["pull", "org/tiny"], &["nano-Q8_0.gguf", "SHA-256", "run it again"]);
    assert_eq!(house.repo().join("blobs").read_dir().unwrap().count(), 0);
    assert!(!house.repo().join("refs/main").exists());
    hub.calm();
    house.succeeds(&["pull", "org/tiny"]);
}

#[test]
fn a_damaged_part_is_thrown_away_and_fetched_again() {
    let hub = ggufs();
    let house = House::at(&hub);
    let blob = house.repo().join("blobs").join(hub.etag("nano-Q8_0.gguf"));
    std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
    std::fs::write(blob.with_extension("incomplete"), vec![7; 500_000]).unwrap();
    let said = house.succeeds(&["pull", "org/tiny"]);
    assert!(said.err.contains("once more from the beginning"), "{}", said.err);
    assert_eq!(hub.ranges(), [Some(500_000), None]);
    assert_eq!(std::fs::read(said.out.trim()).unwrap(), fixture("nano/nano.gguf"));
}

#[test]
fn what_does_not_fit_the_disk_is_refused_before_it_begins() {
    let hub = ggufs();
    hub.claim("nano-Q8_0.gguf", 1 << 60);
    let house = House::at(&hub);
    house.fails(&["pull", "org/tiny"], &["needs 1152921504 GB", "are free", "HF_HUB_CACHE"]);
    assert_eq!(hub.ranges().len(), 0);
}

/// /dev/full is a disk that is full: every write to it fails as such a disk's do.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_meanwhile_is_named_with_the_remedy() {
    let hub = ggufs();
    let house = House::at(&hub);
    let blob = house.repo().join("blobs").join(hub.etag("nano-Q8_0.gguf"));
    std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", blob.with_extension("incomplete")).unwrap();
    house.fails(&["pull", "org/tiny"], &["The disk is full", "free some space", "HF_HUB_CACHE"]);
    assert!(!blob.exists());
}

#[test]
fn refusals_name_the_remedy() {
    let hub = ggufs();
    let house = House::at(&hub);
    let refused = |status: u16, code: &str, words: &[&str]| {
        hub.trouble(Trouble::Status(status, vec![("x-error-code".into(), code.into())]));
        house.fails(&["pull", "org/tiny"], words);
    };
    refused(401, "", &["org/tiny does not exist, or is not open", "HF_TOKEN"]);
    refused(401, "GatedRepo", &["accepted its terms", "/org/tiny", "HF_TOKEN", "hf auth login"]);
    refused(403, "GatedRepo", &["accepted its terms"]);
    refused(404, "RepoNotFound", &["There is no model org/tiny"]);
    refused(418, "", &["418"]);
    hub.calm();
    house.fails(&["pull", "org/other"], &["There is no model org/other"]);
    house.fails(&["pull", "org/tiny:Q2_K"], &["holds no Q2_K", "nano-Q8_0.gguf"]);
    house.fails(&["pull", "what is this"], &["what is this", "deepseek-coder-v2-lite-base", "org/repo"]);
    house.fails(&["pull", "nano"], &["inside this program"]);
    house.fails(&["pull", "org/tiny", "--offline"], &["not on this machine", "--offline"]);
    let nowhere = House { endpoint: "http://127.0.0.1:9".into(), ..House::at(&hub) };
    nowhere.fails(&["pull", "org/tiny"], &["127.0.0.1 cannot be reached", "HTTPS_PROXY", "HF_ENDPOINT"]);
    House { endpoint: "ftp:nowhere".into(), ..House::at(&hub) }.fails(&["pull", "org/tiny"], &["HF_ENDPOINT", "ftp:nowhere"]);
}

#[test]
fn a_model_that_does_not_run_is_refused_before_its_weights() {
    let config = String::from_utf8(fixture("reference/lite/config.json")).unwrap().replace("deepseek_v2", "llama");
    let hub = Hub::with(&[("config.json", config.into()), ("tokenizer.json", b"{}".to_vec()), ("model.safetensors", vec![1; 3_000_000])]);
    let house = House::at(&hub);
    house.fails(&["pull", "org/tiny"], &["infill does not run org/tiny", "llama", "--force"]);
    assert!(!hub.requests().iter().any(|r| r.contains("model.safetensors")));
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let hub = ggufs();
    let house = House::at(&hub).with("HF_TOKEN", "hf_secret");
    house.succeeds(&["pull", "org/tiny"]);
    let from_file = House::at(&hub);
    std::fs::create_dir_all(from_file.folder.path().join(".cache/huggingface")).unwrap();
    std::fs::write(from_file.folder.path().join(".cache/huggingface/token"), "hf_secret\n").unwrap();
    from_file.succeeds(&["pull", "org/tiny"]);
    for request in hub.requests() {
        let storage = request.contains("GET /storage");
        assert_eq!(request.contains("hf_secret"), !storage, "{request}");
    }
    hub.trouble(Trouble::Status(401, vec![]));
    House::at(&hub).with("HF_TOKEN", "hf_secret").fails(&["pull", "org/tiny"], &["does not accept the token"]);
}

#[test]
fn a_proxy_serves_remote_hubs_and_never_this_machine() {
    let hub = ggufs();
    let proxy = hub.endpoint();
    let remote = House { endpoint: "http://hub.invalid".into(), ..House::at(&hub) }.with("HTTP_PROXY", &proxy).with("http_proxy", &proxy);
    remote.succeeds(&["pull", "org/tiny"]);
    assert!(hub.requests().iter().any(|r| r.starts_with("GET http://hub.invalid/api/models/org/tiny")), "{:?}", hub.requests());
    let dead = "http://127.0.0.1:9";
    House::at(&hub).with("HTTP_PROXY", dead).with("http_proxy", dead).with("ALL_PROXY", dead).succeeds(&["pull", "org/tiny"]);
}

#[test]
fn caches_of_other_programs_are_used_wherever_they_are() {
    let hub = checkpoint();
    let house = House::at(&hub);
    let elsewhere = house.folder.path().join("big disk");
    let house = house.with("HF_HUB_CACHE", elsewhere.display().to_string());
    let said = house.succeeds(&["pull", "org/tiny"]);
    assert!(Path::new(said.out.trim()).starts_with(&elsewhere), "{}", said.out);
    // As huggingface_hub leaves a repository of which someone wanted one file.
    let other = elsewhere.join("models--org--half/snapshots/0123456789012345678901234567890123456789");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("config.json"), "{}").unwrap();
    std::fs::write(house.folder.path().join("x.py"), "x = 1\n").unwrap();
    house.fails(&["complete", "x.py:1:1", "--model", "org/half"], &["not whole", "tokenizer.json is missing", "infill pull org/half"]);
    let json: serde_json::Value = serde_json::from_str(&house.succeeds(&["models", "--json", "--model", "org/tiny"]).out).unwrap();
    let entry = json["models"].as_array().unwrap().iter().find(|m| m["name"] == "org/tiny").expect("the model");
    assert_eq!((&entry["state"], &entry["configured"]), (&"downloaded".into(), &true.into()));
    assert_eq!(entry["bytes"], fixture("reference/lite/model.safetensors").len());
    assert_eq!(entry["fits_memory"], true);
    assert_eq!(json["models"][0]["name"], "nano");
    assert!(json["models"].as_array().unwrap().iter().any(|m| m["name"] == "deepseek-coder-v2-lite-base" && m["state"] == "not_here"));
    let text = house.succeeds(&["models", "--model", "org/tiny"]).out;
    assert!(text.lines().any(|l| l.starts_with("* org/tiny") && l.contains("downloaded")), "{text}");
    assert!(text.contains("pick: "), "{text}");
}

#[test]
fn two_at_once_download_once() {
    let hub = ggufs();
    let house = House::at(&hub);
    let said: Vec<Said> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..3).map(|_| scope.spawn(|| house.succeeds(&["pull", "org/tiny"]))).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(said.iter().all(|s| s.out == said[0].out));
    let err: Vec<&str> = said.iter().map(|s| s.err.as_str()).collect();
    assert_eq!(hub.ranges(), [None], "{err:?}");
}

#[test]
fn names_from_the_hub_cannot_leave_the_cache() {
    let hub = Hub::with(&[("nano-Q8_0.gguf", fixture("nano/nano.gguf")), ("../../../../evil-Q4_K_M.gguf", b"evil".to_vec())]);
    let house = House::at(&hub);
    house.succeeds(&["pull", "org/tiny"]);
    assert!(!hub.requests().iter().any(|r| r.contains("evil")));
    hub.rename_etag("nano-Q8_0.gguf", "../../../../etc");
    House::at(&hub).fails(&["pull", "org/tiny"], &["something else than a hub"]);
    hub.trouble(Trouble::Garbage);
    House::at(&hub).fails(&["pull", "org/tiny"], &["something else than a hub"]);
}
