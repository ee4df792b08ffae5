//! `uniqueString` and `guid`: short names that the same inputs always give.

use uuid::{Uuid, uuid};

/// The namespace of `guid()`.
const NAMESPACE: Uuid = uuid!("11fb06fb-712d-4ddd-98c7-e71bbd588830");

const C1: u32 = 0x239b_961b;
const C2: u32 = 0xab0e_9789;

/// The 13 characters that `uniqueString()` makes of its arguments.
pub fn unique_string<'t>(parts: impl IntoIterator<Item = &'t str>) -> String {
    let joined = parts.into_iter().collect::<Vec<_>>().join("-");
    let mut hash = hash(joined.as_bytes());
    let letters = b"abcdefghijklmnopqrstuvwxyz234567";
    (0..13)
        .map(|_| {
            let letter = letters[(hash >> 59) as usize];
            hash <<= 5;
            char::from(letter)
        })
        .collect()
}

/// The UUID that `guid()` makes of its arguments.
pub fn guid<'t>(parts: impl IntoIterator<Item = &'t str>) -> String {
    let joined = parts.into_iter().collect::<Vec<_>>().join("-");
    Uuid::new_v5(&NAMESPACE, joined.as_bytes()).to_string()
}

/// A word of up to four bytes, the first the lowest.
fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn finish(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// A hash of the Murmur3 family with two lanes of 32 bits.
fn hash(bytes: &[u8]) -> u64 {
    let first = |word: u32| word.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let second = |word: u32| word.wrapping_mul(C2).rotate_left(17).wrapping_mul(C1);
    let (mut h1, mut h2) = (0u32, 0u32);
    let blocks = bytes.chunks_exact(8);
    let tail = blocks.remainder();
    for block in blocks {
        h1 = (h1 ^ first(word(&block[..4]))).rotate_left(19).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x561c_cd1b);
        h2 = (h2 ^ second(word(&block[4..]))).rotate_left(13).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x0bca_a747);
    }
    if !tail.is_empty() {
        h1 ^= first(word(&tail[..tail.len().min(4)]));
        if tail.len() > 4 {
            h2 ^= second(word(&tail[4..]));
        }
    }
    // The length is that of a text, far below 4 GiB.
    let length = bytes.len() as u32;
    h1 ^= length;
    h2 ^= length;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1);
    h2 = finish(h2);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    u64::from(h2) << 32 | u64::from(h1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(hash(b"hello-world"), 571_013_382_255_652_050);
        for (parts, expected) in [
            (&["hello", "world"][..], "a7wkljktk6wne"),
            (&["tyeth"], "zcztcwvu6iyg6"),
            (&["/subscriptions/00000000-0000-0000-0000-000000000000", "resource-id"], "cwvxuqg24sifi"),
            (&["snap", "crackle", "pop"], "byghxckddilkc"),
            (&["/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/myRg"], "js26ofeqkqeve"),
        ] {
            assert_eq!(unique_string(parts.iter().copied()), expected, "{parts:?}");
        }
        assert_eq!(guid(["foo", "bar", "baz"]), "2ed86837-7c7c-5eaa-9864-dd077fd19b0d");
    }
}
