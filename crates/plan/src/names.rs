//! Names: of Linux interfaces, as the kernel takes them, and of ports, as command lines and file names can bear.

/// The most characters in a port's name.
pub const PORT_NAME_MAX: usize = 63;
/// The most characters in a device's name.
pub const DEVICE_NAME_MAX: usize = 128;

/// What is wrong with an interface's name, if anything is. The rule is the kernel's (`dev_valid_name`).
pub fn interface_flaw(name: &str) -> Option<&'static str> {
    let space = |octet: u8| matches!(octet, 9..=13 | 32);
    match name.as_bytes() {
        [] => Some("an interface's name has 1 to 15 octets, and this has none"),
        octets if octets.len() > 15 => Some("an interface's name has 1 to 15 octets, and this has more"),
        b"." | b".." => Some("no interface can be called `.` or `..`"),
        octets if octets.contains(&0) => Some("an interface's name has no null octet"),
        octets if octets.contains(&b'/') || octets.contains(&b':') => {
            Some("an interface's name has no `/` and no `:`")
        }
        octets if octets.iter().any(|octet| space(*octet)) => Some("an interface's name has no white space"),
        // The kernel looks at octets with its own Latin-1 table.
        octets if octets.contains(&0xa0) => {
            Some("it has an octet a0 in UTF-8, which the kernel takes for white space")
        }
        _ => None,
    }
}

/// What is wrong with the name of an interface that is to be made, if anything is.
pub fn new_interface_flaw(name: &str) -> Option<&'static str> {
    // `%d` would be filled in by the kernel; `all` and `default` are taken under /proc/sys/net.
    interface_flaw(name).or_else(|| match name {
        "all" | "default" => Some("the kernel keeps the names `all` and `default` to itself"),
        name if name.contains('%') => {
            Some("a new interface's name has no `%`, which the kernel would fill in")
        }
        _ => None,
    })
}

/// What is wrong with a port's name, if anything is. Ports are named on command lines (`PORT=FILE`,
/// `PORT:rx`) and name files (`DIR/PORT.pcap`).
pub fn port_flaw(name: &str) -> Option<&'static str> {
    let starts = |c: char| c.is_alphanumeric() || c == '_';
    let follows = |c: char| starts(c) || matches!(c, '-' | '.' | '@' | '+');
    match name.chars().next() {
        None => Some("a port's name has 1 to 63 characters, and this has none"),
        Some(_) if name.chars().count() > PORT_NAME_MAX => {
            Some("a port's name has 1 to 63 characters, and this has more")
        }
        Some(first) if !starts(first) => Some("a port's name begins with a letter, a digit or `_`"),
        Some(_) if !name.chars().all(follows) => {
            Some("a port's name has only letters, digits and `_`, `-`, `.`, `@`, `+`")
        }
        Some(_) => None,
    }
}

/// What is wrong with a device's name, if anything is.
pub fn device_flaw(name: &str) -> Option<&'static str> {
    match name.chars().count() {
        0 => Some("a device's name has 1 to 128 characters, and this has none"),
        count if count > DEVICE_NAME_MAX => {
            Some("a device's name has 1 to 128 characters, and this has more")
        }
        _ if name.chars().any(char::is_control) => Some("a device's name has no control characters"),
        _ => None,
    }
}

/// What is wrong with the name of a sensor, if anything is.
pub fn sensor_flaw(name: &str) -> Option<&'static str> {
    match name.chars().count() {
        0 => Some("a sensor's name has 1 to 128 characters, and this has none"),
        count if count > DEVICE_NAME_MAX => {
            Some("a sensor's name has 1 to 128 characters, and this has more")
        }
        _ if name.chars().any(char::is_control) => Some("a sensor's name has no control characters"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_named_as_the_kernel_takes_them() {
        for good in ["e", "eth0", "enp0s31f6.100", "fifteen_octets_", "a%b", "..."] {
            assert_eq!(interface_flaw(good), None, "{good}");
        }
        // U+00E0 is c3 a0 in UTF-8, and a0 is white space to the kernel.
        for bad in ["", "sixteen_octets__", ".", "..", "a/b", "a:b", "a b", "a\t", "\u{e0}", "a\0"] {
            assert!(interface_flaw(bad).is_some(), "{bad:?}");
        }
        for bad in ["all", "default", "tap%d"] {
            assert!(new_interface_flaw(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn ports_are_named_as_command_lines_bear() {
        for good in ["a", "büro", "0", "_x", "wan-1.2@+"] {
            assert_eq!(port_flaw(good), None, "{good}");
        }
        for bad in ["", "-w", ".x", "a b", "a=b", "a:rx", "a/b", "a\n", "a,b", "a\"", &"x".repeat(64)] {
            assert!(port_flaw(bad).is_some(), "{bad:?}");
        }
    }
}
