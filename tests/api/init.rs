//! The configuration that `fleetcall init` writes.

use tempfile::TempDir;

use crate::harness::{fleetcall, run, stderr, stdout};

#[test]
fn init_writes_a_configuration_that_is_valid_and_never_over_another() {
    let dir = TempDir::new().unwrap();
    let here = |arguments: &[&str]| run(fleetcall().current_dir(dir.path()).args(arguments));
    let output = here(&["init"]);
    assert_eq!(stdout(&output), "config/clusters.toml: written\n");
    let output = here(&["check"]);
    assert_eq!(
        stdout(&output),
        "config/clusters.toml: valid, 1 cluster, 6 devices, 6 of them simulated\n"
    );
    let path = dir.path().join("config/clusters.toml");
    std::fs::write(&path, "mine").unwrap();
    let output = here(&["init"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("fleetcall: config/clusters.toml is there already; --force"),
        "{}",
        stderr(&output)
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    assert_eq!(here(&["init", "--force"]).status.code(), Some(0));
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(stdout(&here(&["init", "-"])), written);
    let output = here(&["init", "--config", "other/fleet.toml"]);
    assert_eq!(stdout(&output), "other/fleet.toml: written\n");
    let output = here(&["init", "config"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("fleetcall: config is there already"),
        "{}",
        stderr(&output)
    );
    let output = here(&["init", "config/clusters.toml/fleet.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("fleetcall: cannot write config/clusters.toml/fleet.toml: "),
        "{}",
        stderr(&output)
    );
}
