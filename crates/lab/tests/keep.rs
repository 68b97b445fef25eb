//! A kept lab has names, outlives its process's hold, and goes when it is told to. Needs root.

use lab::scenario::{Options, find};
use lab::{keep, run};
use sys::Linux;
use sys::netns::Namespace;

#[test]
fn a_kept_lab_lasts_until_it_is_cleaned() {
    let prefix = format!("tw-lab-test-{}-", std::process::id());
    let options = Options { attach: None, copies: 2 };
    let scenario = find("port-aggregator").unwrap();
    let (lab, report) =
        run::run(scenario, &options).expect("this test makes network namespaces: run it as root");
    assert!(report.ok());
    let before = lab.network().hosts().count();
    let told = keep::keep(&lab, &prefix);
    drop(lab);
    let looked = look(&prefix);
    let again = keep::refuse_if_kept(&prefix);
    // From here on nothing is left behind, whatever the answers are.
    let removed = keep::clean(&prefix).unwrap();
    assert!(told.unwrap().contains(&format!("ip netns exec {prefix}tap tapwright status")));
    assert_eq!(looked, Ok(0));
    assert!(again.unwrap_err().to_string().contains("a lab was kept already"));
    assert_eq!(removed.len(), before);
    assert_eq!(keep::clean(&prefix).unwrap(), Vec::<String>::new());
    keep::refuse_if_kept(&prefix).unwrap();
}

/// What the ledger of the kept tap box leaves over.
fn look(prefix: &str) -> Result<i64, String> {
    let namespace = Namespace::named(&format!("{prefix}tap")).map_err(|error| error.to_string())?;
    let status = namespace.run(|| engine::status(&mut Linux::new())).map_err(|error| error.to_string())?;
    status.map(|status| status.unaccounted).map_err(|error| error.to_string())
}
