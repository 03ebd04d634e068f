//! The local engine with the model inside the binary.
use super::*;
use crate::engine::Event;

fn text(mut answer: Answer) -> Result<String, EngineError> {
    let mut out = String::new();
    while let Some(event) = answer.blocking_recv() {
        match event {
            Event::Text { text, .. } => out += &text,
            Event::Top(_) => {}
            Event::Done { .. } => return Ok(out),
            Event::Failed(error) => return Err(error),
        }
    }
    panic!("no end")
}

fn request(tail: &str) -> Request {
    let prefix = "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n".to_owned();
    Request { prefix, suffix: "\n\nprint(sub(3, 1))\n".into(), tail: tail.into(), max_tokens: 24, ..Request::default() }
}

#[cfg(feature = "nano")]
#[tokio::test]
async fn nano_loads_behind_our_back_and_answers_the_same_warm_and_cold() {
    let open = || Local::open("nano", LocalOptions { cache_bytes: Some(64 << 20), ..LocalOptions::default() }).unwrap();
    let warm = Arc::new(open());
    let info = warm.loaded().await.unwrap();
    assert!(info.context > 256 && info.bytes_per_token > 1.5, "{info:?}");
    // As many whole blocks as fit the budget.
    assert!((60 << 20..=64 << 20).contains(&info.cache_bytes) && info.cache_tokens > info.context, "{info:?}");
    let ask = async |engine: &Arc<Local>, request: Request| {
        let answer = engine.submit(request);
        tokio::task::spawn_blocking(move || text(answer)).await.unwrap().unwrap()
    };
    let cold = Arc::new(open());
    for tail in ["", " ", "    ", "    r", "    ret", "    return", "    return a", "    re"] {
        let fresh = Arc::new(open());
        let expected = ask(&fresh, request(tail)).await;
        assert_eq!(ask(&warm, request(tail)).await, expected, "{tail:?}");
        assert_eq!(ask(&warm, Request { draft: true, ..request(tail) }).await, expected, "{tail:?}, drafting");
    }
    drop(cold);
    assert!(warm.totals().reused > warm.totals().computed);
}

#[test]
fn what_cannot_be_opened_says_what_to_do() {
    let open = |model: &str, device| Local::open(model, LocalOptions { device, ..LocalOptions::default() });
    let error = open("no/such/model.gguf", Device::Auto).err().unwrap().to_string();
    assert!(error.contains("no/such/model.gguf") && error.contains("set model to"), "{error}");
    // A file that is no model: known when it is read, told to every request.
    let file = tempfile::NamedTempFile::new().unwrap();
    let engine = open(&file.path().to_string_lossy(), Device::Cpu).unwrap();
    for _ in 0..2 {
        assert!(text(engine.submit(request(""))).unwrap_err().title.contains("cannot be used"));
    }
    assert_eq!(engine.info(), None);
}

#[cfg(feature = "nano")]
#[test]
fn where_it_ran_is_what_its_health_tells() {
    let config = Config { cache: crate::config::Cache { format: CacheFormat::Fp8, ..Config::default().cache }, ..Config::default() };
    let ran = |device: &str| {
        let mut health = health(&config).unwrap();
        health.ran(&Info { device: device.into(), cache_tokens: 4096, cache_bytes: 1 << 20, ..Info::default() });
        health
    };
    let (gpu, cpu) = (ran("cuda:1"), ran("cpu, because the GPU cannot be used: it is too old"));
    assert!(gpu.on_gpu() && gpu.cache_note.is_none());
    assert!(!cpu.on_gpu() && cpu.cache_note.is_some_and(|note| note.contains("on a CPU the cache is in f32")));
    assert_eq!((gpu.cache_tokens, gpu.cache_bytes, cpu.cache_tokens), (4096, 1 << 20, 4096));
}

#[test]
fn the_budget_is_bounded_by_memory() {
    assert_eq!(blocks(Some(0), 1 << 30, 1000), 0);
    assert_eq!(blocks(Some(10_000), 1 << 30, 1000), 10);
    assert_eq!(blocks(Some(u64::MAX), 1_000_000, 1000), 900);
    assert_eq!(blocks(None, 1_000_000, 1000), 250);
    assert!(free_memory() > 0);
}

/// No machine has a GPU of this number: known when the model is loaded, told to every request, with the remedy.
#[test]
fn a_gpu_that_is_not_there_says_what_to_do() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reference/lite");
    let options = LocalOptions { device: Device::Cuda(777), ..LocalOptions::default() };
    let engine = Local::open(&folder.to_string_lossy(), options).unwrap();
    let error = text(engine.submit(request(""))).unwrap_err();
    assert!(error.title.contains("cuda:777") && error.hint.contains("set device to"), "{error}");
}
