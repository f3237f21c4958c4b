//! Varints and fixed little-endian integers.
//!
//! Encoders append to a `Vec<u8>`. The [`Decoder`] takes from the front of a slice; it trusts
//! nothing that it reads: no length is believed before it is checked against what is left, nothing
//! panics, nothing allocates.
//!
//! A varint is LEB128: seven bits a byte, lowest first, the high bit set on every byte but the last.
//! Only the shortest form of a number is accepted, so one number has one encoding.

/// The longest varint of a `u64`.
pub const MAX_VARINT_BYTES: usize = 10;

/// Why bytes could not be decoded, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Bytes from the start of the decoder's input to the item that is wrong.
    pub offset: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Appends `value` as a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The size of `value` as a varint.
#[inline]
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends four bytes.
#[inline]
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends eight bytes.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a varint length and the bytes.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes items from the front of a slice.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// A decoder at the start of `input`.
    #[inline]
    pub fn new(input: &'a [u8]) -> Self {
        Decoder { input, at: 0 }
    }

    /// Bytes taken so far.
    #[inline]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What has not been taken yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        &self.input[self.at..]
    }

    /// Whether everything has been taken.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.at == self.input.len()
    }

    /// An error at the present offset.
    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { offset: self.at, what }
    }

    /// # Errors
    /// If anything is left.
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(self.malformed("unexpected bytes at the end")) }
    }

    /// Takes `len` bytes.
    ///
    /// # Errors
    /// If fewer are left.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        match self.rest().get(..len) {
            Some(bytes) => {
                self.at += len;
                Ok(bytes)
            }
            None => Err(self.malformed("length runs past the end")),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        match self.rest().first_chunk::<N>() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.malformed("integer runs past the end")),
        }
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// If none is left.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Takes four bytes.
    ///
    /// # Errors
    /// If fewer are left.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes eight bytes.
    ///
    /// # Errors
    /// If fewer are left.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes a varint.
    ///
    /// # Errors
    /// If it runs past the end, exceeds 64 bits, or is not in its shortest form.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (index, &byte) in self.rest().iter().take(MAX_VARINT_BYTES).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if index == MAX_VARINT_BYTES - 1 && byte > 1 {
                return Err(self.malformed("varint exceeds 64 bits"));
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                if byte == 0 && index > 0 {
                    return Err(self.malformed("varint is not in its shortest form"));
                }
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(self.malformed("varint runs past the end"))
    }

    /// Takes a varint that must fit a `usize` and be at most `max`.
    ///
    /// # Errors
    /// As [`Decoder::varint`], or if it is greater than `max`.
    #[inline]
    pub fn varint_max(&mut self, max: usize) -> Result<usize, Malformed> {
        let start = self.at;
        let value = self.varint()?;
        match usize::try_from(value) {
            Ok(value) if value <= max => Ok(value),
            _ => Err(Malformed { offset: start, what: "number exceeds its limit" }),
        }
    }

    /// Takes a varint length and that many bytes.
    ///
    /// # Errors
    /// As [`Decoder::varint`] and [`Decoder::take`].
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.varint_max(usize::MAX)?;
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_trip() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value));
                put_u32(&mut out, value as u32);
                put_u64(&mut out, value);
                put_bytes(&mut out, b"xyz");
                let mut decoder = Decoder::new(&out);
                assert_eq!(decoder.varint(), Ok(value));
                assert_eq!(decoder.u32(), Ok(value as u32));
                assert_eq!(decoder.u64(), Ok(value));
                assert_eq!(decoder.bytes(), Ok(&b"xyz"[..]));
                assert_eq!(decoder.finish(), Ok(()));
            }
        }
    }

    #[test]
    fn truncated_input_is_malformed() {
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        for len in 0..out.len() {
            assert!(Decoder::new(&out[..len]).varint().is_err());
        }
        assert!(Decoder::new(&[3, 1, 2]).bytes().is_err());
        assert!(Decoder::new(&[0; 7]).u64().is_err());
    }

    #[test]
    fn long_and_overlong_varints_are_malformed() {
        assert_eq!(
            Decoder::new(&[0x80, 0]).varint().unwrap_err().what,
            "varint is not in its shortest form"
        );
        let mut too_wide = [0xff; 10];
        too_wide[9] = 2;
        assert_eq!(Decoder::new(&too_wide).varint().unwrap_err().what, "varint exceeds 64 bits");
        assert_eq!(Decoder::new(&[0xff; 11]).varint().unwrap_err().what, "varint exceeds 64 bits");
        assert_eq!(Decoder::new(&[9]).varint_max(8).unwrap_err().what, "number exceeds its limit");
    }
}
