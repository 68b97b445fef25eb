//! Captures written field by field, in either endianness: what the reader is tried on.

/// A block of pcapng, or a header of pcap, in the making.
pub struct Build {
    pub out: Vec<u8>,
    pub big: bool,
}

impl Build {
    pub fn new(big: bool) -> Self {
        Self { out: Vec::new(), big }
    }

    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.out.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.out.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.out.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    pub fn padded(&mut self, data: &[u8]) -> &mut Self {
        self.out.extend(data);
        while !self.out.len().is_multiple_of(4) {
            self.out.push(0);
        }
        self
    }

    pub fn option(&mut self, code: u16, value: &[u8]) -> &mut Self {
        self.u16(code).u16(u16::try_from(value.len()).unwrap()).padded(value)
    }

    pub fn pcap(big: bool, magic: u32, network: u32) -> Self {
        let mut build = Self::new(big);
        build.u32(magic).u16(2).u16(4).i64(0).u32(65_535).u32(network);
        build
    }

    pub fn record(&mut self, time: (u32, u32), data: &[u8], wire_len: u32) -> &mut Self {
        self.u32(time.0).u32(time.1).u32(u32::try_from(data.len()).unwrap()).u32(wire_len);
        self.out.extend(data);
        self
    }

    /// A whole block around what `body` writes, in this endianness.
    pub fn block(&mut self, kind: u32, body: impl FnOnce(&mut Self) -> &mut Self) -> &mut Self {
        let mut inner = Self::new(self.big);
        body(&mut inner);
        let length = u32::try_from(inner.out.len()).unwrap() + 12;
        self.u32(kind).u32(length);
        self.out.extend(inner.out);
        self.u32(length)
    }

    pub fn section(&mut self, big: bool) -> &mut Self {
        self.big = big;
        self.block(0x0a0d_0d0a, |b| b.u32(0x1a2b_3c4d).u16(1).u16(0).i64(-1))
    }

    pub fn interface(&mut self, link_type: u16, snaplen: u32, options: &[(u16, &[u8])]) -> &mut Self {
        self.block(1, |b| {
            b.u16(link_type).u16(0).u32(snaplen);
            for (code, value) in options {
                b.option(*code, value);
            }
            b
        })
    }

    pub fn enhanced(&mut self, interface: u32, ticks: u64, data: &[u8], wire_len: u32) -> &mut Self {
        self.block(6, |b| {
            b.u32(interface).u32((ticks >> 32) as u32).u32((ticks & 0xffff_ffff) as u32);
            b.u32(u32::try_from(data.len()).unwrap()).u32(wire_len).padded(data)
        })
    }

    pub fn simple(&mut self, data: &[u8], wire_len: u32) -> &mut Self {
        self.block(3, |b| b.u32(wire_len).padded(data))
    }
}
