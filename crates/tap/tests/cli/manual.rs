//! What is made from the definition of the command line: completions and manual pages.

use super::{Ended, commands, golden, tapwright};

/// What a command prints that must succeed and say nothing else.
fn printed(arguments: &[&str]) -> String {
    let ended = tapwright(&golden(), arguments);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    ended.stdout
}

#[test]
fn completions_of_every_shell_name_every_command() {
    let help = printed(&["--help"]);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completions", shell]);
        for command in commands(&help) {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(script.contains("write-dir"), "{shell}");
    }
}

#[test]
fn a_completion_that_bash_runs_finds_a_command() {
    let script = printed(&["completions", "bash"]);
    let ask = "\nCOMP_WORDS=(tapwright rep); COMP_CWORD=1; _tapwright tapwright rep tapwright; echo \"${COMPREPLY[@]}\"";
    let mut bash = std::process::Command::new("bash");
    bash.args(["--norc", "-c", &(script + ask)]);
    let expected = Ended { code: Some(0), stdout: "replay\n".into(), stderr: String::new() };
    assert_eq!(super::ended(&mut bash), expected);
}

#[test]
fn pages_name_every_command_and_every_option() {
    let (help, page) = (printed(&["--help"]), printed(&["man"]));
    for command in commands(&help) {
        assert!(page.contains(&format!("tapwright\\-{command}(1)")), "{command}: {page}");
        let page = printed(&["man", command]);
        assert!(page.contains(&format!(".TH tapwright-{command} 1")), "{command}: {page}");
        let help = printed(&[command, "--help"]);
        for option in help.split_whitespace().filter(|word| word.starts_with("--")) {
            // `--causal[=<force>]` names an option that may have a value.
            let option = option.split(['[', '=']).next().unwrap_or(option);
            let option = option.trim_end_matches(|c: char| !c.is_alphanumeric());
            // roff writes a hyphen that is no dash as \-.
            assert!(page.contains(&option.replace('-', "\\-")), "{command} {option}: {page}");
        }
    }
}

#[test]
fn a_page_of_no_command_is_an_answer_of_no() {
    let ended = tapwright(&golden(), &["man", "explode"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(
        ended.stderr.starts_with("`explode` is no command\nhelp: the commands are check, up,"),
        "{}",
        ended.stderr
    );
}
