//! What a driver can do for XDP, by the `netdev` family (Linux 6.3): asked, without attaching anything.

use super::{Attributes, Netlink, find, generic_attributes, u32_at, u64_at};
use crate::doctor::link::{Link, Xdp};
use std::io;

/// Fills in what each interface can do.
///
/// # Errors
/// If this kernel has no such family.
pub(in crate::doctor) fn fill(links: &mut [Link]) -> io::Result<()> {
    const GET_DEVICE: u8 = 1;
    const INDEX: u16 = 1;
    let generic = Netlink::generic()?;
    let family = generic.family("netdev")?;
    for link in links {
        let mut asked = Attributes::behind(&[GET_DEVICE, 1, 0, 0]);
        asked.put(INDEX, &link.index.to_ne_bytes());
        let answers = generic.ask(family, 0, asked.bytes()).unwrap_or_default();
        link.xdp = answers.first().and_then(|answer| features(answer));
    }
    Ok(())
}

fn features(answer: &[u8]) -> Option<Xdp> {
    const FEATURES: u16 = 3;
    const ZERO_COPY_SEGMENTS: u16 = 4;
    let bits = u64_at(find(generic_attributes(answer), FEATURES)?, 0)?;
    Some(Xdp {
        native: bits & 1 != 0,
        redirect: bits & 2 != 0,
        zero_copy: bits & 8 != 0,
        zero_copy_segments: find(generic_attributes(answer), ZERO_COPY_SEGMENTS)
            .and_then(|value| u32_at(value, 0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drivers_answer_is_read() {
        let mut answer = Attributes::behind(&[1, 1, 0, 0]);
        answer.put(1, &4_u32.to_ne_bytes());
        answer.put(3, &0b101011_u64.to_ne_bytes());
        answer.put(4, &8_u32.to_ne_bytes());
        let expected = Xdp {
            native: true,
            redirect: true,
            zero_copy: true,
            zero_copy_segments: Some(8),
        };
        assert_eq!(features(answer.bytes()), Some(expected));
        assert_eq!(features(&[1, 1, 0, 0]), None);
    }
}
