//! Fill-in-the-middle formats by model family, rendered here: servers refuse `suffix`, or render it wrongly.
//!
//! ```
//! use infill::engine::http::template::Template;
//! let template = Template::of("Qwen/Qwen2.5-Coder-7B").unwrap();
//! assert_eq!(template.text("a", "c", "b"), "<|fim_prefix|>a<|fim_suffix|>c<|fim_middle|>b");
//! let own = Template::parse("<PRE>{prefix}<SUF>{suffix}<MID>{tail}").unwrap();
//! assert_eq!(own.holds_marker("x <SUF> y"), Some("<SUF>"));
//! ```
//! What has been typed since the hole was frozen comes last in every family, so that a keystroke appends to a prompt
//! that the server has cached.

/// A piece of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// One of the model's own tokens.
    Marker(&'a str),
    /// Text of the user's, never to be read as a marker.
    Text(&'a str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Marker(String),
    Prefix,
    Suffix,
    Tail,
}

/// How one family's prompts look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub name: String,
    parts: Vec<Part>,
    /// Tokens that end an answer, should the server send them as text.
    pub ends: Vec<&'static str>,
    /// DeepSeek's rules of where a token can end; else those that the other families share.
    pub deepseek: bool,
}

struct Family {
    name: &'static str,
    /// Any of these, in a model's name.
    models: &'static [&'static str],
    form: &'static str,
    ends: &'static [&'static str],
}

/// The first whose words stand in the model's name.
const FAMILIES: [Family; 7] = [
    Family {
        name: "deepseek",
        models: &["deepseek"],
        form: "<｜fim▁begin｜>{prefix}<｜fim▁hole｜>{suffix}<｜fim▁end｜>{tail}",
        ends: &["<｜end▁of▁sentence｜>", "<|EOT|>", "<｜begin▁of▁sentence｜>"],
    },
    Family {
        name: "qwen",
        models: &["qwen", "codegemma"],
        form: "<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>{tail}",
        ends: &["<|endoftext|>", "<|fim_pad|>", "<|file_sep|>", "<|repo_name|>", "<|im_end|>"],
    },
    Family {
        name: "starcoder",
        models: &["starcoder"],
        form: "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>{tail}",
        ends: &["<|endoftext|>", "<file_sep>", "<fim_pad>"],
    },
    Family { name: "codestral", models: &["codestral"], form: "[SUFFIX]{suffix}[PREFIX]{prefix}{tail}", ends: &["</s>", "[INST]"] },
    Family {
        name: "codellama",
        models: &["codellama", "code-llama"],
        form: "<PRE> {prefix} <SUF>{suffix} <MID>{tail}",
        ends: &["<EOT>", "</s>"],
    },
    Family {
        name: "granite-4",
        models: &["granite-4", "granite4", "granite-3.3", "granite3.3"],
        form: "<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>{tail}",
        ends: &["<|end_of_text|>", "<|fim_pad|>"],
    },
    Family {
        name: "granite",
        models: &["granite"],
        form: "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>{tail}",
        ends: &["<|endoftext|>", "<fim_pad>"],
    },
];

/// What `engine.template` accepts besides a form of one's own.
pub const NAMES: &str = "deepseek, qwen, starcoder, codestral, codellama, granite, granite-4";

impl Template {
    /// The family that a model's name tells. Folders before the name count too: `deepseek-ai/…`.
    pub fn of(model: &str) -> Option<Template> {
        let model = model.to_ascii_lowercase();
        let family = FAMILIES.iter().find(|f| f.models.iter().any(|word| model.contains(word)));
        family.map(Template::family)
    }

    /// All families, to be tried on a vocabulary.
    pub fn all() -> impl Iterator<Item = Template> {
        FAMILIES.iter().map(Template::family)
    }

    /// A family's name, or a form such as `<PRE>{prefix}<SUF>{suffix}<MID>{tail}`; `{tail}` may be left out where it is
    /// last.
    pub fn parse(text: &str) -> Option<Template> {
        if let Some(family) = FAMILIES.iter().find(|f| f.name == text) {
            return Some(Template::family(family));
        }
        let mut parts = split(text);
        if !parts.contains(&Part::Tail) {
            parts.push(Part::Tail);
        }
        let once = |part: &Part| parts.iter().filter(|p| *p == part).count() == 1;
        let marked = parts.iter().any(|p| matches!(p, Part::Marker(m) if !m.trim().is_empty()));
        let whole = once(&Part::Prefix) && once(&Part::Suffix) && once(&Part::Tail) && marked && parts.last() == Some(&Part::Tail);
        whole.then(|| Template { name: "own".into(), parts, ends: Vec::new(), deepseek: false })
    }

