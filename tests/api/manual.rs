//! What is made from the definitions of the commands: completions and manual pages.

use std::process::Command;

use tempfile::TempDir;

use crate::harness::{fleetcall, run, stderr, stdout};

#[test]
fn bash_completes_commands_flags_and_values() {
    let script = stdout(&run(fleetcall().args(["completions", "bash"])));
    let complete = |words: &str| {
        let asked = format!(
            "{script}\nCOMP_WORDS=({words})\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _fleetcall fleetcall \"${{COMP_WORDS[COMP_CWORD]}}\" \
             \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\necho \"${{COMPREPLY[*]}}\""
        );
        let output = run(Command::new("bash").args(["--norc", "-c", &asked]));
        assert_eq!(stderr(&output), "", "{words}");
        stdout(&output).trim().to_owned()
    };
    assert_eq!(complete("fleetcall col"), "collect");
    assert_eq!(complete("fleetcall tree --se"), "--server");
    assert_eq!(complete("fleetcall tree --format j"), "json");
}

#[test]
fn there_are_completions_for_the_usual_shells() {
    for (shell, part) in [
        ("zsh", "#compdef fleetcall"),
        ("fish", "complete -c fleetcall"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "set edit:completion:arg-completer[fleetcall]"),
    ] {
        let script = stdout(&run(fleetcall().args(["completions", shell])));
        assert!(script.contains(part), "{shell}: {script}");
    }
    let output = run(fleetcall().args(["completions", "tcsh"]));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn manual_pages_read_well_in_man() {
    let dir = TempDir::new().unwrap();
    let page = dir.path().join("fleetcall.1");
    for (arguments, parts) in [
        (
            vec!["man"],
            [
                "fleetcall-collect(1)",
                "fleetcall serve --help",
                "78   bad configuration",
            ],
        ),
        (
            vec!["man", "serve"],
            [
                "fleetcall-serve",
                "--port <N>",
                "FLEETCALL_PORT environment variable",
            ],
        ),
        (
            vec!["man", "tree"],
            ["fleetcall-tree", "--server <URL>", "FLEETCALL_SERVER"],
        ),
    ] {
        let output = run(fleetcall().args(&arguments));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        std::fs::write(&page, &output.stdout).unwrap();
        let shown = run(Command::new("mandoc")
            .args(["-T", "utf8", "-O", "width=200", "-W", "error"])
            .arg(&page));
        assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
        // Bold and underlined characters are struck over.
        let struck = stdout(&shown);
        let mut plain = String::new();
        for character in struck.chars() {
            match character {
                '\u{8}' => drop(plain.pop()),
                other => plain.push(other),
            }
        }
        for part in parts {
            assert!(plain.contains(part), "{part}: {plain}");
        }
    }
    let output = run(fleetcall().args(["man", "trees"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("no command \"trees\"; there are serve, worker, check"),
        "{}",
        stderr(&output)
    );
}
