//! What the tests of translating and of reading share: a hand-made encoder.

mod fields;
mod files;

/// A message of ITCH, written as its specification says.
struct Encoder(Vec<u8>);

impl Encoder {
    fn new(kind: u8, locate: u16, time: u64) -> Self {
        let mut bytes = vec![kind];
        bytes.extend(locate.to_be_bytes());
        bytes.extend([0xab, 0xcd]);
        bytes.extend(&time.to_be_bytes()[2..]);
        Self(bytes)
    }
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn text(mut self, value: &str) -> Self {
        self.0.extend(value.as_bytes());
        self
    }
}
