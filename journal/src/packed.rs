//! Events packed: raw DEFLATE (RFC 1951) with a preset dictionary.
//!
//! DynamoDB bills writes by the KiB. A dictionary makes the difference for short texts: most of an event of 2 KB
//! are field names, header names and words that many events share.
//!
//! The dictionary is a part of the stored form 2 ([`crate::item`]) and never changes: without exactly these bytes no
//! stored event can be read. A better one comes with another form.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What the packed bytes refer to. The most frequent words are at its end, where referring to them is cheapest.
const DICTIONARY: &[u8] = include_bytes!("packed/form2.txt");

/// The most that packed bytes may hold. An append is smaller: this only bounds what damaged bytes can cost.
pub const UNPACKED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// For an event of 9 KB, 6 takes 18 % longer and saves 1 %; 1 saves a third of the time and writes 60 % more.
const LEVEL: u32 = 5;

/// Why packed bytes cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// They were not written by [`pack`], or were changed.
    #[error("damaged")]
    Damaged,
    /// They hold more than any append does.
    #[error("too large once unpacked (limit {limit} bytes)")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
}

/// The JSON of events, packed.
pub fn pack(json: &[u8]) -> Vec<u8> {
    deflate(json, DICTIONARY)
}

/// What [`pack`] was given.
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, UnpackError> {
    inflate(packed, DICTIONARY, UNPACKED_BYTES_MAX)
}

thread_local! {
    // These hold 300 KiB and 50 KiB: reusing them saves 5 µs and 2 µs a call.
    static COMPRESS: RefCell<Compress> =
        RefCell::new(Compress::new(Compression::new(LEVEL), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

pub(crate) fn deflate(bytes: &[u8], dictionary: &[u8]) -> Vec<u8> {
    COMPRESS.with_borrow_mut(|state| {
        state.reset();
        if !dictionary.is_empty() {
            state.set_dictionary(dictionary).expect("a stream that was reset takes a dictionary");
        }
        // Enough for most: more than this is noise.
        let mut packed = Vec::with_capacity(bytes.len() / 2 + 128);
        loop {
            let read = usize::try_from(state.total_in()).expect("no more than was given");
            let status = state.compress_vec(&bytes[read..], &mut packed, FlushCompress::Finish);
            match status.expect("the stream is open") {
                Status::StreamEnd => return packed,
                Status::Ok | Status::BufError => packed.reserve(packed.len() + 128),
            }
        }
    })
}

pub(crate) fn inflate(
    packed: &[u8],
    dictionary: &[u8],
    limit: usize,
) -> Result<Vec<u8>, UnpackError> {
    DECOMPRESS.with_borrow_mut(|state| {
        state.reset(false);
        if !dictionary.is_empty() {
            state.set_dictionary(dictionary).map_err(|_| UnpackError::Damaged)?;
        }
        let mut bytes = Vec::with_capacity((packed.len() * 4 + 128).min(limit));
        loop {
            let read = usize::try_from(state.total_in()).expect("no more than was given");
            let status = state.decompress_vec(&packed[read..], &mut bytes, FlushDecompress::Finish);
            match status.map_err(|_| UnpackError::Damaged)? {
                Status::StreamEnd if bytes.len() > limit => {
                    return Err(UnpackError::TooLarge { limit });
                }
                Status::StreamEnd if state.total_in() != packed.len() as u64 => {
                    return Err(UnpackError::Damaged);
                }
                Status::StreamEnd => return Ok(bytes),
                Status::Ok | Status::BufError if bytes.len() > limit => {
                    return Err(UnpackError::TooLarge { limit });
                }
                // There was room, so what is missing is input.
                Status::Ok | Status::BufError if bytes.len() < bytes.capacity() => {
                    return Err(UnpackError::Damaged);
                }
                // One byte above the limit is enough to know that there is more.
                Status::Ok | Status::BufError => {
                    let left = (limit - bytes.len()).saturating_add(1);
                    bytes.reserve_exact(left.min(bytes.len() + 128));
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::payload::sha256_hex;

    #[test]
    fn the_dictionary_never_changes() {
        assert_eq!(
            sha256_hex(DICTIONARY),
            "99902e88ddf5ddccb64885af854a1409dfaae1bd08d13811abbe4087c688371a",
            "packed events of earlier versions need exactly these bytes: add a form instead"
        );
    }

    #[test]
    fn the_dictionary_fits_into_the_window_with_an_event() {
        assert!(DICTIONARY.len() <= 16 * 1024, "{}", DICTIONARY.len());
    }

    #[test]
    fn what_is_too_large_once_unpacked_is_refused() {
        let most = vec![b'a'; UNPACKED_BYTES_MAX];
        assert_eq!(unpack(&pack(&most)), Ok(most));
        let error = unpack(&pack(&vec![b'a'; UNPACKED_BYTES_MAX + 1])).unwrap_err();
        assert_eq!(error.to_string(), "too large once unpacked (limit 8388608 bytes)");
        assert_eq!(unpack(&pack(&vec![0; 64 << 20])), Err(error));
    }

    #[test]
    fn bytes_that_are_not_whole_are_damaged() {
        let packed = pack(b"[{\"ExecutionCompleted\":{}}]");
        for length in 0..packed.len() {
            assert_eq!(unpack(&packed[..length]), Err(UnpackError::Damaged), "{length}");
        }
        assert_eq!(unpack(&[packed.as_slice(), &[0]].concat()), Err(UnpackError::Damaged));
    }

    #[test]
    fn bytes_that_refer_to_a_dictionary_need_it() {
        let json = b"[{\"ExecutionCompleted\":{}}]";
        assert_eq!(inflate(&pack(json), &[], 1024), Err(UnpackError::Damaged));
    }

    #[test]
    fn a_call_that_failed_leaves_nothing_behind() {
        let packed = pack(b"one");
        unpack(&packed[..1]).unwrap_err();
        unpack(&pack(&vec![0; 9 << 20])).unwrap_err();
        assert_eq!(unpack(&packed), Ok(b"one".to_vec()));
        assert_eq!(inflate(&deflate(b"two", &[]), &[], 3), Ok(b"two".to_vec()));
        assert_eq!(unpack(&packed), Ok(b"one".to_vec()));
    }

    proptest! {
        #[test]
        fn everything_comes_back(
            noise in vec(any::<u8>(), 0..3_000),
            times in 1usize..60,
            place in 0..DICTIONARY.len(),
            words in 0usize..500,
        ) {
            let words = &DICTIONARY[place..(place + words).min(DICTIONARY.len())];
            let bytes = [noise.as_slice(), words].concat().repeat(times);
            prop_assert_eq!(unpack(&pack(&bytes)), Ok(bytes));
        }

        #[test]
        fn whatever_is_read_is_no_panic(bytes in vec(any::<u8>(), 0..200)) {
            unpack(&bytes).ok();
        }
    }
}
