//! Files against the command line's own definitions.

use super::*;
use clap::ArgMatches;

fn built() -> Command {
    let mut cli = Cli::command();
    cli.build();
    cli
}

/// A file of this content, read.
fn read(text: &str) -> Result<ConfigFile, Failure> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("twinline.toml");
    std::fs::write(&path, text).unwrap();
    ConfigFile::read(&path, &built())
}

/// What the file adds to these arguments of a command.
fn added(text: &str, given: &[&str]) -> Vec<String> {
    let cli = built();
    let file = read(text).unwrap();
    let all = [&["twinline"], given].concat();
    let matches: ArgMatches = cli.clone().ignore_errors(true).try_get_matches_from(all).unwrap();
    let (name, of_command) = matches.subcommand().unwrap();
    let command = commands(&cli).find(|known| known.get_name() == name).unwrap();
    let instance = of_command.get_one::<String>("instance");
    let keys = file
        .holding(command, instance.map(String::as_str), Some(of_command))
        .unwrap();
    arguments(command, &keys)
}

const FILE: &str = r#"
[common]
line-a = "239.1.1.1:5001@127.0.0.1"
channel = 7
[listen]
recovery = ["10.0.0.5:17010", "10.0.0.6:17010"]
until-end = true
print = false
[listen.desk1]
journal = "/tmp/desk1"
channel = 8
[publish]
generate = 1_000
pace = "recorded"
"#;

#[test]
fn keys_become_arguments_and_a_nearer_section_wins() {
    let expected = [
        "--line-a=239.1.1.1:5001@127.0.0.1",
        "--channel=7",
        "--recovery=10.0.0.5:17010",
        "--recovery=10.0.0.6:17010",
        "--until-end",
    ];
    let mut ours = added(FILE, &["listen"]);
    ours.sort();
    let mut sorted = expected.map(String::from);
    sorted.sort();
    assert_eq!(ours, sorted);
    let of_instance = added(FILE, &["listen", "--instance", "desk1"]);
    assert!(
        of_instance.contains(&"--channel=8".into()) && of_instance.contains(&"--journal=/tmp/desk1".into())
    );
    assert!(!of_instance.contains(&"--channel=7".into()));
}

#[test]
fn what_the_user_gives_replaces_the_flag_its_list_and_what_excludes_it() {
    let ours = added(FILE, &["listen", "--recovery", "10.9.9.9:1", "--channel", "3"]);
    assert!(
        !ours
            .iter()
            .any(|arg| arg.starts_with("--recovery") || arg.starts_with("--channel")),
        "{ours:?}"
    );
    // --rate excludes --pace, --from excludes --generate.
    assert_eq!(
        added(FILE, &["publish", "--rate", "5", "--from", "x"]),
        ["--channel=7", "--line-a=239.1.1.1:5001@127.0.0.1"]
    );
}

#[test]
fn unknown_names_are_errors_with_their_place_and_a_suggestion() {
    for (text, named) in [
        (
            "[listen]\nrecovry = \"1\"\n",
            "twinline.toml:2:1: there is no key \"recovry\": did you mean recovery?",
        ),
        (
            "\n[lisen]\n",
            ":2:2: there is no section \"lisen\": did you mean listen?",
        ),
        ("[listen]\nzzz = 1\n", "config example"),
        ("channel = 1\n", "there is no section"),
        ("listen = 1\n", "keys belong into a section"),
        ("[listen]\nchannel = 0x7\n", "decimal"),
        ("[listen]\nchannel = \n", ":2:"),
        ("[listen.a.b]\nchannel = 1\n", "there is no key \"b\""),
        ("[common]\nbogus = 1\n", "there is no key \"bogus\""),
        ("[listen]\nrecovery = [[\"a\"]]\n", "cannot hold a list"),
        ("[listen]\nconfig = \"x\"\n", "there is no key \"config\""),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.text.contains(named), "{text}: {}", error.text);
    }
}

#[test]
fn checking_has_each_command_read_its_values() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("twinline.toml");
    let checked = |text: &str| {
        std::fs::write(&path, text).unwrap();
        check(&path, &built())
    };
    let text = checked(FILE).unwrap().summary.own_text;
    assert!(
        text.contains("[listen.desk1] is right: 6 keys")
            && text.contains("[listen] is right: 5 keys, still to be given"),
        "{text}"
    );
    // Whether these two will meet is for the command line to say.
    let apart = "[common]\njournal = \"x\"\nrecovery = \"10.0.0.5:17010\"\n[demo]\nkeep = true\n";
    assert!(checked(apart).is_ok());
    for (text, named) in [
        (
            "[listen]\njournal = \"x\"\nidle = \"never\"\n",
            "twinline.toml:3: invalid value 'never'",
        ),
        (
            "[common]\nchannel = 70000\n",
            "twinline.toml:2: invalid value '70000'",
        ),
        // Of a command that has no section.
        (
            "[common]\nsegment-size = \"much\"\n[decode]\nformat = \"csv\"\n",
            "twinline.toml:2: invalid value 'much'",
        ),
        (
            "[publish]\njournal = \"x\"\nfrom = \"a\"\ngenerate = 5\n",
            "cannot be used with",
        ),
    ] {
        let error = checked(text).expect_err(text);
        assert!(error.text.contains(named), "{}", error.text);
    }
}

#[test]
fn the_example_has_every_key_and_is_right() {
    let text = example(&built());
    let file = read(&text).unwrap();
    assert_eq!(file.sections.len(), 1 + commands(&built()).count());
    // Every key at its default, where it has one, is what the command takes.
    let cli = built();
    for command in commands(&cli) {
        for (name, arg) in flags(command).filter(|(_, arg)| default(arg).is_some()) {
            assert!(text.contains(&format!("\n#{name} = ")), "{name}");
            let value = default(arg).unwrap();
            let value = if arg.get_action().takes_values() {
                format!("{value:?}")
            } else {
                value
            };
            let file = read(&format!("[{}]\n{name} = {value}\n", command.get_name())).unwrap();
            let keys = file.keys(command, None).unwrap();
            assert_eq!(keys.len(), 1);
            let parsed = parse(command, &keys, &file);
            let judged = parsed.map_err(|failure| failure.text);
            // A flag may need another one; that is no fault of its value.
            assert!(judged.is_ok(), "{name}: {judged:?}");
        }
    }
}

#[test]
fn the_effective_value_and_where_it_is_said_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("twinline.toml");
    std::fs::write(&path, FILE).unwrap();
    let global = Global {
        config: Some(path.clone()),
        instance: Some("desk1".into()),
        ..Global::default()
    };
    let said = |key| {
        explain(&built(), "listen", Some(key), &global)
            .unwrap()
            .summary
            .own_text
    };
    assert!(
        said("channel").starts_with(&format!("channel = 8   ({}:11)", path.display())),
        "{}",
        said("channel")
    );
    assert!(said("gap-timeout").contains("(default)"));
    assert!(said("sender").contains("(not set)"));
    assert!(explain(&built(), "listen", Some("chanel"), &global).is_err());
    assert!(explain(&built(), "lissen", None, &global).is_err());
}
