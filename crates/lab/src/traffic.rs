//! What crosses the enterprise in every scenario: ping, DNS, HTTP and a mail greeting, one after the other.
//!
//! Sequential on purpose: frames then have one order, which is checked.

use crate::clients::{self, Told};
use crate::enterprise::{INSIDE_SITE, MAIL_NAME, MANAGEMENT, MANAGEMENT_VLAN, OUTSIDE_SITE, v4_of, v6_of};
use crate::management;
use crate::network::{LabError, Network};
use crate::scenario::Traffic;
use crate::servers::{self, Server};

/// One thing that a client did, and what came of it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Exchange {
    /// The host of the client.
    pub host: String,
    /// `ping 203.0.113.10`.
    pub what: String,
    /// Whether it went as it should.
    pub ok: bool,
    /// What came of it.
    pub result: String,
}

/// Starts the servers of all hosts. They stop when they are dropped.
pub fn serve(network: &Network) -> Result<Vec<Server>, LabError> {
    let internet = v4_of("internet");
    let outside = vec![(OUTSIDE_SITE, vec![internet, v6_of("internet")])];
    let inside = vec![
        (INSIDE_SITE, vec![v4_of("web"), v6_of("web")]),
        (MAIL_NAME, vec![v4_of("mail"), v6_of("mail")]),
    ];
    let start = |host: &str, what: &str, serve: &(dyn Fn() -> std::io::Result<Server> + Sync)| {
        let started = network.inside(host, serve)?;
        started.map_err(|error| LabError::new(format!("{what} server of {host}"), error))
    };
    Ok(vec![
        start("internet", "HTTP", &|| servers::http(OUTSIDE_SITE))?,
        start("internet", "DNS", &|| servers::dns(outside.clone(), None))?,
        start("web", "HTTP", &|| servers::http(INSIDE_SITE))?,
        start("dns", "DNS", &|| servers::dns(inside.clone(), Some(internet)))?,
        start("mail", "mail", &|| servers::mail(MAIL_NAME))?,
    ])
}

/// Runs the clients of this traffic, and tells of each.
pub fn run(network: &Network, traffic: Traffic) -> Result<Vec<Exchange>, LabError> {
    let mut told = Vec::new();
    let mut step = |host: &str, what: String, client: &(dyn Fn() -> Told + Sync)| -> Result<(), LabError> {
        let outcome = network.inside(host, client)?;
        let ok = outcome.is_ok();
        told.push(Exchange {
            host: host.to_owned(),
            what,
            ok,
            result: outcome.unwrap_or_else(|error| error),
        });
        Ok(())
    };
    let (small, inside) = (servers::small_page(OUTSIDE_SITE), servers::small_page(INSIDE_SITE));
    let large = servers::large_page();
    let (out4, out6) = (v4_of("internet"), v6_of("internet"));
    let (web4, web6) = (v4_of("web"), v6_of("web"));
    let resolver = v4_of("dns");

    step("ws1", format!("dns  {OUTSIDE_SITE} A"), &|| clients::dns(resolver, OUTSIDE_SITE, out4, 27655))?;
    if traffic == Traffic::WebFetch {
        step("ws1", format!("http http://{OUTSIDE_SITE}/"), &|| {
            clients::http(out4, OUTSIDE_SITE, "/", small.as_bytes())
        })?;
        return Ok(told);
    }
    step("ws1", format!("dns  {OUTSIDE_SITE} AAAA"), &|| clients::dns(resolver, OUTSIDE_SITE, out6, 27656))?;
    step("ws1", format!("ping {out4}"), &|| clients::ping(out4, 2, 0x1001))?;
    step("ws1", format!("ping {out6}"), &|| clients::ping(out6, 2, 0x1002))?;
    step("ws1", format!("http http://{OUTSIDE_SITE}/"), &|| {
        clients::http(out4, OUTSIDE_SITE, "/", small.as_bytes())
    })?;
    step("ws1", format!("http http://{OUTSIDE_SITE}/large"), &|| {
        clients::http(out6, OUTSIDE_SITE, "/large", &large)
    })?;
    step("ws2", format!("dns  {INSIDE_SITE} A"), &|| clients::dns(resolver, INSIDE_SITE, web4, 64302))?;
    step("ws2", format!("http http://{INSIDE_SITE}/"), &|| {
        clients::http(web4, INSIDE_SITE, "/", inside.as_bytes())
    })?;
    step("internet", format!("dns  {INSIDE_SITE} AAAA"), &|| {
        clients::dns(v6_of("dns"), INSIDE_SITE, web6, 50548)
    })?;
    step("internet", format!("ping {web6}"), &|| clients::ping(web6, 1, 0x1003))?;
    step("internet", format!("http http://{INSIDE_SITE}/large"), &|| {
        clients::http(web4, INSIDE_SITE, "/large", &large)
    })?;
    step("internet", format!("mail {MAIL_NAME}"), &|| clients::mail(v4_of("mail")))?;
    if traffic == Traffic::Management {
        let [(asks, _), (answers, _)] = MANAGEMENT;
        let outcome = management::ping(network, 4)?;
        let what = format!("ping {answers} in vlan {MANAGEMENT_VLAN}");
        let (ok, result) = (outcome.is_ok(), outcome.unwrap_or_else(|error| error));
        told.push(Exchange { host: asks.to_owned(), what, ok, result });
    }
    Ok(told)
}
