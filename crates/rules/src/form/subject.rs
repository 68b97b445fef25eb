//! One frame that is being judged: its fields are found once, when something first asks for them.

use std::cell::OnceCell;

use wire::Frame;

use super::fields::Fields;
use super::number::Field;

/// A frame and what was found out about it.
pub struct Subject<'a> {
    frame: Frame<'a>,
    fields: OnceCell<Fields>,
    inner: OnceCell<Fields>,
}

impl<'a> Subject<'a> {
    /// A frame about which nothing is known yet.
    pub fn new(frame: Frame<'a>) -> Self {
        Self { frame, fields: OnceCell::new(), inner: OnceCell::new() }
    }

    /// The frame.
    pub fn frame(&self) -> &Frame<'a> {
        &self.frame
    }

    /// Its fields.
    pub fn fields(&self) -> &Fields {
        self.fields.get_or_init(|| Fields::of(&self.frame))
    }

    /// Those of the innermost packet that it carries.
    pub fn inner(&self) -> &Fields {
        self.inner.get_or_init(|| Fields::inner(&self.frame))
    }

    /// One field as a number; `None` where the frame has none.
    pub fn field(&self, field: Field) -> Option<u32> {
        let fields = self.fields();
        match field {
            Field::Version => fields.ip.map(|ip| if ip.source.is_ipv4() { 4 } else { 6 }),
            Field::Protocol => fields.ip.map(|ip| u32::from(ip.protocol)),
            Field::Tos => fields.ip.map(|ip| u32::from(ip.tos)),
            Field::SourcePort => fields.ports.map(|(source, _)| u32::from(source)),
            Field::DestinationPort => fields.ports.map(|(_, destination)| u32::from(destination)),
            Field::TcpFlags => fields.tcp_flags.map(u32::from),
            Field::IcmpType => fields.icmp.map(|(kind, _)| u32::from(kind)),
            Field::IcmpCode => fields.icmp.map(|(_, code)| u32::from(code)),
        }
    }
}
