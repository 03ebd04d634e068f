//! The units of a workspace by name. In memory only, and bounded.
//!
//! ```text
//! index.insert("shop/tax.py", File { language, units })      -> named("rate") = [shop/tax.py's rate]
//! index.remove("shop/tax.py")                                -> named("rate") = []
//! ```
use super::units::Unit;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Most bytes of text that are kept. Beyond half of it whole definitions are let go, beyond all of it whole files.
pub const MAX_BYTES: usize = 48 << 20;

/// One file's units.
#[derive(Clone, Debug, Default)]
pub struct File {
    pub language: Arc<str>,
    pub units: Vec<Unit>,
}

/// Where a name is defined.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub path: Arc<str>,
    /// Which unit of the file.
    pub unit: usize,
    /// Which member of the unit; `None`: the unit itself.
    pub member: Option<usize>,
}

/// All that is known of a workspace's files.
#[derive(Debug, Default)]
pub struct Index {
    files: BTreeMap<Arc<str>, File>,
    names: HashMap<Box<str>, Vec<Place>>,
    bytes: usize,
    most: Option<usize>,
}

impl Index {
    /// An index with another bound, for tests.
    #[cfg(test)]
    fn within(most: usize) -> Index {
        Index { most: Some(most), ..Index::default() }
    }

    fn most(&self) -> usize {
        self.most.unwrap_or(MAX_BYTES)
    }

    /// Takes a file in place of what was known of it. Returns whether there was room for it.
    pub fn insert(&mut self, path: &str, mut file: File) -> bool {
        self.remove(path);
        if self.bytes > self.most() / 2 {
            file.units.iter_mut().for_each(|unit| unit.whole = None);
        }
        let bytes = size(path, &file);
        if self.bytes + bytes > self.most() {
            return false;
        }
        let path: Arc<str> = path.into();
        for (n, unit) in file.units.iter().enumerate() {
            self.add(&unit.name, Place { path: path.clone(), unit: n, member: None });
            for (m, member) in unit.members.iter().enumerate() {
                self.add(&member.name, Place { path: path.clone(), unit: n, member: Some(m) });
            }
        }
        self.bytes += bytes;
        self.files.insert(path, file);
        true
    }

    fn add(&mut self, name: &str, place: Place) {
        match self.names.get_mut(name) {
            Some(places) => places.push(place),
            None => drop(self.names.insert(name.into(), vec![place])),
        }
    }

    /// Forgets a file.
    pub fn remove(&mut self, path: &str) {
        let Some(file) = self.files.remove(path) else { return };
        self.bytes -= size(path, &file);
        for unit in &file.units {
            for name in std::iter::once(&unit.name).chain(unit.members.iter().map(|m| &m.name)) {
                if let Some(places) = self.names.get_mut(name.as_str()) {
                    places.retain(|place| &*place.path != path);
                    if places.is_empty() {
                        self.names.remove(name.as_str());
                    }
                }
            }
        }
    }

    /// Forgets all files below a folder (`"src"`); all of them below `""`.
    pub fn remove_below(&mut self, folder: &str) {
        let inside = |path: &str| folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let gone: Vec<Arc<str>> = self.files.keys().filter(|path| inside(path)).cloned().collect();
        gone.iter().for_each(|path| self.remove(path));
    }

    /// Where a name is defined.
    pub fn named(&self, name: &str) -> &[Place] {
        self.names.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    pub fn unit(&self, place: &Place) -> Option<&Unit> {
        self.files.get(&place.path)?.units.get(place.unit)
    }

    /// All files, by path.
    pub fn files(&self) -> impl Iterator<Item = (&Arc<str>, &File)> {
        self.files.iter()
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Bytes of text that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn size(path: &str, file: &File) -> usize {
    path.len() + file.units.iter().map(Unit::bytes).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::super::units::Member;
    use super::*;

    fn file(names: &[&str], text: usize) -> File {
        let member = Member { name: "m".into(), text: "x".into() };
        let unit =
            |name: &&str| Unit { name: (*name).into(), members: vec![member.clone()], whole: Some("w".repeat(text)), ..Unit::default() };
        File { language: "python".into(), units: names.iter().map(unit).collect() }
    }

    #[test]
    fn names_follow_their_files() {
        let mut index = Index::default();
        assert!(index.insert("a.py", file(&["f", "g"], 1)) && index.insert("b/c.py", file(&["f"], 1)));
        assert_eq!(index.named("f").len(), 2);
        assert_eq!(index.named("m").len(), 3, "members too");
        index.insert("a.py", file(&["g"], 1));
        assert_eq!((index.named("f").len(), index.named("g").len()), (1, 1), "a file replaces itself");
        index.remove_below("b");
        index.remove("no such file");
        assert_eq!((index.named("f").len(), index.len()), (0, 1));
        index.remove_below("");
        assert!(index.is_empty() && index.bytes() == 0 && index.names.is_empty());
    }

    #[test]
    fn a_folder_is_not_a_prefix_of_a_name() {
        let mut index = Index::default();
        index.insert("ab/c.py", file(&["f"], 1));
        index.remove_below("a");
        assert_eq!(index.len(), 1);
    }

    #[test]
    fn it_is_bounded() {
        let mut index = Index::within(1000);
        assert!(index.insert("a.py", file(&["f"], 600)));
        assert!(index.insert("b.py", file(&["g"], 600)), "without the whole text there is room");
        assert_eq!(index.file("b.py").and_then(|f| f.units[0].whole.clone()), None);
        let many: Vec<String> = (0..300).map(|n| format!("name{n}")).collect();
        assert!(!index.insert("c.py", file(&many.iter().map(String::as_str).collect::<Vec<_>>(), 0)));
        assert!(index.bytes() <= 1000 && index.named("name1").is_empty());
    }
}
