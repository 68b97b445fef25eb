//! Names of services and protocols: what `port http` and `proto icmp` mean, on every machine the same.
//!
//! The names are those of the registries of IANA as Debian's netbase 6.4 has them in `/etc/services` and
//! `/etc/protocols`. Never reads these files: rules must mean the same wherever they are read.

/// Which transport protocols a service is known under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP alone.
    Tcp,
    /// UDP alone.
    Udp,
    /// TCP and UDP.
    Both,
}

use Transport::{Both as BOTH, Tcp as TCP, Udp as UDP};

/// The port of a service, and the protocols that it is known under.
pub fn service(name: &str) -> Option<(u16, Transport)> {
    let at = SERVICES.binary_search_by_key(&name, |(known, ..)| known).ok()?;
    let (_, port, transport) = SERVICES[at];
    Some((port, transport))
}

/// The number of a protocol above IP.
pub fn protocol(name: &str) -> Option<u8> {
    let at = PROTOCOLS.binary_search_by_key(&name, |(known, _)| known).ok()?;
    Some(PROTOCOLS[at].1)
}

/// A name of a protocol above IP, in small letters.
pub fn protocol_name(number: u8) -> Option<&'static str> {
    let is_small = |name: &str| !name.contains(|letter: char| letter.is_ascii_uppercase());
    PROTOCOLS.iter().find(|(name, known)| *known == number && is_small(name)).map(|(name, _)| *name)
}

/// All names of services.
pub fn service_names() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().map(|(name, ..)| *name)
}

/// All names of protocols.
pub fn protocol_names() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.iter().map(|(name, _)| *name)
}

