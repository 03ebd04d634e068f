//! Backends for the worker's tests: small, exact, and wrong as soon as a table, a slot or a copy is.
//!
//! Each slot stores what ran there and a chain over all slots before it, read back through the table. So logits depend on
//! every latent, as a model's do: a stale slot or a wrong copy changes the answer, and an unwritten one is not a number.
use crate::cache::BlockId;
use crate::model::{BLOCK, Backend, Part, cpu::Cpu};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};

/// What the test sees of a backend inside a worker.
#[derive(Default)]
pub struct Probe {
    /// Tokens run, and forward passes.
    pub tokens: AtomicUsize,
    pub passes: AtomicUsize,
    /// Fail, or panic, in the next pass.
    pub fail: AtomicBool,
    pub panic: AtomicBool,
    /// Sequences in each pass.
    pub widths: Mutex<Vec<usize>>,
    gate: Mutex<Option<usize>>,
    opened: Condvar,
}

impl Probe {
    /// Lets so many passes through, then holds the next one until `open`.
    pub fn close_after(&self, passes: usize) {
        *self.gate.lock().unwrap() = Some(passes);
    }

    pub fn open(&self) {
        *self.gate.lock().unwrap() = None;
        self.opened.notify_all();
    }

    /// Waits until so many passes have begun.
    pub fn wait_for_passes(&self, passes: usize) {
        // Not a measure of speed: a test that can never go on should say so.
        for _ in 0..60_000 {
            if self.passes.load(SeqCst) >= passes {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("the worker never began pass {passes}");
    }

    fn pass(&self) {
        self.passes.fetch_add(1, SeqCst);
        let mut gate = self.gate.lock().unwrap();
        if let Some(left) = gate.as_mut().filter(|left| **left > 0) {
            *left -= 1;
            return;
        }
        while gate.is_some() {
            gate = self.opened.wait(gate).unwrap();
        }
    }
}

/// How the logits of a position follow from what the slots hold.
pub type Rule = Box<dyn Fn(&[u32], u64, &mut [f32]) + Send>;

pub struct TestModel {
    pool: Vec<Option<(u32, u64)>>,
    vocab: usize,
    context: usize,
    rule: Rule,
    /// Chooses by itself, as a GPU does.
    pub ahead: bool,
    /// Tokens that it takes in one pass, as a GPU does.
    pub together: usize,
    /// Tokens that are worth a pass.
    pub worthwhile: usize,
    /// What a pass takes.
    pub pause: std::time::Duration,
    pub probe: Arc<Probe>,
}

impl TestModel {
    pub fn new(vocab: usize, blocks: usize, rule: Rule) -> TestModel {
        TestModel {
            pool: vec![None; blocks * BLOCK],
            vocab,
            context: 4096,
            rule,
            ahead: false,
            together: 1,
            worthwhile: 16,
            pause: std::time::Duration::ZERO,
            probe: Arc::default(),
        }
    }

    fn slot(table: &[BlockId], at: usize) -> usize {
        table[at / BLOCK].0 as usize * BLOCK + at % BLOCK
    }

    /// All tokens up to `at` and the chain over them, from the pool; `None` if a slot is poisoned or out of place.
    fn read(&self, table: &[BlockId], at: usize) -> Option<(Vec<u32>, u64)> {
        let (mut tokens, mut chain) = (Vec::new(), 0);
        for position in 0..=at {
            let (token, stored) = self.pool[Self::slot(table, position)]?;
            chain = link(chain, token, position);
            if stored != chain {
                return None;
            }
            tokens.push(token);
        }
        Some((tokens, chain))
    }
}

fn link(chain: u64, token: u32, position: usize) -> u64 {
    let mixed = (chain ^ u64::from(token) ^ (position as u64) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 31
}

impl Backend for TestModel {
    fn vocab(&self) -> usize {
        self.vocab
    }

    fn context(&self) -> usize {
        self.context
    }

    fn block_bytes(&self) -> usize {
        BLOCK * 16
    }

    fn worthwhile(&self) -> usize {
        self.worthwhile
    }

    fn forward(&mut self, table: &[BlockId], start: usize, tokens: &[u32], rows: usize) -> anyhow::Result<Vec<f32>> {
        self.probe.pass();
        std::thread::sleep(self.pause);
        assert!(!self.probe.panic.swap(false, SeqCst), "a panic that the test asked for");
        anyhow::ensure!(!self.probe.fail.swap(false, SeqCst), "a failure that the test asked for");
        self.probe.tokens.fetch_add(tokens.len(), SeqCst);
        let mut before = if start == 0 { Some(0) } else { self.read(table, start - 1).map(|(_, chain)| chain) };
        for (at, &token) in (start..).zip(tokens) {
            before = before.map(|chain| link(chain, token, at));
            self.pool[Self::slot(table, at)] = before.map(|chain| (token, chain));
        }
        let mut logits = vec![f32::NAN; rows * self.vocab];
        for (row, at) in (start + tokens.len() - rows..start + tokens.len()).enumerate() {
            if let Some((tokens, chain)) = self.read(table, at) {
                let row = &mut logits[row * self.vocab..(row + 1) * self.vocab];
                row.fill(0.0);
                (self.rule)(&tokens, chain, row);
            }
        }
        Ok(logits)
    }

    fn steps(&self) -> usize {
        if self.ahead { 5 } else { 0 }
    }

    fn ahead(&mut self, parts: &[Part<'_>], limit: usize, steps: usize) -> anyhow::Result<Vec<Vec<(u32, f32)>>> {
        let line = |part: &Part<'_>| {
            let (mut chosen, mut next) = (Vec::new(), part.tokens[0]);
            for step in 0..steps {
                let row = self.forward(part.table, part.start + step, &[next], 1)?;
                let best = super::pick::best(&row, 0..limit.min(self.vocab) as u32).ok_or_else(|| anyhow::anyhow!("no number"))?;
                next = best.token;
                chosen.push((best.token, best.logprob));
            }
            Ok(chosen)
        };
        parts.iter().map(line).collect()
    }

    fn together(&self) -> usize {
        self.together
    }

    fn batch(&mut self, parts: &[Part<'_>]) -> anyhow::Result<Vec<Vec<f32>>> {
        self.probe.widths.lock().unwrap().push(parts.len());
        parts.iter().map(|p| self.forward(p.table, p.start, p.tokens, p.rows)).collect()
    }

    fn copy_block(&mut self, from: BlockId, to: BlockId, slots: usize) {
        let (from, to) = (from.0 as usize * BLOCK, to.0 as usize * BLOCK);
        // What is not copied is poisoned: nothing may read it before it is written.
        self.pool[to..to + BLOCK].fill(None);
        self.pool.copy_within(from..from + slots, to);
    }
}

/// Any text token of `tiny_tokens` may follow, by the hash of everything before; often the one five places back, so that drafts are sometimes right.
pub fn chaotic() -> Rule {
    const TEXT: u64 = 264;
    Box::new(|tokens, chain, row| {
        for (token, logit) in row.iter_mut().enumerate() {
            *logit = (link(chain, token as u32, 7) % 1000) as f32 / 200.0;
        }
        let repeated = tokens.len().checked_sub(5).map(|at| u64::from(tokens[at]));
        let next = repeated.filter(|&token| token < TEXT && !chain.is_multiple_of(4)).unwrap_or(chain % TEXT);
        row[next as usize] = 9.0;
    })
}

/// Knows one line by heart: after `marker` it wants `line`, then `end`.
pub fn memorised(marker: u32, line: Vec<u32>, end: u32) -> Rule {
    Box::new(move |tokens, _, row| {
        let begun = tokens.iter().rposition(|&token| token == marker).map_or(0, |at| at + 1);
        let so_far = &tokens[begun..];
        let next = if line.starts_with(so_far) { line.get(so_far.len()).copied().unwrap_or(end) } else { end };
        row[next as usize] = 9.0;
    })
}

/// A real model whose slots read as NaN until they are written, and again when they are given up.
pub struct Poisoned(pub Cpu);

impl Backend for Poisoned {
    fn vocab(&self) -> usize {
        self.0.vocab()
    }

    fn context(&self) -> usize {
        self.0.context()
    }

    fn block_bytes(&self) -> usize {
        self.0.block_bytes()
    }

    fn forward(&mut self, table: &[BlockId], start: usize, tokens: &[u32], rows: usize) -> anyhow::Result<Vec<f32>> {
        for (at, &block) in table.iter().enumerate().skip(start / BLOCK) {
            self.0.poison(block, start.saturating_sub(at * BLOCK));
        }
        self.0.forward(table, start, tokens, rows)
    }

    fn copy_block(&mut self, from: BlockId, to: BlockId, slots: usize) {
        self.0.copy_block(from, to, slots);
        self.0.poison(to, slots);
    }
}

/// A byte-level tokenizer with a few merges, DeepSeek's splits and the five special tokens.
pub fn tiny_tokens() -> Arc<crate::tokens::Tokens> {
    Arc::new(crate::tokens::Tokens::from_json(tiny_json().as_bytes()).unwrap())
}

/// Its `tokenizer.json`.
pub fn tiny_json() -> String {
    use crate::tokens::{decode::to_alphabet, split};
    let alphabet = |bytes: &[u8]| {
        let mut text = String::new();
        to_alphabet(bytes, &mut text);
        text
    };
    let mut words: Vec<String> = (0..=255u8).map(|byte| alphabet(&[byte])).collect();
    let pairs = [("l", "e"), ("le", "t"), (" ", "let"), (" ", " "), ("a", "b"), ("ab", "ab"), (" ", "ab"), ("e", "t")];
    let merges: Vec<[String; 2]> = pairs.iter().map(|(a, b)| [alphabet(a.as_bytes()), alphabet(b.as_bytes())]).collect();
    words.extend(merges.iter().map(|pair| pair.concat()));
    let names = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"];
    let added: Vec<_> = (words.len()..).zip(names).map(|(id, name)| serde_json::json!({"id": id, "content": name})).collect();
    let split =
        |pattern: String| serde_json::json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let json = serde_json::json!({
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            split("[\r\n]".to_owned()), split(format!("\\s?[{}]+", split::LETTERS)), split(format!("\\s?[{}]+", split::SIGNS)),
            split("\\s+$".to_owned()), split(format!("[{}]+", split::IDEOGRAPHS)),
            {"type": "Digits", "individual_digits": true},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        ]},
        "model": {
            "vocab": words.iter().enumerate().map(|(id, word)| (word.clone(), id.into())).collect::<serde_json::Map<_, _>>(),
            "merges": merges,
        },
    });
    json.to_string()
}
