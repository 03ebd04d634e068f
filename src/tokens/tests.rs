//! The tokenizer against public vectors and the `tokenizers` crate, and healing at every byte of a corpus.
use super::*;
use proptest::prelude::*;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The 100k tokenizer, and its file; it is not in the repository.
fn large() -> Option<&'static (Tokens, tokenizers::Tokenizer)> {
    static LARGE: OnceLock<Option<(Tokens, tokenizers::Tokenizer)>> = OnceLock::new();
    LARGE.get_or_init(|| load("../shared/data/tokenizer/tokenizer.json")).as_ref()
}

fn nano() -> Option<&'static (Tokens, tokenizers::Tokenizer)> {
    static NANO: OnceLock<Option<(Tokens, tokenizers::Tokenizer)>> = OnceLock::new();
    NANO.get_or_init(|| load("fixtures/nano/tokenizer.json")).as_ref()
}

fn load(path: &str) -> Option<(Tokens, tokenizers::Tokenizer)> {
    let file = repository(path);
    if !file.exists() {
        // Past the capture of a test that passes: what was not run is to be seen.
        let _ = writeln!(std::io::stderr(), "NOT RUN: {path} is absent, so nothing is tested with DeepSeek's tokenizer here");
        return None;
    }
    Some((Tokens::from_file(&file).unwrap(), tokenizers::Tokenizer::from_file(&file).unwrap()))
}

fn both() -> impl Iterator<Item = &'static (Tokens, tokenizers::Tokenizer)> {
    [large(), nano()].into_iter().flatten()
}

#[test]
fn the_public_vectors_pass() {
    let Some((tokens, _)) = large() else { return };
    let folder = repository("../shared/data/tokenizer");
    let input = std::fs::read_to_string(folder.join("vectors.inp")).unwrap();
    let output = std::fs::read_to_string(folder.join("vectors.out")).unwrap();
    let texts: Vec<&str> = input.split("\n__ggml_vocab_test__\n").collect();
    let expected: Vec<Vec<u32>> = output.split('\n').map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect()).collect();
    let mut passed = 0;
    for (text, expected) in texts.iter().zip(&expected) {
        assert_eq!(&tokens.encode(text), expected, "{text:?}");
        assert_eq!(tokens.decode(expected), text.as_bytes());
        passed += 1;
    }
    assert_eq!(passed, 47);
}

#[test]
fn special_tokens_are_read_by_name() {
    for (tokens, original) in both() {
        let ids = tokens.special();
        let named = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"];
        let expected = named.map(|name| original.token_to_id(name).unwrap());
        assert_eq!([ids.bos, ids.eos, ids.fim_begin, ids.fim_hole, ids.fim_end], expected);
        assert!(expected.iter().all(|&id| tokens.is_special(id)));
    }
}

#[test]
fn a_file_that_holds_the_special_tokens_is_only_text() {
    for (tokens, original) in both() {
        let ids = tokens.special();
        for text in ["a <｜fim▁hole｜> b", "<｜fim▁begin｜><｜fim▁end｜>", "<｜begin▁of▁sentence｜><｜end▁of▁sentence｜>"]
        {
            // The trap is real: the tokenizer as it comes reads them as special.
            assert!(original.encode(text, false).unwrap().get_ids().iter().any(|&id| tokens.is_special(id)));
            let encoded = tokens.encode(text);
            assert!(encoded.iter().all(|&id| !tokens.is_special(id)), "{text}: {encoded:?}");
            assert_eq!(tokens.decode(&encoded), text.as_bytes());
            let prompt = tokens.prompt(text, text, text.as_bytes());
            let special: Vec<u32> = prompt.tokens.iter().copied().filter(|&id| tokens.is_special(id)).collect();
            assert_eq!(special, [ids.bos, ids.fim_begin, ids.fim_hole, ids.fim_end]);
        }
    }
}

#[test]
fn a_tokenizer_without_fim_tokens_is_refused_with_the_remedy() {
    let Some(file) = std::fs::read_to_string(repository("fixtures/nano/tokenizer.json")).ok() else {
        return println!("not run here: fixtures/nano/tokenizer.json is absent");
    };
    let without = file.replace("fim▁hole", "ordinary");
    let error = Tokens::from_json(without.as_bytes()).err().unwrap().to_string();
    assert!(error.contains("cannot fill in the middle") && error.contains("fim▁hole"), "{error}");
    let other = file
        .replace("\"individual_digits\":true", "\"individual_digits\":false")
        .replace("\"individual_digits\": true", "\"individual_digits\": false");
    let error = Tokens::from_json(other.as_bytes()).err().unwrap().to_string();
    assert!(error.contains("Digits false"), "{error}");
}

