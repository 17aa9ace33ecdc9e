//! The rooms of `src/` and their floors: arrows between files go down, and no file imports, through
//! others, itself.
//!
//! An arrow is a path that starts at `crate`, `self`, `super`, a child module or an imported module,
//! in a `use` or anywhere else in code. It leads to the file that defines the name: what a `mod.rs`
//! hands on by `pub use` is an arrow to where that comes from, and handing it on is none. `mod` lines
//! are no arrows. Code under `cfg(test)` or `cfg(fuzzing)` does not count, nor do files that are
//! declared under it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// From the top down; a room may use those of later lines, not those beside or above it.
const FLOORS: [&[&str]; 16] = [
    &["main"],
    &["cli"],
    &["app"],
    &["server"],
    &["nats"],
    &["reload"],
    &["access"],
    &["config"],
    &["discovery"],
    &["engine"],
    &["drivers"],
    &["api"],
    &["supervision"],
    &["net"],
    &["telemetry"],
    &["domain"],
];

/// All that a room may use beside itself, where that is less than what stands below it.
const ONLY: [(&str, &[&str]); 1] = [("supervision", &["telemetry", "domain::restart"])];

/// Crates that one room alone knows.
const KNOWN_BY: [(&str, &str); 1] = [("async_nats", "nats")];

/// Arrows that are still to be taken out, `from -> to` a line. Only lines may go: one that names no
/// arrow, or one that is in order, fails the test.
const ALLOWED: &str = include_str!("architecture.allowed");

/// Modules and their tokens, `""` is the root.
type Modules = BTreeMap<String, Vec<String>>;

/// What a module's names stand for, and whether it hands them on.
type Names = BTreeMap<String, (Vec<String>, bool)>;

/// An arrow, and the names that it is for.
type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

