//! Names, and what they choose.
use super::*;

#[test]
fn names() {
    let parse = |text: &str| Name::parse(text).map(|n| (n.repo, n.part));
    let lite = Some(("deepseek-ai/DeepSeek-Coder-V2-Lite-Base".to_owned(), Part::Whole));
    assert_eq!(parse("DeepSeek-Coder-V2-Lite-Base"), lite);
    assert_eq!(parse("deepseek-ai/DeepSeek-Coder-V2-Lite-Base"), lite);
    assert_eq!(parse("https://huggingface.co/deepseek-ai/DeepSeek-Coder-V2-Lite-Base/tree/main"), lite);
    assert_eq!(parse("a/b:q8_0"), Some(("a/b".into(), Part::Quantised("Q8_0".into()))));
    assert_eq!(parse("a/b/c/d-Q8_0.gguf"), Some(("a/b".into(), Part::File("c/d-Q8_0.gguf".into()))));
    assert_eq!(parse("https://huggingface.co/a/b/resolve/main/d.gguf?download=true"), Some(("a/b".into(), Part::File("d.gguf".into()))));
    for path in
        ["nano", "", "/a/b", "./a/b", "../a", "~/a/b", "a", "a/b/c", "a/b/../c.gguf", "a/..", "a/b:", "C:\\a\\b", "a//c.gguf", "a/b:../c"]
    {
        assert_eq!(parse(path), None, "{path}");
    }
}

#[test]
fn quantisations_stand_in_names() {
    for (file, kind) in [
        ("DeepSeek-Coder-V2-Lite-Base-Q4_K_M.gguf", Some("Q4_K_M")),
        ("x.q8_0.gguf", Some("Q8_0")),
        ("Q5_0/x-IQ4_XS-00001-of-00002.gguf", Some("IQ4_XS")),
        ("x-bf16.gguf", Some("BF16")),
        ("quick-fox.gguf", None),
    ] {
        assert_eq!(quantisation(file).as_deref(), kind, "{file}");
    }
}

#[test]
fn parts_are_one_model_and_the_right_one_is_chosen() {
    let files = ["b-Q8_0-00002-of-00002.gguf", "a-Q4_K_M.gguf", "mmproj-F16.gguf", "b-Q8_0-00001-of-00002.gguf", "x.txt"];
    let found = models(files.into_iter());
    assert_eq!(found, [vec!["a-Q4_K_M.gguf"], vec!["b-Q8_0-00001-of-00002.gguf", "b-Q8_0-00002-of-00002.gguf"]]);
    let chosen = |part: Part| choose(&found, &part).map(|m| m.len());
    assert_eq!(chosen(Part::Whole), Some(1));
    assert_eq!(chosen(Part::Quantised("Q8_0".into())), Some(2));
    assert_eq!(chosen(Part::File("b-Q8_0-00002-of-00002.gguf".into())), Some(2));
    assert_eq!(chosen(Part::Quantised("Q2_K".into())), None);
    assert_eq!(choose(&found[1..], &Part::Whole).map(|m| m.len()), Some(2));
    assert_eq!(split("x-1-of-2.gguf"), None);
}

#[test]
fn paths_from_the_hub_stay_inside() {
    for path in ["config.json", "a/b.gguf"] {
        assert!(is_inside(path), "{path}");
    }
    for path in ["", "/etc/passwd", "../x", "a/../../x", "a\\..\\x", "C:x", "a/"] {
        assert!(!is_inside(path), "{path}");
    }
}
