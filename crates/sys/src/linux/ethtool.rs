//! The ethtool ioctl: features, driver, flow control, counters. Layouts of linux/ethtool.h are drawn at each call.

use crate::error::{Result, SysError};
use crate::net::{Driver, Feature, Pause};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const SIOCETHTOOL: u64 = 0x8946;
const GDRVINFO: u32 = 0x03;
const GPAUSEPARAM: u32 = 0x12;
const SPAUSEPARAM: u32 = 0x13;
const GSTRINGS: u32 = 0x1b;
const GSTATS: u32 = 0x1d;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3a;
const SFEATURES: u32 = 0x3b;

const SET_STATS: u32 = 1;
const SET_FEATURES: u32 = 4;
const NAME_BYTES: usize = 32;
/// No driver has as many strings; a kernel that says so is not believed.
const MOST_STRINGS: usize = 65_536;

/// Carries out one command on the words of `buffer`, which the kernel reads and writes.
///
/// # Safety
/// `buffer` is as long as the command, with the counts that stand in it, lets the kernel write.
unsafe fn ethtool(ifname: &str, buffer: &mut [u32]) -> io::Result<i32> {
    // struct ifreq: name 0..16, pointer 16..24; 40 bytes in all.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        data: *mut u32,
        rest: [u64; 2],
    }
    let mut name = [0; 16];
    if ifname.is_empty() || ifname.len() > 15 {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    name[..ifname.len()].copy_from_slice(ifname.as_bytes());
    let mut request = Request { name, data: buffer.as_mut_ptr(), rest: [0; 2] };
    // SAFETY: socket takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the request is an ifreq; the length of what it points to is the caller's promise.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

/// The bytes of words, in memory order.
fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// How many strings a set has. struct `ethtool_sset_info`: cmd, reserved, mask (64), one count for each bit.
fn string_count(ifname: &str, set: u32) -> io::Result<usize> {
    let mut info = [GSSET_INFO, 0, 0, 0, 0];
    let mask = (1_u64 << set).to_ne_bytes();
    info[2] = u32::from_ne_bytes([mask[0], mask[1], mask[2], mask[3]]);
    info[3] = u32::from_ne_bytes([mask[4], mask[5], mask[6], mask[7]]);
    // SAFETY: the mask has one bit, so one count is written.
    unsafe { ethtool(ifname, &mut info) }?;
    let known = info[2] != 0 || info[3] != 0;
    Ok(if known { usize::try_from(info[4]).unwrap_or(MOST_STRINGS).min(MOST_STRINGS) } else { 0 })
}

/// The strings of a set. struct `ethtool_gstrings`: cmd, set, len, 32 bytes each.
fn strings(ifname: &str, set: u32) -> io::Result<Vec<String>> {
    let count = string_count(ifname, set)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut buffer = vec![0_u32; 3 + count * NAME_BYTES / 4];
    buffer[0] = GSTRINGS;
    buffer[1] = set;
    buffer[2] = u32::try_from(count).unwrap_or(0);
    // SAFETY: there is room for as many strings as the kernel has just said there are, and the number of a
    // device's strings does not change while it exists.
    unsafe { ethtool(ifname, &mut buffer) }?;
    let bytes = bytes_of(&buffer[3..]);
    let given = usize::try_from(buffer[2]).unwrap_or(0).min(count);
    Ok(bytes.chunks(NAME_BYTES).take(given).map(text_of).collect())
}

pub(super) fn features(ifname: &str) -> Result<Vec<Feature>> {
    read_features(ifname).map_err(|e| SysError::io("ETHTOOL_GFEATURES", ifname, &e))
}

/// struct `ethtool_gfeatures`: cmd, size, then for each 32 features: available, requested, active, `never_changed`.
fn read_features(ifname: &str) -> io::Result<Vec<Feature>> {
    let names = strings(ifname, SET_FEATURES)?;
    let blocks = names.len().div_ceil(32);
    let mut buffer = vec![0_u32; 2 + blocks * 4];
    buffer[0] = GFEATURES;
    buffer[1] = u32::try_from(blocks).unwrap_or(0);
    // SAFETY: there is room for as many blocks as the call is told.
    unsafe { ethtool(ifname, &mut buffer) }?;
    let bit = |index: usize, word: usize| buffer[2 + index / 32 * 4 + word] >> (index % 32) & 1 == 1;
    let feature = |(index, name): (usize, String)| Feature {
        name,
        available: bit(index, 0),
        wanted: bit(index, 1),
        active: bit(index, 2),
        never_changed: bit(index, 3),
    };
    // Bits that no feature uses have no name.
    Ok(names.into_iter().enumerate().map(feature).filter(|feature| !feature.name.is_empty()).collect())
}

/// struct `ethtool_sfeatures`: cmd, size, then for each 32 features: valid, requested.
pub(super) fn set_features(ifname: &str, wanted: &[(String, bool)]) -> Result<Vec<String>> {
    let fail = |error: &io::Error| SysError::io("ETHTOOL_SFEATURES", ifname, error);
    let names = strings(ifname, SET_FEATURES).map_err(|e| fail(&e))?;
    let blocks = names.len().div_ceil(32);
    let mut buffer = vec![0_u32; 2 + blocks * 2];
    buffer[0] = SFEATURES;
    buffer[1] = u32::try_from(blocks).unwrap_or(0);
    let changeable: Vec<String> = read_features(ifname)
        .map_err(|e| fail(&e))?
        .into_iter()
        .filter(Feature::changeable)
        .map(|feature| feature.name)
        .collect();
    for (name, on) in wanted {
        // One that can never change would make the kernel refuse all of them.
        let Some(index) = names.iter().position(|known| known == name && changeable.contains(name)) else {
            continue;
        };
        let (block, bit) = (2 + index / 32 * 2, 1_u32 << (index % 32));
        buffer[block] |= bit;
        if *on {
            buffer[block + 1] |= bit;
        } else {
            buffer[block + 1] &= !bit;
        }
    }
    // SAFETY: there are as many blocks as the call is told.
    unsafe { ethtool(ifname, &mut buffer) }.map_err(|e| fail(&e))?;
    let now = read_features(ifname).map_err(|e| fail(&e))?;
    let took = |name: &str, on: bool| now.iter().any(|feature| feature.name == name && feature.active == on);
    Ok(wanted.iter().filter(|(name, on)| !took(name, *on)).map(|(name, _)| name.clone()).collect())
}

/// struct `ethtool_drvinfo`: cmd 0, driver 4, version 36, `fw_version` 68, `bus_info` 100, ..., 196 bytes.
pub(super) fn driver(ifname: &str) -> Result<Driver> {
    let mut buffer = [0_u32; 49];
    buffer[0] = GDRVINFO;
    // SAFETY: the structure has 196 bytes.
    match unsafe { ethtool(ifname, &mut buffer) } {
        Ok(_) => {}
        Err(error) if unsupported(&error) => return Ok(Driver::default()),
        Err(error) => return Err(SysError::io("ETHTOOL_GDRVINFO", ifname, &error)),
    }
    let bytes = bytes_of(&buffer);
    let text = |at: usize| text_of(&bytes[at..at + 32]);
    Ok(Driver { name: text(4), version: text(36), bus: text(100) })
}

/// struct `ethtool_pauseparam`: cmd, autoneg, `rx_pause`, `tx_pause`.
pub(super) fn pause(ifname: &str) -> Result<Option<Pause>> {
    let mut buffer = [GPAUSEPARAM, 0, 0, 0];
    // SAFETY: the structure has four words.
    match unsafe { ethtool(ifname, &mut buffer) } {
        Ok(_) => Ok(Some(Pause { autoneg: buffer[1] != 0, rx: buffer[2] != 0, tx: buffer[3] != 0 })),
        Err(error) if unsupported(&error) => Ok(None),
        Err(error) => Err(SysError::io("ETHTOOL_GPAUSEPARAM", ifname, &error)),
    }
}

pub(super) fn set_pause(ifname: &str, pause: Pause) -> Result<()> {
    let mut buffer = [SPAUSEPARAM, u32::from(pause.autoneg), u32::from(pause.rx), u32::from(pause.tx)];
    // SAFETY: the structure has four words.
    unsafe { ethtool(ifname, &mut buffer) }.map_err(|e| SysError::io("ETHTOOL_SPAUSEPARAM", ifname, &e))?;
    Ok(())
}

/// struct `ethtool_stats`: cmd, count, 64 bits each.
pub(super) fn stats(ifname: &str) -> Result<Vec<(String, u64)>> {
    let fail = |error: &io::Error| SysError::io("ETHTOOL_GSTATS", ifname, error);
    let names = match strings(ifname, SET_STATS) {
        Ok(names) if names.is_empty() => return Ok(Vec::new()),
        Ok(names) => names,
        Err(error) if unsupported(&error) => return Ok(Vec::new()),
        Err(error) => return Err(fail(&error)),
    };
    let mut buffer = vec![0_u32; 2 + names.len() * 2];
    buffer[0] = GSTATS;
    buffer[1] = u32::try_from(names.len()).unwrap_or(0);
    // SAFETY: there is room for as many counters as the device has names for.
    unsafe { ethtool(ifname, &mut buffer) }.map_err(|e| fail(&e))?;
    let bytes = bytes_of(&buffer[2..]);
    let counters = bytes.chunks_exact(8).map(|b| super::netlink::u64_at(b, 0).unwrap_or_default());
    Ok(names.into_iter().zip(counters).collect())
}
