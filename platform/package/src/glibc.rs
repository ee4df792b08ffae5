//! Which GLIBC a binary needs.

use std::fmt;
use std::str::FromStr;

use object::Endianness;
use object::elf::{EM_X86_64, FileHeader64};
use object::read::elf::{FileHeader, VerneedIterator};

/// A version of GLIBC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glibc(pub u32, pub u32, pub u32);

/// What a package for Azure may need at most: the oldest that a functions host is assumed to have.
pub const OLDEST: Glibc = Glibc(2, 28, 0);

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.2 {
            0 => write!(f, "{}.{}", self.0, self.1),
            patch => write!(f, "{}.{}.{patch}", self.0, self.1),
        }
    }
}

impl FromStr for Glibc {
    type Err = ElfError;

    /// Reads `2.28` or `2.2.5`.
    fn from_str(text: &str) -> Result<Self, ElfError> {
        let wrong = || ElfError::Version(text.to_owned());
        let mut numbers = text.split('.').map(|number| number.parse::<u32>().map_err(|_| wrong()));
        let mut next = || numbers.next().transpose();
        let version = Glibc(next()?.ok_or_else(wrong)?, next()?.ok_or_else(wrong)?, next()?.unwrap_or_default());
        if numbers.next().is_some() { Err(wrong()) } else { Ok(version) }
    }
}

/// Why a binary cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// It is no ELF file, or a broken one.
    #[error("it is no 64-bit ELF file: {0}")]
    Elf(String),
    /// It is for another processor.
    #[error("it is for ELF machine {0}, x86-64 is expected")]
    Machine(u16),
    /// A version that is none.
    #[error("{0:?} is no version of GLIBC")]
    Version(String),
}

impl Glibc {
    /// The newest GLIBC that a binary asks for; `None` for one that asks for none, as of musl.
    ///
    /// # Errors
    /// A file that is no ELF file for x86-64 Linux.
    pub fn required(binary: &[u8]) -> Result<Option<Glibc>, ElfError> {
        let elf = |error: object::read::Error| ElfError::Elf(error.to_string());
        let header = FileHeader64::<Endianness>::parse(binary).map_err(elf)?;
        let endian = header.endian().map_err(elf)?;
        let machine = header.e_machine(endian);
        if machine != EM_X86_64 {
            return Err(ElfError::Machine(machine));
        }
        let sections = header.sections(endian, binary).map_err(elf)?;
        let Some((mut needs, strings)) = sections.gnu_verneed(endian, binary).map_err(elf)? else { return Ok(None) };
        let strings = sections.strings(endian, binary, strings).map_err(elf)?;
        newest(&mut needs, endian, strings)
    }
}

fn newest(
    needs: &mut VerneedIterator<'_, FileHeader64<Endianness>>,
    endian: Endianness,
    strings: object::StringTable<'_>,
) -> Result<Option<Glibc>, ElfError> {
    let elf = |error: object::read::Error| ElfError::Elf(error.to_string());
    let mut newest = None;
    while let Some((_, mut versions)) = needs.next().map_err(elf)? {
        while let Some(version) = versions.next().map_err(elf)? {
            let name = version.name(endian, strings).map_err(elf)?;
            let name = String::from_utf8_lossy(name);
            // `GLIBC_PRIVATE` and the versions of other libraries have no number of this kind.
            if let Some(Ok(version)) = name.strip_prefix("GLIBC_").map(str::parse::<Glibc>) {
                newest = newest.max(Some(version));
            }
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let glibc = |text: &str| text.parse::<Glibc>().unwrap();
        assert!(glibc("2.4") < glibc("2.28") && glibc("2.2.5") < glibc("2.4") && glibc("2.28") == OLDEST);
        assert_eq!((glibc("2.2.5").to_string(), OLDEST.to_string()), ("2.2.5".into(), "2.28".into()));
        for text in ["", "2", "2.x", "2.28.0.1", "PRIVATE"] {
            assert_eq!(text.parse::<Glibc>(), Err(ElfError::Version(text.into())));
        }
    }

    #[test]
    fn this_test_needs_a_glibc_and_a_text_is_no_binary() {
        let binary = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        if cfg!(all(target_env = "gnu", target_arch = "x86_64")) {
            assert!(Glibc::required(&binary).unwrap().unwrap() >= Glibc(2, 2, 5));
        }
        assert!(matches!(Glibc::required(b"#!/bin/sh"), Err(ElfError::Elf(_))));
        for end in [0, 4, 64, 1_000] {
            assert!(Glibc::required(&binary[..end]).is_err(), "{end} bytes");
        }
    }
}