/// Ascending by name.
#[rustfmt::skip]
const SERVICES: &[(&str, u16, Transport)] = &[
    ("Clearcase", 371, UDP), ("acr-nema", 104, TCP), ("afpovertcp", 548, TCP), ("afs3-bos", 7007, UDP),
    ("afs3-callback", 7001, UDP), ("afs3-fileserver", 7000, UDP), ("afs3-kaserver", 7004, UDP),
    ("afs3-prserver", 7002, UDP), ("afs3-rmtsys", 7009, UDP), ("afs3-update", 7008, UDP),
    ("afs3-vlserver", 7003, UDP), ("afs3-volser", 7005, UDP), ("amanda", 10080, TCP),
    ("amandaidx", 10082, TCP), ("amidxtape", 10083, TCP), ("amqp", 5672, TCP), ("amqps", 5671, TCP),
    ("asf-rmcp", 623, UDP), ("asp", 27374, BOTH), ("auth", 113, TCP), ("authentication", 113, TCP),
    ("babel", 6696, UDP), ("bacula-dir", 9101, TCP), ("bacula-fd", 9102, TCP), ("bacula-sd", 9103, TCP),
    ("bbs", 7000, TCP), ("bgp", 179, TCP), ("bgpd", 2605, TCP), ("biff", 512, UDP), ("binkp", 24554, TCP),
    ("bootpc", 68, UDP), ("bootps", 67, UDP), ("canna", 5680, TCP), ("cfengine", 5308, TCP),
    ("chargen", 19, BOTH), ("cisco-sccp", 2000, TCP), ("clc-build-daemon", 8990, TCP),
    ("clearcase", 371, UDP), ("cmd", 514, TCP), ("cmip-agent", 164, BOTH), ("cmip-man", 163, BOTH),
    ("codaauth2", 370, BOTH), ("codasrv", 2432, BOTH), ("codasrv-se", 2433, BOTH), ("comsat", 512, UDP),
    ("csync2", 30865, TCP), ("cvspserver", 2401, TCP), ("daap", 3689, TCP), ("datametrics", 1645, BOTH),
    ("daytime", 13, BOTH), ("db-lsp", 17500, TCP), ("dcap", 22125, TCP), ("dhcpv6-client", 546, UDP),
    ("dhcpv6-server", 547, UDP), ("dicom", 104, TCP), ("dict", 2628, TCP), ("dircproxy", 57000, TCP),
    ("discard", 9, BOTH), ("distcc", 3632, TCP), ("domain", 53, BOTH), ("domain-s", 853, BOTH),
    ("echo", 7, BOTH), ("epmap", 135, TCP), ("epmd", 4369, TCP), ("exec", 512, TCP),
    ("f5-globalsite", 2792, TCP), ("f5-iquery", 4353, TCP), ("fax", 4557, TCP), ("fido", 60179, TCP),
    ("finger", 79, TCP), ("font-service", 7100, TCP), ("freeciv", 5556, TCP), ("fsp", 21, UDP),
    ("fspd", 21, UDP), ("ftp", 21, TCP), ("ftp-data", 20, TCP), ("ftps", 990, TCP), ("ftps-data", 989, TCP),
    ("gdomap", 538, BOTH), ("gds-db", 3050, TCP), ("gds_db", 3050, TCP), ("git", 9418, TCP),
    ("gnunet", 2086, BOTH), ("gnutella-rtr", 6347, BOTH), ("gnutella-svc", 6346, BOTH), ("gopher", 70, TCP),
    ("gpsd", 2947, TCP), ("gris", 2135, TCP), ("groupwise", 1677, TCP), ("gsidcap", 22128, TCP),
    ("gsiftp", 2811, TCP), ("gsigatekeeper", 2119, TCP), ("hkp", 11371, TCP), ("hprop", 754, TCP),
    ("http", 80, TCP), ("http-alt", 8080, TCP), ("https", 443, BOTH), ("hylafax", 4559, TCP),
    ("iax", 4569, UDP), ("icp", 3130, UDP), ("icpv2", 3130, UDP), ("ident", 113, TCP), ("imap", 143, TCP),
    ("imap2", 143, TCP), ("imaps", 993, TCP), ("ingreslock", 1524, TCP), ("ipp", 631, TCP),
    ("iprop", 2121, TCP), ("ipsec-nat-t", 4500, UDP), ("ipx", 213, UDP), ("ircd", 6667, TCP),
    ("ircs-u", 6697, TCP), ("isakmp", 500, UDP), ("iscsi-target", 3260, TCP), ("isisd", 2608, TCP),
    ("isns", 3205, BOTH), ("iso-tsap", 102, TCP), ("jabber-client", 5222, TCP),
    ("jabber-server", 5269, TCP), ("kamanda", 10081, TCP), ("kdc", 750, BOTH), ("kerberos", 88, BOTH),
    ("kerberos-adm", 749, TCP), ("kerberos-iv", 750, BOTH), ("kerberos-master", 751, BOTH),
    ("kerberos-sec", 88, BOTH), ("kerberos4", 750, BOTH), ("kerberos5", 88, BOTH),
    ("kerberos_master", 751, UDP), ("kermit", 1649, TCP), ("klogin", 543, TCP), ("kpasswd", 464, BOTH),
    ("krb-prop", 754, TCP), ("krb5", 88, BOTH), ("krb5_prop", 754, TCP), ("krb_prop", 754, TCP),
    ("krcmd", 544, TCP), ("kshell", 544, TCP), ("l2f", 1701, UDP), ("l2tp", 1701, UDP), ("ldap", 389, BOTH),
    ("ldaps", 636, BOTH), ("ldp", 646, BOTH), ("loc-srv", 135, TCP), ("login", 513, TCP),
    ("lotusnote", 1352, TCP), ("lotusnotes", 1352, TCP), ("lrrd", 4949, TCP), ("mail", 25, TCP),
    ("mailq", 174, TCP), ("mdns", 5353, UDP), ("microsoft-ds", 445, TCP), ("moira-db", 775, TCP),
    ("moira-update", 777, TCP), ("moira-ureg", 779, UDP), ("moira_db", 775, TCP),
    ("moira_update", 777, TCP), ("moira_ureg", 779, UDP), ("mon", 2583, BOTH), ("ms-sql-m", 1434, UDP),
    ("ms-sql-s", 1433, TCP), ("ms-wbt-server", 3389, TCP), ("mtn", 4691, TCP), ("munin", 4949, TCP),
    ("mysql", 3306, TCP), ("mysql-proxy", 6446, TCP), ("nbd", 10809, TCP), ("netbios-dgm", 138, UDP),
    ("netbios-ns", 137, UDP), ("netbios-ssn", 139, TCP), ("netstat", 15, TCP), ("nfs", 2049, BOTH),
    ("nicname", 43, TCP), ("nntp", 119, TCP), ("nntps", 563, TCP), ("nqs", 607, TCP), ("nrpe", 5666, TCP),
    ("nsca", 5667, TCP), ("ntalk", 518, UDP), ("ntp", 123, UDP), ("ntske", 4460, TCP), ("null", 9, BOTH),
    ("nut", 3493, BOTH), ("old-radacct", 1646, BOTH), ("old-radius", 1645, BOTH), ("omniorb", 8088, TCP),
    ("openvpn", 1194, BOTH), ("ospf6d", 2606, TCP), ("ospfapi", 2607, TCP), ("ospfd", 2604, TCP),
    ("passwd-server", 752, UDP), ("passwd_server", 752, UDP), ("pawserv", 345, TCP), ("pop-3", 110, TCP),
    ("pop3", 110, TCP), ("pop3s", 995, TCP), ("poppassd", 106, TCP), ("portmapper", 111, BOTH),
    ("postgres", 5432, TCP), ("postgresql", 5432, TCP), ("predict", 1210, UDP), ("printer", 515, TCP),
    ("proofd", 1093, TCP), ("ptp-event", 319, UDP), ("ptp-general", 320, UDP), ("puppet", 8140, TCP),
    ("qmqp", 628, TCP), ("qmtp", 209, TCP), ("qotd", 17, TCP), ("quote", 17, TCP), ("radacct", 1813, BOTH),
    ("radius", 1812, BOTH), ("radius-acct", 1813, BOTH), ("radmin-port", 4899, TCP), ("readnews", 119, TCP),
    ("redis", 6379, TCP), ("remctl", 4373, TCP), ("ripd", 2602, TCP), ("ripngd", 2603, TCP),
    ("rmiregistry", 1099, TCP), ("rmtcfg", 1236, TCP), ("rootd", 1094, TCP), ("route", 520, UDP),
    ("routed", 520, UDP), ("router", 520, UDP), ("rpc2portmap", 369, BOTH), ("rplay", 5555, UDP),
    ("rptp", 5556, TCP), ("rsync", 873, TCP), ("rtcm-sc104", 2101, BOTH), ("rtsp", 554, BOTH),
    ("sa-msg-port", 1646, BOTH), ("saft", 487, TCP), ("sane", 6566, TCP), ("sane-port", 6566, TCP),
    ("saned", 6566, TCP), ("sge-execd", 6445, TCP), ("sge-qmaster", 6444, TCP), ("sge_execd", 6445, TCP),
    ("sge_qmaster", 6444, TCP), ("sgi-cad", 17004, TCP), ("sgi-cmsd", 17001, UDP), ("sgi-crsd", 17002, UDP),
    ("sgi-gcd", 17003, UDP), ("shell", 514, TCP), ("sieve", 4190, TCP), ("silc", 706, TCP),
    ("sink", 9, BOTH), ("sip", 5060, BOTH), ("sip-tls", 5061, BOTH), ("skkserv", 1178, TCP),
    ("smtp", 25, TCP), ("smtps", 465, TCP), ("smux", 199, TCP), ("snmp", 161, BOTH),
    ("snmp-trap", 162, BOTH), ("snmptrap", 162, BOTH), ("snntp", 563, TCP), ("snpp", 444, TCP),
    ("socks", 1080, TCP), ("source", 19, BOTH), ("spamd", 783, TCP), ("spooler", 515, TCP),
    ("ssh", 22, TCP), ("ssmtp", 465, TCP), ("submission", 587, TCP), ("submissions", 465, TCP),
    ("subversion", 3690, TCP), ("sunrpc", 111, BOTH), ("supfiledbg", 1127, TCP), ("supfilesrv", 871, TCP),
    ("suucp", 4031, TCP), ("svn", 3690, TCP), ("svrloc", 427, BOTH), ("syslog", 514, BOTH),
    ("syslog-tls", 6514, TCP), ("sysrqd", 4094, TCP), ("systat", 11, TCP), ("tacacs", 49, BOTH),
    ("talk", 517, UDP), ("tap", 113, TCP), ("tcpmux", 1, TCP), ("telnet", 23, TCP), ("telnets", 992, TCP),
    ("tfido", 60177, TCP), ("tftp", 69, UDP), ("time", 37, BOTH), ("timserver", 37, BOTH),
    ("tinc", 655, BOTH), ("tproxy", 8081, TCP), ("tsap", 102, TCP), ("ttytst", 19, BOTH),
    ("untp", 119, TCP), ("urd", 465, TCP), ("users", 11, TCP), ("uucp", 540, TCP), ("uucpd", 540, TCP),
    ("venus", 2430, BOTH), ("venus-se", 2431, BOTH), ("wais", 210, TCP), ("webcache", 8080, TCP),
    ("webmin", 10000, TCP), ("who", 513, UDP), ("whod", 513, UDP), ("whois", 43, TCP), ("wnn6", 22273, TCP),
    ("www", 80, TCP), ("x11", 6000, TCP), ("x11-0", 6000, TCP), ("x11-1", 6001, TCP), ("x11-2", 6002, TCP),
    ("x11-3", 6003, TCP), ("x11-4", 6004, TCP), ("x11-5", 6005, TCP), ("x11-6", 6006, TCP),
    ("x11-7", 6007, TCP), ("xdmcp", 177, UDP), ("xfs", 7100, TCP), ("xinetd", 9098, TCP),
    ("xmms2", 9667, TCP), ("xmpp-client", 5222, TCP), ("xmpp-server", 5269, TCP), ("xtel", 1313, TCP),
    ("xtelw", 1314, TCP), ("z3950", 210, TCP), ("zabbix-agent", 10050, TCP), ("zabbix-trapper", 10051, TCP),
    ("zebra", 2601, TCP), ("zebrasrv", 2600, TCP), ("zephyr-clt", 2103, UDP), ("zephyr-hm", 2104, UDP),
    ("zephyr-srv", 2102, UDP), ("zope", 9673, TCP), ("zope-ftp", 8021, TCP), ("zserv", 346, TCP),
];

