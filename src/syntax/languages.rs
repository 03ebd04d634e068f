//! The grammars, and what their nodes mean to us: a query each, in a file of its own.
//!
//! ```text
//! find("typescriptreact")  ->  the TSX grammar with queries/typescript.scm
//! find("plaintext")        ->  None
//! ```
use std::sync::OnceLock;
use tree_sitter::{CaptureQuantifier, Language, Query};

/// What a captured node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Comment,
    String,
    Arguments,
    Body,
    Import,
    /// A class or function: its match names its body too.
    Scope,
    /// What is defined without a body of statements: a constant, a field, a type.
    Definition,
    /// Of a scope or a definition.
    Name,
}

/// A grammar with its query.
#[derive(Debug)]
pub struct Grammar {
    pub language: Language,
    /// What a key waits for: without the patterns of `@definition`.
    pub query: Query,
    /// All of it.
    pub definitions: Query,
    roles: Vec<Option<Role>>,
}

impl Grammar {
    fn new(language: Language, query: &str) -> Option<Grammar> {
        let parse = || Query::new(&language, query).inspect_err(|e| tracing::error!("a syntax query is wrong: {e}")).ok();
        let (mut query, definitions) = (parse()?, parse()?);
        let roles: Vec<Option<Role>> = query.capture_names().iter().map(|name| role(name)).collect();
        let defines = roles.iter().position(|role| *role == Some(Role::Definition));
        let plain = |pattern: usize| defines.is_some_and(|n| query.capture_quantifiers(pattern)[n] != CaptureQuantifier::Zero);
        let only: Vec<usize> = (0..query.pattern_count()).filter(|pattern| plain(*pattern)).collect();
        only.into_iter().for_each(|pattern| query.disable_pattern(pattern));
        Some(Grammar { language, query, definitions, roles })
    }

    /// The role of a capture; `None` for those that only help the query.
    pub fn role(&self, capture: u32) -> Option<Role> {
        self.roles.get(capture as usize).copied().flatten()
    }
}

fn role(capture: &str) -> Option<Role> {
    Some(match capture {
        "comment" => Role::Comment,
        "string" => Role::String,
        "arguments" => Role::Arguments,
        "body" => Role::Body,
        "import" => Role::Import,
        "scope" => Role::Scope,
        "definition" => Role::Definition,
        "name" => Role::Name,
        _ => return None,
    })
}

/// LSP language ids and what fences call it, the grammar, its query; made when first used.
struct Entry {
    ids: &'static [&'static str],
    grammar: fn() -> Language,
    query: &'static str,
    made: OnceLock<Option<Grammar>>,
}

macro_rules! table {
    ($([$($id:literal),+] $grammar:path, $query:literal;)+) => {
        [$(Entry {
            ids: &[$($id),+],
            grammar: || $grammar.into(),
            query: include_str!(concat!("queries/", $query, ".scm")),
            made: OnceLock::new(),
        }),+]
    };
}

static LANGUAGES: [Entry; 21] = table! {
    ["python", "py", "python3"] tree_sitter_python::LANGUAGE, "python";
    ["rust", "rs"] tree_sitter_rust::LANGUAGE, "rust";
    ["javascript", "javascriptreact", "jsx", "js", "mjs", "cjs"] tree_sitter_javascript::LANGUAGE, "javascript";
    ["typescript", "ts"] tree_sitter_typescript::LANGUAGE_TYPESCRIPT, "typescript";
    ["typescriptreact", "tsx"] tree_sitter_typescript::LANGUAGE_TSX, "typescript";
    ["go", "golang"] tree_sitter_go::LANGUAGE, "go";
    ["java"] tree_sitter_java::LANGUAGE, "java";
    ["c", "h"] tree_sitter_c::LANGUAGE, "c";
    ["cpp", "c++", "cc", "hpp", "cuda", "cuda-cpp"] tree_sitter_cpp::LANGUAGE, "cpp";
    ["csharp", "c-sharp", "c#", "cs"] tree_sitter_c_sharp::LANGUAGE, "csharp";
    ["ruby", "rb"] tree_sitter_ruby::LANGUAGE, "ruby";
    ["php"] tree_sitter_php::LANGUAGE_PHP, "php";
    ["shellscript", "bash", "sh", "shell", "zsh"] tree_sitter_bash::LANGUAGE, "bash";
    ["lua"] tree_sitter_lua::LANGUAGE, "lua";
    ["html"] tree_sitter_html::LANGUAGE, "html";
    ["css"] tree_sitter_css::LANGUAGE, "css";
    ["json"] tree_sitter_json::LANGUAGE, "json";
    ["jsonc"] tree_sitter_json::LANGUAGE, "json";
    ["toml"] tree_sitter_toml_ng::LANGUAGE, "toml";
    ["yaml", "yml"] tree_sitter_yaml::LANGUAGE, "yaml";
    ["markdown"] tree_sitter_md::LANGUAGE, "markdown";
};

/// The grammar of an LSP language id.
pub fn find(id: &str) -> Option<&'static Grammar> {
    named(id).map(|(_, grammar)| grammar)
}

/// The LSP language id of a name, and its grammar.
pub fn named(name: &str) -> Option<(&'static str, &'static Grammar)> {
    let entry = LANGUAGES.iter().find(|entry| entry.ids.contains(&name))?;
    let grammar = entry.made.get_or_init(|| Grammar::new((entry.grammar)(), entry.query)).as_ref()?;
    Some((entry.ids.first()?, grammar))
}

/// Whether there is one.
pub fn has(id: &str) -> bool {
    LANGUAGES.iter().any(|entry| entry.ids.contains(&id))
}

/// One id of each language.
#[cfg(test)]
pub fn ids() -> Vec<&'static str> {
    LANGUAGES.iter().map(|entry| entry.ids[0]).collect()
}
