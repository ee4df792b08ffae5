//! Ranges of addresses, of IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::json;

use super::{Args, Outcome};

/// An address as a number, with how many bits its kind has.
struct Range {
    address: u128,
    bits: u32,
    prefix: u32,
}

impl Range {
    fn parse(text: &str) -> Result<Range, String> {
        let wrong = || format!("{text:?} is no range of addresses, as in 10.0.0.0/24");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let (address, bits) = match address.parse().map_err(|_| wrong())? {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(wrong)?;
        let range = Range { address, bits, prefix };
        Ok(Range { address: address & !range.hosts(), ..range })
    }

    /// The bits that tell hosts apart.
    fn hosts(&self) -> u128 {
        match self.bits - self.prefix {
            128 => u128::MAX,
            bits => (1 << bits) - 1,
        }
    }

    fn show(&self, address: u128) -> String {
        match u32::try_from(address) {
            Ok(address) if self.bits == 32 => Ipv4Addr::from_bits(address).to_string(),
            _ => Ipv6Addr::from_bits(address).to_string(),
        }
    }
}

pub(super) fn parse(args: &Args) -> Outcome {
    let range = Range::parse(args.text(0)?)?;
    let last = range.address | range.hosts();
    let mask = !range.hosts() & if range.bits == 32 { u128::from(u32::MAX) } else { u128::MAX };
    let mut parts = json!({
        "network": range.show(range.address),
        "netmask": range.show(mask),
        "cidr": range.prefix,
    });
    if range.bits == 32 {
        let whole = range.prefix >= 31;
        parts["broadcast"] = range.show(last).into();
        parts["firstUsable"] = range.show(if whole { range.address } else { range.address + 1 }).into();
        parts["lastUsable"] = range.show(if whole { last } else { last - 1 }).into();
    } else {
        parts["firstUsable"] = range.show(range.address).into();
        parts["lastUsable"] = range.show(last).into();
    }
    Ok(parts)
}

pub(super) fn subnet(args: &Args) -> Outcome {
    let range = Range::parse(args.text(0)?)?;
    let (prefix, index) = (args.int(1)?, args.int(2)?);
    let prefix = u32::try_from(prefix).ok().filter(|prefix| (range.prefix..=range.bits).contains(prefix));
    let prefix = prefix.ok_or_else(|| format!("the new prefix must be from {} to {}", range.prefix, range.bits))?;
    let more = prefix - range.prefix;
    let index = u128::try_from(index).ok().filter(|index| more >= 64 || *index < 1 << more);
    let index = index.ok_or_else(|| format!("the range has no subnet {} of that size", args.0[2]))?;
    let start = if prefix == 0 { 0 } else { index << (range.bits - prefix) };
    Ok(format!("{}/{prefix}", range.show(range.address | start)).into())
}

pub(super) fn host(args: &Args) -> Outcome {
    let range = Range::parse(args.text(0)?)?;
    // The first usable address has the index 0.
    let offset = u128::try_from(args.int(1)?).ok().map(|index| index + 1).filter(|offset| *offset <= range.hosts());
    let offset = offset.ok_or_else(|| format!("the range has no host {}", args.0[1]))?;
    Ok(range.show(range.address + offset).into())
}
