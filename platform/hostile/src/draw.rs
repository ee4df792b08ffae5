//! Choices drawn from bytes: the same bytes, the same choices. Bytes that are used up are zeros.

/// Bytes to draw from.
pub(crate) struct Draw<'d>(&'d [u8]);

impl<'d> Draw<'d> {
    pub(crate) fn new(bytes: &'d [u8]) -> Self {
        Draw(bytes)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte
            }
            None => 0,
        }
    }

    /// A number below `end`, which is at least 1.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let number =
            if end > 256 { usize::from(self.byte()) << 8 | usize::from(self.byte()) } else { self.byte().into() };
        number % end
    }

    pub(crate) fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    pub(crate) fn number(&mut self) -> i64 {
        const NUMBERS: [i64; 10] = [0, 1, 2, 3, -1, i64::MAX, i64::MIN, u32::MAX as i64, 1 << 53, 51];
        let choice = self.below(NUMBERS.len() + 2);
        NUMBERS.get(choice).copied().unwrap_or_else(|| self.byte().into())
    }

    /// Bytes up to a zero, at most 255, as text.
    pub(crate) fn text(&mut self) -> String {
        let end = self.0.iter().take(255).position(|&byte| byte == 0).unwrap_or(self.0.len().min(255));
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    pub(crate) fn rest(self) -> &'d [u8] {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