/// Ascending by name.
#[rustfmt::skip]
const PROTOCOLS: &[(&str, u8)] = &[
    ("AX.25", 93), ("CPHB", 73), ("DCCP", 33), ("DDP", 37), ("EGP", 8), ("EIGRP", 88), ("ENCAP", 98),
    ("ETHERIP", 97), ("Ethernet", 143), ("FC", 133), ("GGP", 3), ("GRE", 47), ("HIP", 139), ("HMP", 20),
    ("HOPOPT", 0), ("ICMP", 1), ("IDPR-CMTP", 38), ("IDRP", 45), ("IGMP", 2), ("IGP", 9), ("IP", 0),
    ("IP-ENCAP", 4), ("IPCOMP", 108), ("IPIP", 94), ("IPSEC-AH", 51), ("IPSEC-ESP", 50), ("IPv6", 41),
    ("IPv6-Frag", 44), ("IPv6-ICMP", 58), ("IPv6-NoNxt", 59), ("IPv6-Opts", 60), ("IPv6-Route", 43),
    ("ISIS", 124), ("ISO-TP4", 29), ("L2TP", 115), ("MPLS-in-IP", 137),
    ("Mobility-Header", 135), ("OSPFIGP", 89), ("PIM", 103), ("PUP", 12), ("RDP", 27), ("ROHC", 142),
    ("RSPF", 73), ("RSVP", 46), ("SCTP", 132), ("SKIP", 57), ("ST", 5), ("Shim6", 140), ("TCP", 6),
    ("UDP", 17), ("UDPLite", 136), ("VMTP", 81), ("VRRP", 112), ("WESP", 141), ("XNS-IDP", 22), ("XTP", 36),
    ("ah", 51), ("ax.25", 93), ("dccp", 33), ("ddp", 37), ("egp", 8), ("eigrp", 88), ("encap", 98),
    ("esp", 50), ("etherip", 97), ("ethernet", 143), ("fc", 133), ("ggp", 3), ("gre", 47), ("hip", 139),
    ("hmp", 20), ("hopopt", 0), ("icmp", 1), ("idpr-cmtp", 38), ("idrp", 45), ("igmp", 2), ("igp", 9),
    ("ip", 0), ("ipcomp", 108), ("ipencap", 4), ("ipip", 94), ("ipv6", 41), ("ipv6-frag", 44),
    ("ipv6-icmp", 58), ("ipv6-nonxt", 59), ("ipv6-opts", 60), ("ipv6-route", 43), ("isis", 124),
    ("iso-tp4", 29), ("l2tp", 115), ("manet", 138), ("mobility-header", 135), ("mpls-in-ip", 137),
    ("ospf", 89), ("pim", 103), ("pup", 12), ("rdp", 27), ("rohc", 142), ("rspf", 73),
    ("rsvp", 46), ("sctp", 132), ("shim6", 140), ("skip", 57), ("st", 5), ("tcp", 6), ("udp", 17),
    ("udplite", 136), ("vmtp", 81), ("vrrp", 112), ("wesp", 141), ("xns-idp", 22), ("xtp", 36),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_ascend() {
        assert!(SERVICES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(PROTOCOLS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn names_have_their_numbers() {
        assert_eq!(service("http"), Some((80, Transport::Tcp)));
        assert_eq!(service("domain"), Some((53, Transport::Both)));
        assert_eq!(service("tftp"), Some((69, Transport::Udp)));
        assert_eq!(service("HTTP"), None);
        assert_eq!((protocol("tcp"), protocol("ICMP"), protocol("nothing")), (Some(6), Some(1), None));
        assert_eq!(
            (protocol_name(58), protocol_name(6), protocol_name(255)),
            (Some("ipv6-icmp"), Some("tcp"), None)
        );
        assert_eq!((service_names().count(), protocol_names().count()), (SERVICES.len(), PROTOCOLS.len()));
    }
}
