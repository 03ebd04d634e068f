//! Which files are cut, and where.
use super::*;

const PYTHON: &str =
    "def area(w, h):\n    if w < 0:\n        w = -w\n        h = -h\n\n    return w * h\n\n\nclass A:\n    size = 'größer als alles'\n";
const RUST: &str = "fn main() {\r\n    let x = 12;\r\n    println!(\"日本語 {x}\");\r\n}\r\n";

fn files() -> Vec<Source> {
    vec![Source::new("a.py".into(), PYTHON.into()), Source::new("src/b.rs".into(), RUST.into())]
}

fn draw(count: usize, seed: u64) -> Vec<Hole> {
    super::draw(&files(), &Kind::USUAL, count, seed).unwrap()
}

fn cut(kind: Kind, source: &Source, line: usize) -> Vec<&str> {
    let ranges: HashSet<Range<usize>> = (0..200).filter_map(|seed| source.cut(kind, line, &mut Random(seed))).collect();
    let mut texts: Vec<&str> = ranges.into_iter().map(|range| &source.text[range]).collect();
    texts.sort();
    texts
}

#[test]
fn the_same_seed_cuts_the_same_and_another_elsewhere() {
    let ids = |seed| draw(20, seed).into_iter().map(|hole| hole.id).collect::<Vec<_>>();
    assert_eq!(ids(1), ids(1));
    assert_ne!(ids(1), ids(2));
    assert_eq!(ids(1).iter().collect::<HashSet<_>>().len(), ids(1).len(), "no hole twice");
}

#[test]
fn kinds_and_languages_take_turns() {
    let holes = draw(16, 1);
    let first: HashSet<(Kind, &str)> = holes[..8].iter().map(|h| (h.kind, h.language.as_str())).collect();
    assert_eq!(first.len(), 8, "{first:?}");
    assert_eq!(draw(3, 1).len(), 3);
}

#[test]
fn a_hole_is_put_back_by_its_truth() {
    for hole in draw(40, 3) {
        let Gap { path, before, after, truth } = hole.gap;
        let whole = if path == "a.py" { PYTHON } else { RUST };
        assert_eq!(before + &truth + &after, whole, "{}", hole.id);
        assert!(truth.trim().len() >= LEAST, "{truth:?}");
    }
}

#[test]
fn each_kind_is_cut_as_it_says() {
    let [python, rust] = &files()[..] else { panic!("two files") };
    assert_eq!(cut(Kind::Line, python, 5), ["return w * h"]);
    assert_eq!(cut(Kind::Line, rust, 1), ["let x = 12;"], "the line end is not cut");
    assert_eq!(cut(Kind::Line, python, 4), [""; 0], "a blank line");
    assert_eq!(cut(Kind::Line, rust, 3), [""; 0], "nothing but a brace");
    let rests = cut(Kind::Rest, rust, 1);
    assert!(rests.contains(&"et x = 12;") && rests.contains(&"= 12;") && !rests.contains(&"let x = 12;"), "{rests:?}");
    assert!(rests.iter().all(|rest| rest.ends_with("12;")), "{rests:?}");
    let middles = cut(Kind::MidLine, rust, 2);
    assert!(middles.iter().any(|m| m.contains('本')), "{middles:?}");
    assert!(middles.iter().all(|m| !m.starts_with('p') && !m.ends_with(';')), "{middles:?}");
}

#[test]
fn a_single_line_is_cut_at_any_byte_that_leaves_eight() {
    let [python, rust] = &files()[..] else { panic!("two files") };
    let cuts = cut(Kind::Single, rust, 1);
    assert_eq!(cuts, [" x = 12;", "et x = 12;", "let x = 12;", "t x = 12;"]);
    assert_eq!(cut(Kind::Single, python, 2), [""; 0], "\"w = -w\" is too short");
    let only = super::draw(&files(), &[Kind::Single], 12, 1).unwrap();
    assert!(only.len() == 12 && only.iter().all(|h| h.kind == Kind::Single && h.gap.truth.len() >= LEFT), "{only:?}");
}

#[test]
fn a_block_is_a_whole_body_of_two_lines_or_more() {
    let [python, rust] = &files()[..] else { panic!("two files") };
    assert_eq!(cut(Kind::Block, python, 1), ["w = -w\n        h = -h"]);
    assert_eq!(cut(Kind::Block, python, 0), ["if w < 0:\n        w = -w\n        h = -h\n\n    return w * h"]);
    assert_eq!(cut(Kind::Block, rust, 0), ["let x = 12;\r\n    println!(\"日本語 {x}\");"]);
    assert_eq!(cut(Kind::Block, python, 8), [""; 0], "one line is no block");
    assert_eq!(cut(Kind::Block, python, 5), [""; 0], "opens nothing");
    let long = Source::new("c.py".into(), "def f():\n".to_owned() + &"    a = b\n".repeat(13));
    assert_eq!(cut(Kind::Block, &long, 0), [""; 0], "too long");
    assert_eq!(cut(Kind::Block, &Source::new("c.py".into(), "def f():".into()), 0), [""; 0], "the file ends");
}

#[test]
fn source_files_are_found_below_a_folder_and_others_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let large = "x = 1\n".repeat(FILE_BYTES / 6 + 1);
    for (name, text) in [
        ("z.py", &b"z = 1"[..]),
        ("a/b.rs", b"b"),
        ("a/notes.txt", b"n"),
        ("a/latin1.py", b"\xff"),
        ("large.py", large.as_bytes()),
        ("target/c.rs", b"c"),
        (".git/d.py", b"d"),
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), folder.path().join("a/round")).unwrap();
    let sources = read(folder.path(), 1).unwrap();
    let names: Vec<&str> = sources.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["a/b.rs", "z.py"]);
    assert_eq!(sources.left_out_note().unwrap(), "left out: 2 files above 1 MB or not UTF-8");
    assert_eq!(sources.files[0].language, "rust");
}

#[test]
fn what_cannot_be_cut_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = read(folder.path(), 1).unwrap_err().to_string();
    assert!(error.contains("no source files") && error.contains(".py"), "{error}");
    let error = read(&folder.path().join("gone"), 1).unwrap_err().to_string();
    assert!(error.contains("gone cannot be read (no such file"), "{error}");
    let error = super::draw(&[Source::new("a.py".into(), "x\n".into())], &Kind::USUAL, 5, 1).unwrap_err().to_string();
    assert!(error.contains("no room for a hole"), "{error}");
    assert!(super::draw(&files(), &Kind::USUAL, 0, 1).is_err());
}