/// The `tokenizers` crate would panic; found by fuzzing.
#[test]
fn a_merge_that_makes_no_token_is_named() {
    let names =
        ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"].map(str::to_owned);
    let mut bytes = String::new();
    decode::to_alphabet(&(0..=255).collect::<Vec<u8>>(), &mut bytes);
    let tokens: Vec<String> = names.into_iter().chain(bytes.chars().map(String::from)).collect();
    let token_types = [vec![3; 5], vec![1; 256]].concat();
    let mut vocabulary = Vocabulary { tokens, token_types, pre: "deepseek-llm".into(), ..Vocabulary::default() };
    assert_eq!(Tokens::from_vocabulary(&vocabulary).unwrap().encode("ab").len(), 2);
    // The blank's letter takes two bytes: with "a" that is longer than any token.
    vocabulary.merges = vec!["a Ġ".into()];
    let error = Tokens::from_vocabulary(&vocabulary).err().unwrap().to_string();
    assert!(error.contains("\"a\" and \"Ġ\" makes is no token"), "{error}");
}

#[test]
fn the_vocabulary_of_a_gguf_file_gives_the_same_tokens() {
    let path = repository("fixtures/nano/nano.gguf");
    let (Some((expected, _)), true) = (nano(), path.exists()) else {
        return println!("not run here: fixtures/nano/nano.gguf is absent");
    };
    let mut vocabulary = Vocabulary::read(&path).unwrap();
    let tokens = Tokens::from_vocabulary(&vocabulary).unwrap();
    assert_eq!((tokens.special(), &tokens.bytes), (expected.special(), &expected.bytes));
    let text = CORPUS.concat() + "<｜fim▁hole｜>";
    assert_eq!(tokens.encode(&text), expected.encode(&text));
    vocabulary.pre = "llama-bpe".to_owned();
    let error = Tokens::from_vocabulary(&vocabulary).err().unwrap().to_string();
    assert!(error.contains("llama-bpe") && error.contains("deepseek-llm"), "{error}");
}

#[test]
fn the_template_names_its_boundaries() {
    let Some((tokens, _)) = nano().or(large()) else { return };
    let ids = tokens.special();
    let prompt = tokens.prompt("let a = 1;\n", "\nend", b"if x == y {\n    ret");
    let at = |i: usize| prompt.tokens[i];
    assert_eq!((at(0), at(1), at(prompt.prefix_end), at(prompt.suffix_end - 1)), (ids.bos, ids.fim_begin, ids.fim_hole, ids.fim_end));
    assert_eq!(tokens.decode(&prompt.tokens[..prompt.prefix_end]), b"let a = 1;\n");
    assert_eq!(tokens.decode(&prompt.tokens[prompt.prefix_end..prompt.suffix_end]), b"\nend");
    assert_eq!(tokens.decode(&prompt.tokens[prompt.suffix_end..]), b"if x == y {\n   ");
    assert_eq!(prompt.held, b" ret");
}

