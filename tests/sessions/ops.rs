//! What a user and an editor do, drawn at random. Every operation means something in every state, so that any may be left out.
//!
//! ```text
//! Random::new(7).op()   ->   Type { doc: 1, text: "let" }
//! ```
use crate::plain::PIECES;

/// A place as drawn: line and character, which may lie outside the text.
pub type At = (u32, u32);

#[derive(Clone, Debug)]
pub enum Op {
    Open {
        doc: usize,
        text: String,
    },
    Close {
        doc: usize,
    },
    /// Changes of one notification, each of a range or of the whole text.
    Edit {
        doc: usize,
        changes: Vec<(Option<(At, At)>, String)>,
    },
    /// At the cursor.
    Type {
        doc: usize,
        text: String,
    },
    /// The next characters of what the engine would say.
    TypeOn {
        doc: usize,
        count: usize,
    },
    Backspace {
        doc: usize,
    },
    Undo {
        doc: usize,
    },
    Move {
        doc: usize,
        to: At,
    },
    Ask {
        doc: usize,
        explicit: bool,
        items: bool,
    },
    /// Where no line is.
    AskBeyond {
        doc: usize,
    },
    Cancel {
        which: usize,
    },
    /// So many characters of what was shown last there; all of it when it has fewer.
    Accept {
        doc: usize,
        most: usize,
    },
    Reject {
        doc: usize,
    },
    Configure {
        which: usize,
    },
    Kill,
    Revive,
    /// The engine says so many pieces more, then waits; `None`: as it likes.
    Gate {
        pieces: Option<usize>,
    },
    /// Waits for all answers.
    Settle,
}

/// SplitMix64.
pub struct Random(u64);

/// What is typed at the cursor.
const KEYS: [&str; 9] = ["l", "le", "let ", "a", " ", "(", ")", "\n", "😀"];

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % end as u64) as usize
    }

    fn text(&mut self) -> String {
        let count = self.below(10);
        (0..count).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }

    fn at(&mut self) -> At {
        (self.below(8) as u32, self.below(9) as u32)
    }

    fn change(&mut self) -> (Option<(At, At)>, String) {
        let from = self.at();
        let to = (from.0 + self.below(3) as u32, from.1 + self.below(5) as u32);
        ((self.below(20) > 0).then_some((from, to)), self.text())
    }

    pub fn op(&mut self) -> Op {
        let doc = self.below(3);
        match self.below(100) {
            0..4 => Op::Open { doc, text: self.text() + "\n" + &self.text() },
            4..6 => Op::Close { doc },
            6..14 => Op::Edit { doc, changes: (0..self.below(3) + 1).map(|_| self.change()).collect() },
            14..24 => Op::Type { doc, text: KEYS[self.below(KEYS.len())].into() },
            24..40 => Op::TypeOn { doc, count: self.below(4) + 1 },
            40..44 => Op::Backspace { doc },
            44..48 => Op::Undo { doc },
            48..51 => Op::Move { doc, to: self.at() },
            51..76 => Op::Ask { doc, explicit: self.below(8) == 0, items: self.below(5) == 0 },
            76..77 => Op::AskBeyond { doc },
            77..81 => Op::Cancel { which: self.below(4) },
            81..88 => Op::Accept { doc, most: [1, 3, 1000][self.below(3)] },
            88..89 => Op::Reject { doc },
            89..90 => Op::Configure { which: self.below(6) },
            90..91 => Op::Kill,
            91..93 => Op::Revive,
            93..97 => Op::Gate { pieces: [None, None, Some(0), Some(2)][self.below(4)] },
            _ => Op::Settle,
        }
    }
}
