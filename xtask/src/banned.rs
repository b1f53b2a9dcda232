//! Words that must not be in the code, each with its replacement. xtask itself is exempt, since it spells them.

use crate::finding::Finding;
use crate::layers::{HIGHEST_PURE_LAYER, layer_of_path};
use crate::rust_text::has_word;
use crate::tree::{TextFile, Tree};

#[cfg(test)]
mod tests;

/// A banned word.
struct Ban {
    word: &'static str,
    reach: Reach,
    instead: &'static str,
}

/// Where a word is banned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// In all Rust code.
    Code,
    /// In Rust code of the pure crates.
    PureCode,
    /// In the text of all source files, comments included.
    Text,
}

const BANS: [Ban; 8] = [
    Ban {
        word: "todo!",
        reach: Reach::Code,
        instead: "write it, or return a typed error that says it is missing",
    },
    Ban {
        word: "unimplemented!",
        reach: Reach::Code,
        instead: "write it, or return a typed error that says it is missing",
    },
    Ban { word: "dbg!", reach: Reach::Code, instead: "remove it; for lasting output use a tracing event" },
    Ban { word: "#[allow(", reach: Reach::Code, instead: "use #[expect(lint, reason = \"..\")]" },
    Ban { word: "#![allow(", reach: Reach::Code, instead: "use #![expect(lint, reason = \"..\")]" },
    Ban { word: "FIXME", reach: Reach::Text, instead: "fix it, or open an issue and write TODO(#number)" },
    Ban {
        word: "Instant::now",
        reach: Reach::PureCode,
        instead: "take the time as an argument; clocks live in the shells",
    },
    Ban {
        word: "SystemTime",
        reach: Reach::PureCode,
        instead: "take the time as an argument; clocks live in the shells",
    },
];

/// File names that end so are source.
const SOURCE: [&str; 6] = [".rs", ".toml", ".sh", ".py", ".js", ".yml"];

/// Checks every source file, tests included.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let is_source = |path: &str| SOURCE.iter().any(|suffix| path.ends_with(suffix));
    tree.files
        .iter()
        .filter(|file| is_source(&file.path) && !file.path.starts_with("xtask/"))
        .flat_map(|file| BANS.iter().flat_map(move |ban| check_ban(file, ban)))
        .collect()
}

fn check_ban(file: &TextFile, ban: &Ban) -> Vec<Finding> {
    let pure = layer_of_path(&file.path).is_some_and(|layer| layer <= HIGHEST_PURE_LAYER);
    let text = match ban.reach {
        Reach::Code => &file.code,
        Reach::PureCode if pure => &file.code,
        Reach::PureCode => return Vec::new(),
        Reach::Text => &file.text,
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| has_word(line, ban.word))
        .map(|(index, _)| {
            Finding::new(&file.path, index + 1, format!("`{}` is banned here; {}", ban.word, ban.instead))
        })
        .collect()
}