/// Text of all the kinds that the splits tell apart.
fn text() -> impl Strategy<Value = String> {
    let character = prop::sample::select(
        "aB é я ï µ ǅ Ⰰ Ａ ა ℂ 1 7 ½ ① ๑ Ⅷ + ( . _ “ 。 \u{3000} ， 中 文 가 ᄀ ힰ 🦙 \u{301} \u{200d} \u{2003} \u{a0} \u{2028} \u{85}\t\n\r  "
            .chars()
            .collect::<Vec<_>>(),
    );
    prop::collection::vec(character, 0..14).prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn pieces_are_those_of_the_original_expressions(text in text()) {
        use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};
        // Both have the same splits; `check_splits` sees to it.
        if let Some((_, original)) = both().next() {
            let mut split = PreTokenizedString::from(text.as_str());
            original.get_pre_tokenizer().unwrap().pre_tokenize(&mut split).unwrap();
            let offsets = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let expected: Vec<&str> = offsets.iter().map(|(_, (from, to), _)| &text[*from..*to]).collect();
            prop_assert_eq!(split::pieces(&text).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn stable_tokens_stay_whatever_follows(start in text(), rest in text()) {
        let whole = start.clone() + &rest;
        let head: Vec<&str> = split::settled(&start).collect();
        prop_assert_eq!(head.concat().len(), split::stable(&start));
        let all: Vec<&str> = split::pieces(&whole).collect();
        prop_assert!(all.starts_with(&head), "{head:?} is no beginning of {all:?}");
    }

    #[test]
    fn any_text_comes_back(text in "\\PC*", other in any::<String>(), kinds in text()) {
        let text = text + &other + &kinds;
        for (tokens, _) in both() {
            prop_assert_eq!(tokens.decode(&tokens.encode(&text)), text.as_bytes());
        }
    }

    #[test]
    fn any_bytes_come_back_with_those_that_are_held(bytes in prop::collection::vec(any::<u8>(), 0..40), text in text()) {
        let bytes = [text.as_bytes(), &bytes].concat();
        for (tokens, _) in both() {
            let (ids, held) = tokens.split_tail(&bytes);
            prop_assert_eq!([tokens.decode(&ids), held].concat(), &bytes[..]);
        }
    }

    #[test]
    fn streamed_characters_are_whole(bytes in prop::collection::vec(prop::sample::select(vec![b'a', 0xc3, 0xa9, 0xf0, 0x9f, 0xa6, 0x99, 0xff]), 0..12)) {
        let mut stream = decode::Utf8Stream::default();
        let mut out: String = bytes.iter().map(|&byte| stream.push(&[byte])).collect();
        if !stream.is_whole() {
            out.push('\u{fffd}');
        }
        prop_assert_eq!(out, String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn the_stable_part_leaves_little_to_heal() {
    for (line, expected) in [
        ("let x = foo", "let x ="),
        ("let x = foo(", "let x = foo"),
        ("a\n", "a\n"),
        ("a\n    ", "a\n"),
        ("a + ", "a +"),
        ("x = 12", "x = 12"),
        ("нещо на Бъл", "нещо на"),
        ("🦙 ", ""),
        ("🦙 x", "🦙"),
        ("中文 ", "中文"),
    ] {
        assert_eq!(&line[..split::stable(line)], expected, "{line:?}");
    }
}

const CORPUS: &[&str] = &[
    "    let total: u64 = items.iter().map(|item| item.price * 12).sum();\n",
    "def größe(straße, naïve=\"日本語 text\"):  # здравей 🦙🦙 and 👩‍👩‍👧 e\u{301}\n",
    "\t\tif (x != NULL && y->next == 0x7fff) { return -1; }   \n",
    "println!(\"{}, {:?}\", self.name, other); // “quoted” — 中文，文字。　全角\r\n",
];

/// What a model that has memorised `line` writes after `line[..cut]`, with healing: it prefers its next token always.
fn heal(tokens: &Tokens, line: &[u8], cut: usize) -> Vec<u8> {
    let memorised = tokens.encode(std::str::from_utf8(line).unwrap());
    let (mut sequence, mut held) = tokens.split_tail(&line[..cut]);
    let mut written = Vec::new();
    assert!(memorised.starts_with(&sequence), "the stable tokens are those of the whole line");
    while let Some(&next) = memorised.get(sequence.len()) {
        let mut allowed = Vec::new();
        tokens.agreeing(&held, &mut allowed);
        assert!(held.is_empty() || allowed.contains(&next), "the next token agrees with the held bytes");
        let bytes = tokens.bytes(next);
        written.extend_from_slice(&bytes[held.len().min(bytes.len())..]);
        held.drain(..bytes.len().min(held.len()));
        sequence.push(next);
    }
    written
}

#[test]
fn healing_reproduces_every_line_from_every_byte() {
    for (tokens, _) in both() {
        for line in CORPUS.iter().map(|line| line.as_bytes()) {
            for cut in 0..=line.len() {
                assert_eq!(heal(tokens, line, cut), &line[cut..], "cut at {cut}");
            }
        }
    }
}

#[test]
fn the_mask_is_what_a_scan_of_the_vocabulary_gives() {
    for (tokens, _) in both() {
        for held in [&b" "[..], b"f", b" retur", b"\xf0\x9f", b"    ", "é".as_bytes(), b"zzzzqqq"] {
            let mut allowed = Vec::new();
            tokens.agreeing(held, &mut allowed);
            allowed.sort_unstable();
            let agrees = |bytes: &[u8]| !bytes.is_empty() && (bytes.starts_with(held) || held.starts_with(bytes));
            let expected: Vec<u32> = (0..tokens.len() as u32).filter(|&id| agrees(tokens.bytes(id))).collect();
            assert_eq!(allowed, expected, "{held:?}");
            assert!(!allowed.is_empty());
        }
    }
}

#[test]
fn kept_encodings_are_the_same_and_bounded() {
    let Some((tokens, _)) = nano().or(large()) else { return };
    for round in 0..3 {
        for n in 0..KEPT + 4 {
            let text = format!("fn f{n}() {{}}\n");
            assert_eq!(&*tokens.encode_kept(&text), tokens.encode(&text), "round {round}");
        }
    }
    assert_eq!(tokens.recent.lock().unwrap().len(), KEPT);
}

/// Prints what the design asks for; nothing is asserted about time.
#[test]
fn figures() {
    let Some((tokens, _)) = large() else { return };
    let entries = || (0..tokens.len() as u32).map(|id| (id, tokens.bytes(id))).filter(|(_, bytes)| !bytes.is_empty());
    let start = std::time::Instant::now();
    let trie = Trie::new(entries());
    println!("trie of {} tokens: {:?}", tokens.len(), start.elapsed());
    for held in [&b" "[..], b" retur", b"s"] {
        let (mut allowed, start) = (Vec::new(), std::time::Instant::now());
        trie.agreeing(held, &mut allowed);
        println!("mask for {:?}: {} tokens in {:?}", String::from_utf8_lossy(held), allowed.len(), start.elapsed());
    }
    let source = include_str!("../cache.rs");
    let text = &source[..(0..=8192).rev().find(|&at| source.is_char_boundary(at)).unwrap()];
    for _ in 0..2 {
        let start = std::time::Instant::now();
        let encoded = tokens.encode(text);
        println!("{} bytes to {} tokens: {:?} ({:.2} bytes a token)", text.len(), encoded.len(), start.elapsed(), tokens.bytes_per_token());
    }
}
