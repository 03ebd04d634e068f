//! What the editors on this machine are told of `infill`.
//!
//! ```text
//! ok  neovim        /home/me/.config/nvim/init.lua names infill
//! !!  vscode        "editor.inlineSuggest.enabled" is false in settings.json: set it to true
//! ```
//! Files are only read, and only the ones that these editors keep their own settings in.
use super::{Finding, Home, on_path};
use std::path::{Path, PathBuf};

pub fn all(here: &Home) -> Vec<Finding> {
    vec![vscode(here), neovim(here), helix(here), zed(here), emacs(here)]
}

/// Files of a folder tree, at most `depth` folders down, whose names end so.
fn files(folder: &Path, depth: usize, ends: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && depth > 0 {
            found.extend(files(&path, depth - 1, ends));
        } else if ends.iter().any(|end| path.to_string_lossy().ends_with(end)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn text(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The first of these files that speaks of us, comments aside.
fn naming(files: Vec<PathBuf>, comment: &str) -> Option<PathBuf> {
    let names = |path: &PathBuf| text(path).lines().any(|line| !line.trim_start().starts_with(comment) && line.contains("infill"));
    files.into_iter().find(names)
}

fn vscode(here: &Home) -> Finding {
    let homes = [".vscode", ".vscode-oss", ".vscode-server", ".vscode-insiders", ".local/share/code-server", ".cursor"];
    let folders = homes.map(|name| here.home.join(name).join("extensions"));
    let known = folders.iter().any(|f| f.is_dir()) || ["code", "codium", "code-server"].iter().any(|name| on_path(name).is_some());
    let ours = |name: &str| name.split('-').next().is_some_and(|id| id.ends_with(".infill"));
    let entries = folders.iter().flat_map(std::fs::read_dir).flatten().flatten();
    let installed = entries.filter(|e| ours(&e.file_name().to_string_lossy())).map(|e| e.path()).next();
    match (known, installed) {
        (false, _) => Finding::absent("vscode"),
        (true, None) => Finding::bad("vscode", "the extension is not installed", "install editors/vscode's .vsix (its README says how)"),
        (true, Some(path)) => match ghost_text_off(here) {
            Some(settings) => {
                let found = format!("\"editor.inlineSuggest.enabled\" is false in {}", settings.display());
                Finding::bad("vscode", found, "set it to true, or no ghost text is shown")
            }
            None => Finding::ok("vscode", path.display().to_string()),
        },
    }
}

/// A settings file that turns ghost text off.
fn ghost_text_off(here: &Home) -> Option<PathBuf> {
    let mac = here.home.join("Library/Application Support");
    let server = here.home.join(".local/share/code-server/User/settings.json");
    let names = ["Code", "Code - OSS", "VSCodium", "Cursor", "Code - Insiders"];
    let paths = [&here.config, &mac].into_iter().flat_map(|base| names.map(|n| base.join(n).join("User/settings.json"))).chain([server]);
    let off = |path: &PathBuf| {
        let text: String = text(path).lines().filter(|l| !l.trim_start().starts_with("//")).flat_map(str::split_whitespace).collect();
        text.contains("\"editor.inlineSuggest.enabled\":false")
    };
    paths.into_iter().find(off)
}

fn neovim(here: &Home) -> Finding {
    let folder = here.config.join("nvim");
    if !folder.is_dir() && on_path("nvim").is_none() {
        return Finding::absent("neovim");
    }
    match naming(files(&folder, 4, &[".lua", ".vim"]), "--") {
        Some(path) => Finding::ok("neovim", format!("{} names infill (\":checkhealth infill\" tells more)", path.display())),
        None => {
            let found = format!("nothing in {} names infill", folder.display());
            Finding::bad("neovim", found, "add editors/neovim (its README says how)")
        }
    }
}

fn helix(here: &Home) -> Finding {
    let path = here.config.join("helix/languages.toml");
    if !path.is_file() {
        let known = path.parent().is_some_and(Path::is_dir) || on_path("hx").is_some() || on_path("helix").is_some();
        let remedy = "copy it from editors/helix";
        return if known { Finding::bad("helix", format!("{} is not there", path.display()), remedy) } else { Finding::absent("helix") };
    }
    let bad = |found: String, remedy: &str| Finding::bad("helix", format!("{}: {found}", path.display()), remedy);
    let table: toml::Table = match toml::from_str(&text(&path)) {
        Ok(table) => table,
        Err(error) => return bad(format!("is not TOML ({})", error.message()), "correct it"),
    };
    let Some(server) = table.get("language-server").and_then(|servers| servers.get("infill")) else {
        return bad("no [language-server.infill]".into(), "copy it from editors/helix");
    };
    let command = server.get("command").and_then(toml::Value::as_str).unwrap_or_default();
    if on_path(command).is_none() && !Path::new(command).is_file() {
        return bad(format!("command \"{command}\" is not on PATH"), "name the whole path of infill");
    }
    let languages = table.get("language").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let used: Vec<&str> = languages.iter().filter(|l| uses(l)).filter_map(|l| l.get("name")?.as_str()).collect();
    if used.is_empty() {
        return bad("no language uses \"infill\"".into(), "add it to the language-servers of each [[language]] that shall have it");
    }
    Finding::ok("helix", format!("{}: {}", path.display(), used.join(", ")))
}

/// Whether a `[[language]]` names us: `"infill"`, or `{ name = "infill", … }`.
fn uses(language: &toml::Value) -> bool {
    let servers = language.get("language-servers").and_then(toml::Value::as_array);
    let name = |server: &toml::Value| server.as_str().or_else(|| server.get("name")?.as_str()) == Some("infill");
    servers.is_some_and(|servers| servers.iter().any(name))
}

fn zed(here: &Home) -> Finding {
    let settings = [here.config.join("zed/settings.json"), here.home.join(".config/zed/settings.json")];
    let data = [here.home.join(".local/share/zed"), here.home.join("Library/Application Support/Zed")];
    let installed = data.iter().any(|d| d.join("extensions/installed/infill").exists());
    if !settings.iter().any(|s| s.is_file()) && !data.iter().any(|d| d.is_dir()) && on_path("zed").is_none() {
        return Finding::absent("zed");
    }
    let remedy = "install editors/zed as a dev extension (its README says how)";
    if installed { Finding::ok("zed", "the extension is installed") } else { Finding::bad("zed", "the extension is not installed", remedy) }
}

fn emacs(here: &Home) -> Finding {
    let folders = [here.home.join(".emacs.d"), here.config.join("emacs")];
    let dot = [here.home.join(".emacs"), here.home.join(".emacs.el")];
    if !folders.iter().any(|f| f.is_dir()) && !dot.iter().any(|f| f.is_file()) && on_path("emacs").is_none() {
        return Finding::absent("emacs");
    }
    // Not deeper: packages lie below.
    let all = dot.into_iter().chain(folders.iter().flat_map(|f| files(f, 0, &[".el"]))).collect();
    match naming(all, ";") {
        Some(path) => Finding::ok("emacs", format!("{} names infill", path.display())),
        None => Finding::bad("emacs", "no init file names infill", "add the snippet for eglot or lsp-mode from editors/emacs"),
    }
}