#[test]
fn arrows_go_down_and_in_no_circle() {
    let modules = modules();
    let arrows = arrows(&modules);
    let mut allowed = BTreeSet::new();
    for line in ALLOWED.lines().filter(|line| !line.trim().is_empty()) {
        let (from, to) = line.split_once(" -> ").unwrap();
        allowed.insert((from.trim().to_owned(), to.trim().to_owned()));
    }
    let mut wrong = Vec::new();
    let mut needed = BTreeSet::new();
    for (arrow, names) in &arrows {
        let (from, to) = arrow;
        let is_up = room(from) != room(to) && floor(to) >= floor(from);
        let only = ONLY
            .iter()
            .find(|(it, _)| *it == room(from) && *it != room(to));
        let is_kept_out = only.is_some_and(|(_, only)| !only.iter().any(|it| is_in(to, it)));
        if is_up || is_kept_out {
            needed.insert(arrow.clone());
            if !allowed.contains(arrow) {
                wrong.push(format!(
                    "{from} -> {to} goes up or where it may not: {names:?}"
                ));
            }
        }
    }
    for circle in circles(&arrows, &BTreeSet::new()) {
        let inside =
            |arrow: &&(String, String)| circle.contains(&arrow.0) && circle.contains(&arrow.1);
        needed.extend(arrows.keys().filter(inside).cloned());
    }
    for circle in circles(&arrows, &allowed) {
        wrong.push(format!("a circle of {} files:", circle.len()));
        for ((from, to), names) in &arrows {
            if circle.contains(from) && circle.contains(to) {
                wrong.push(format!("    {from} -> {to}: {names:?}"));
            }
        }
    }
    for (from, to) in allowed.difference(&needed) {
        wrong.push(format!(
            "take out of tests/architecture.allowed: {from} -> {to}"
        ));
    }
    for (module, tokens) in &modules {
        for (name, home) in KNOWN_BY {
            if room(module) != home && tokens.iter().any(|it| it == name) {
                wrong.push(format!("{module} knows {name}, which is for {home} alone"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// Rooms that stand nowhere are above all.
fn floor(module: &str) -> usize {
    let place = FLOORS
        .iter()
        .position(|rooms| rooms.contains(&room(module)));
    FLOORS.len() - place.unwrap_or(0)
}

fn is_in(module: &str, part: &str) -> bool {
    module
        .strip_prefix(part)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every module of the crate that is compiled for users.
fn modules() -> Modules {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = Modules::new();
    let mut open = vec![
        (String::new(), src.join("lib.rs")),
        ("main".to_owned(), src.join("main.rs")),
    ];
    while let Some((module, file)) = open.pop() {
        let text = fs::read_to_string(&file).unwrap();
        let tokens = without_tests(&tokens(&text));
        let folder = match file.file_name().unwrap().to_str().unwrap() {
            "mod.rs" | "lib.rs" => file.parent().unwrap().to_owned(),
            _ => file.with_extension(""),
        };
        for (place, token) in tokens.iter().enumerate() {
            if token == "mod" && tokens.get(place + 2).is_some_and(|it| it == ";") {
                let name = &tokens[place + 1];
                let path = folder.join(format!("{name}.rs"));
                let path = if path.is_file() {
                    path
                } else {
                    folder.join(name).join("mod.rs")
                };
                let whole = if module.is_empty() {
                    name.clone()
                } else {
                    format!("{module}::{name}")
                };
                open.push((whole, path));
            }
        }
        modules.insert(module, tokens);
    }
    modules
}

/// Identifiers, `::` and single signs, without comments and literals.
fn tokens(text: &str) -> Vec<String> {
    let all: Vec<char> = text.chars().collect();
    let at = |place: usize| all.get(place).copied().unwrap_or('\0');
    let is_word = |it: char| it.is_alphanumeric() || it == '_';
    let (mut tokens, mut place) = (Vec::new(), 0);
    while place < all.len() {
        let sign = all[place];
        if sign == '/' && at(place + 1) == '/' {
            while place < all.len() && all[place] != '\n' {
                place += 1;
            }
        } else if sign == '/' && at(place + 1) == '*' {
            while place < all.len() && !(all[place] == '*' && at(place + 1) == '/') {
                place += 1;
            }
            place += 2;
        } else if sign == '"' {
            place = after_string(&all, place);
        } else if sign == '\'' {
            // A character, or a lifetime.
            if at(place + 1) == '\\' {
                place += 3;
                while at(place) != '\'' {
                    place += 1;
                }
                place += 1;
            } else if at(place + 2) == '\'' {
                place += 3;
            } else {
                place += 1;
            }
        } else if is_word(sign) {
            let start = place;
            while is_word(at(place)) {
                place += 1;
            }
            let word: String = all[start..place].iter().collect();
            let mut hashes = place;
            while at(hashes) == '#' {
                hashes += 1;
            }
            if matches!(word.as_str(), "r" | "br" | "cr") && at(hashes) == '"' {
                let end: String = std::iter::once('"')
                    .chain(all[place..hashes].iter().copied())
                    .collect();
                let end: Vec<char> = end.chars().collect();
                place = hashes + 1;
                while place < all.len() && !all[place..].starts_with(&end) {
                    place += 1;
                }
                place += end.len();
            } else if !(matches!(word.as_str(), "b" | "c") && matches!(at(place), '"' | '\'')) {
                tokens.push(word);
            }
        } else if sign == ':' && at(place + 1) == ':' {
            tokens.push("::".to_owned());
            place += 2;
        } else {
            if !sign.is_whitespace() {
                tokens.push(sign.to_string());
            }
            place += 1;
        }
    }
    tokens
}

fn after_string(all: &[char], start: usize) -> usize {
    let mut place = start + 1;
    while place < all.len() && all[place] != '"' {
        place += if all[place] == '\\' { 2 } else { 1 };
    }
    place + 1
}

/// Without items under `#[cfg(test)]` and the like.
fn without_tests(tokens: &[String]) -> Vec<String> {
    let (mut kept, mut place) = (Vec::with_capacity(tokens.len()), 0);
    while place < tokens.len() {
        let rest = &tokens[place..];
        let is_cfg = ["#", "[", "cfg", "("]
            .iter()
            .zip(rest)
            .all(|(it, token)| it == token);
        if !is_cfg {
            kept.push(tokens[place].clone());
            place += 1;
            continue;
        }
        let end = place + end_of(rest, "[", "]");
        let words = &tokens[place..end];
        let is_left_out = words.iter().any(|it| it == "test" || it == "fuzzing")
            && !words.iter().any(|it| it == "not");
        if !is_left_out {
            kept.extend_from_slice(words);
            place = end;
            continue;
        }
        place = end;
        while tokens.get(place).is_some_and(|it| it == "#") {
            place += end_of(&tokens[place..], "[", "]");
        }
        place += item_len(&tokens[place..]);
    }
    kept
}

/// How many tokens an item has, or a field, a variant or a statement.
fn item_len(tokens: &[String]) -> usize {
    const ITEMS: [&str; 8] = [
        "fn", "impl", "mod", "struct", "enum", "const", "static", "use",
    ];
    let head = || tokens.iter().take(8).map(String::as_str);
    let is_item = head().any(|it| ITEMS.contains(&it));
    let ends_with_brace = !head().any(|it| it == "use");
    let mut place = 0;
    while let Some(token) = tokens.get(place) {
        let rest = &tokens[place..];
        match token.as_str() {
            ";" => return place + 1,
            "," if !is_item => return place + 1,
            "}" => return place,
            "(" => place += end_of(rest, "(", ")"),
            "[" => place += end_of(rest, "[", "]"),
            "{" => {
                place += end_of(rest, "{", "}");
                if ends_with_brace {
                    return place;
                }
            }
            _ => place += 1,
        }
    }
    place
}

/// How many tokens there are up to the end of the first pair of brackets, that included.
fn end_of(tokens: &[String], open: &str, close: &str) -> usize {
    let mut depth = 0;
    for (place, token) in tokens.iter().enumerate() {
        if token == open {
            depth += 1;
        } else if token == close {
            depth -= 1;
            if depth == 0 {
                return place + 1;
            }
        }
    }
    tokens.len()
}

fn arrows(modules: &Modules) -> Arrows {
    let names: BTreeMap<&str, Names> = modules
        .iter()
        .map(|(it, tokens)| (it.as_str(), names(modules, it, tokens)))
        .collect();
    let mut arrows = Arrows::new();
    for (module, tokens) in modules {
        let own = &names[module.as_str()];
        let mut paths: Vec<Vec<String>> = Vec::new();
        for (path, is_handed_on) in own.values() {
            let is_below = !module.is_empty() && is_in(&path.join("::"), module);
            // A module that is imported is one only where something is taken from it.
            let is_module = modules.contains_key(&path.join("::"));
            if !(is_module || *is_handed_on && is_below) {
                paths.push(path.clone());
            }
        }
        let mut place = 0;
        while place < tokens.len() {
            if tokens[place] == "use" {
                place += tokens[place..].iter().position(|it| it == ";").unwrap_or(0);
            }
            let before = place.checked_sub(1).map(|it| tokens[it].as_str());
            let mut end = place;
            while tokens.get(end + 1).is_some_and(|it| it == "::")
                && tokens.get(end + 2).is_some_and(|it| is_name(it))
            {
                end += 2;
            }
            if end > place && is_name(&tokens[place]) && !matches!(before, Some("::" | ".")) {
                let path: Vec<String> = tokens[place..=end].iter().step_by(2).cloned().collect();
                let whole = match own.get(&path[0]) {
                    Some((known, _)) => Some([known, &path[1..]].concat()),
                    None => absolute(modules, module, &path),
                };
                let is_visibility = before == Some("in");
                paths.extend(whole.filter(|_| !is_visibility));
            }
            place = end + 1;
        }
        for path in paths {
            let (to, name) = home(modules, &names, &path, 0);
            if to != *module && !to.is_empty() {
                arrows.entry((module.clone(), to)).or_default().insert(name);
            }
        }
    }
    arrows
}

fn is_name(token: &str) -> bool {
    token
        .chars()
        .next()
        .is_some_and(|it| it.is_alphabetic() || it == '_')
}

/// What the `use`s of a module bring into it, from this crate.
fn names(modules: &Modules, module: &str, tokens: &[String]) -> Names {
    let mut names = Names::new();
    for (place, token) in tokens.iter().enumerate() {
        if token != "use" {
            continue;
        }
        let is_handed_on = tokens[..place]
            .iter()
            .rev()
            .take_while(|it| !matches!(it.as_str(), ";" | "}" | "{" | "]"))
            .any(|it| it == "pub");
        let mut leaves = Vec::new();
        leaves_of(&tokens[place + 1..], &[], &mut leaves);
        for (path, name) in leaves {
            if let Some(path) = absolute(modules, module, &path) {
                // `as _` brings no name, and still needs what it is for.
                let name = if name == "_" {
                    format!("_{place}")
                } else {
                    name
                };
                names.insert(name, (path, is_handed_on));
            }
        }
    }
    names
}

/// The paths of a tree of imports, each with the name that it has then; gives how many tokens it has.
fn leaves_of(
    tokens: &[String],
    before: &[String],
    leaves: &mut Vec<(Vec<String>, String)>,
) -> usize {
    let mut path = before.to_vec();
    let mut place = 0;
    loop {
        match tokens.get(place).map(String::as_str) {
            Some("{") => {
                place += 1;
                while tokens.get(place).is_some_and(|it| it != "}") {
                    place += leaves_of(&tokens[place..], &path, leaves);
                    if tokens.get(place).is_some_and(|it| it == ",") {
                        place += 1;
                    }
                }
                return place + 1;
            }
            Some("::") => place += 1,
            Some("as") => {
                leaves.push((path, tokens[place + 1].clone()));
                return place + 2;
            }
            Some("self") if !path.is_empty() => place += 1,
            Some(token) if is_name(token) || token == "*" => {
                path.push(token.to_owned());
                place += 1;
            }
            _ => {
                let name = path.last().cloned().unwrap_or_default();
                leaves.push((path, name));
                return place;
            }
        }
    }
}

/// A path from the crate's root; `None` if it is of another crate.
fn absolute(modules: &Modules, module: &str, path: &[String]) -> Option<Vec<String>> {
    let own: Vec<String> = module
        .split("::")
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect();
    let up = path.iter().take_while(|it| *it == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "fleetcall" if module == "main" => Some(path[1..].to_vec()),
        "self" => Some([&own[..], &path[1..]].concat()),
        "super" => Some([&own[..own.len().checked_sub(up)?], &path[up..]].concat()),
        child => {
            let whole = [&own[..], &[child.to_owned()]].concat();
            modules
                .contains_key(&whole.join("::"))
                .then(|| [&own[..], path].concat())
        }
    }
}

/// The module that defines what a path names, and that name.
fn home(
    modules: &Modules,
    names: &BTreeMap<&str, Names>,
    path: &[String],
    depth: usize,
) -> (String, String) {
    let known = (0..=path.len())
        .rev()
        .find(|&len| modules.contains_key(&path[..len].join("::")));
    let len = known.unwrap_or(0);
    let module = path[..len].join("::");
    if let Some(next) = path.get(len)
        && let Some((target, true)) = names.get(module.as_str()).and_then(|it| it.get(next))
        && depth < 8
    {
        let whole = [target, &path[len + 1..]].concat();
        return home(modules, names, &whole, depth + 1);
    }
    (module, path[len..].join("::"))
}

/// Files that reach each other, without these arrows.
fn circles(arrows: &Arrows, without: &BTreeSet<(String, String)>) -> Vec<BTreeSet<String>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for arrow @ (from, to) in arrows.keys() {
        if !without.contains(arrow) {
            next.entry(from).or_default().push(to);
        }
    }
    let reached = |start: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start.to_owned()]);
        while let Some(module) = open.pop() {
            for to in next.get(module.as_str()).into_iter().flatten() {
                if seen.insert((*to).to_owned()) {
                    open.push((*to).to_owned());
                }
            }
        }
        seen
    };
    let all: BTreeMap<&str, BTreeSet<String>> = next.keys().map(|it| (*it, reached(it))).collect();
    let mut circles: Vec<BTreeSet<String>> = Vec::new();
    for (module, seen) in &all {
        if seen.contains(*module) && !circles.iter().any(|it| it.contains(*module)) {
            let back = |it: &&String| all.get(it.as_str()).is_some_and(|it| it.contains(*module));
            circles.push(seen.iter().filter(back).cloned().collect());
        }
    }
    circles
}
