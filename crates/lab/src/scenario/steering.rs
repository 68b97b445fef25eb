//! Scenarios in which rules choose the sensor.

use super::{
    BoxPlan, Cut, Layout, Only, Options, PERIMETER_LINK, Passing, Traffic, config, feeds, link_truth,
    monitor, perimeter_sides, sensors,
};
use crate::enterprise::TAP;

/// The chapter's rules, as printed.
const PF_DUP_TO: &str = include_str!("../../../../examples/pf.conf.dup-to");

/// The pf bridge of the chapter: interface sf0 is towards the intranet, sf1 towards the internet, TCP port 80 is
/// copied to sf2 and all else that the rules name to sf3. The tap box takes the place of the bridge.
pub(super) fn pf_dup_to(options: &Options) -> Layout {
    let [outer, inner] = perimeter_sides();
    let some = |only: Only| {
        let kept = |passing: &Passing| Passing { only: Some(only), ..passing.clone() };
        [kept(&inner), kept(&outer)]
    };
    let monitors = [
        monitor("sf2", "eth3", ("sensor1", "sf2"), &some(Only::Web)),
        monitor("sf3", "eth4", ("sensor2", "sf3"), &some(Only::Rest)),
    ];
    let device = "name  = \"perimeter\"\nkind  = \"distributor\"\nlink  = [\"sf0\", \"sf1\"]\n\
                  rules = \"pf.conf.dup-to\"\n";
    let comment = "Rules of pf choose the sensor. The bridge needs no addresses, and neither do the sensors.";
    let (to_internet, to_intranet) = ("eth1", "eth2");
    Layout {
        drawing: format!(
            "internet --- perimeter -sf1[ tap ]sf0- firewall --+-- dmz       web  dns  mail\n\
             {:30}|                   +-- intranet  ws1  ws2\n\
             {:30}+--> sensor1.sf2  (sf2: TCP port 80)\n\
             {:30}+--> sensor2.sf3  (sf3: all other TCP, UDP, ICMP)\n",
            "", "", ""
        ),
        cuts: vec![Cut { cable: PERIMETER_LINK, interfaces: (to_internet.into(), to_intranet.into()) }],
        feeds: feeds(TAP, &monitors),
        boxes: vec![BoxPlan {
            host: TAP.into(),
            file: "distributor.toml".into(),
            text: config(options, comment, &[("sf0", to_intranet), ("sf1", to_internet)], &monitors, device),
            files: vec![("pf.conf.dup-to", PF_DUP_TO)],
            ports: link_truth("sf1", "sf0", PERIMETER_LINK),
        }],
        sensors: sensors(TAP, &monitors),
        traffic: Traffic::WebFetch,
    }
}