    fn family(family: &Family) -> Template {
        let deepseek = family.name == "deepseek";
        Template { name: family.name.into(), parts: split(family.form), ends: family.ends.to_vec(), deepseek }
    }

    /// The prompt's pieces, in order.
    pub fn pieces<'a>(&'a self, prefix: &'a str, suffix: &'a str, tail: &'a str) -> Vec<Piece<'a>> {
        let piece = |part: &'a Part| match part {
            Part::Marker(text) => Piece::Marker(text),
            Part::Prefix => Piece::Text(prefix),
            Part::Suffix => Piece::Text(suffix),
            Part::Tail => Piece::Text(tail),
        };
        self.parts.iter().map(piece).collect()
    }

    /// The prompt as one text.
    pub fn text(&self, prefix: &str, suffix: &str, tail: &str) -> String {
        let text = |piece: Piece| match piece {
            Piece::Marker(text) | Piece::Text(text) => text.to_owned(),
        };
        self.pieces(prefix, suffix, tail).into_iter().map(text).collect()
    }

    /// The tokens between the parts, without the blanks around them.
    pub fn markers(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Marker(text) => Some(text.trim()),
            _ => None,
        })
    }

    /// The first marker that stands in a text: the server would take it for its own.
    pub fn holds_marker<'a>(&'a self, text: &str) -> Option<&'a str> {
        self.markers().chain(self.ends.iter().copied()).find(|marker| !marker.is_empty() && text.contains(marker))
    }
}

fn split(form: &str) -> Vec<Part> {
    let (mut parts, mut rest) = (Vec::new(), form);
    while !rest.is_empty() {
        let holes = [("{prefix}", Part::Prefix), ("{suffix}", Part::Suffix), ("{tail}", Part::Tail)];
        let next = holes.into_iter().filter_map(|(name, part)| Some((rest.find(name)?, name.len(), part))).min_by_key(|(at, _, _)| *at);
        let Some((at, length, part)) = next else {
            parts.push(Part::Marker(rest.into()));
            break;
        };
        if at > 0 {
            parts.push(Part::Marker(rest[..at].into()));
        }
        parts.push(part);
        rest = &rest[at + length..];
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_known_by_their_models() {
        for (model, name) in [
            ("deepseek-ai/DeepSeek-Coder-V2-Lite-Base", "deepseek"),
            ("deepseek-coder:6.7b-base", "deepseek"),
            ("Qwen/Qwen2.5-Coder-7B", "qwen"),
            ("bigcode/starcoder2-3b", "starcoder"),
            ("codestral-latest", "codestral"),
            ("codellama/CodeLlama-13b-hf", "codellama"),
            ("ibm-granite/granite-8b-code-base", "granite"),
            ("granite4:tiny-h", "granite-4"),
        ] {
            assert_eq!(Template::of(model).unwrap().name, name, "{model}");
        }
        assert_eq!(Template::of("llama-3.1-8b"), None);
    }

    #[test]
    fn what_each_family_was_trained_on() {
        let text = |name: &str| Template::parse(name).unwrap().text("P", "S", "T");
        assert_eq!(text("deepseek"), "<｜fim▁begin｜>P<｜fim▁hole｜>S<｜fim▁end｜>T");
        assert_eq!(text("starcoder"), "<fim_prefix>P<fim_suffix>S<fim_middle>T");
        assert_eq!(text("codestral"), "[SUFFIX]S[PREFIX]PT");
        assert_eq!(text("codellama"), "<PRE> P <SUF>S <MID>T");
        assert_eq!(text("granite"), "<fim_prefix>P<fim_suffix>S<fim_middle>T");
    }

    #[test]
    fn own_forms_need_their_parts() {
        assert_eq!(Template::parse("<a>{prefix}<b>{suffix}<c>").unwrap().text("P", "S", "T"), "<a>P<b>S<c>T");
        for bad in ["", "auto", "{prefix}{suffix}", "<a>{prefix}", "<a>{prefix}{suffix}{suffix}", "<a>{tail}{prefix}{suffix}"] {
            assert_eq!(Template::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn markers_are_seen_in_text_and_parts_are_not_rendered_twice() {
        let deepseek = Template::parse("deepseek").unwrap();
        assert_eq!(deepseek.holds_marker("x <｜fim▁hole｜>"), Some("<｜fim▁hole｜>"));
        assert_eq!(deepseek.holds_marker("<｜end▁of▁sentence｜>"), Some("<｜end▁of▁sentence｜>"));
        assert_eq!(deepseek.holds_marker("fim_hole"), None);
        assert_eq!(deepseek.text("{suffix}", "{tail}", "{prefix}"), "<｜fim▁begin｜>{suffix}<｜fim▁hole｜>{tail}<｜fim▁end｜>{prefix}");
    }
}
