//! What the programs in `fuzz/` call, and what replays their corpus in ordinary tests: one function for each target. It
//! panics if the input breaks a promise of the server.

mod config;
mod connection;
mod documents;
mod frames;
mod parameters;
#[cfg(test)]
mod replay;
mod stream;
mod subjects;

pub use config::config;
pub use connection::connection;
pub use documents::documents;
pub(crate) use frames::Pieces;
pub use frames::frames;
pub use parameters::parameters;
pub use stream::stream;
pub use subjects::subjects;

/// Longest input of a target; what is behind it is ignored.
const MAX_INPUT: usize = 8 * 1024;

/// A target: one input that must break no promise.
pub type Target = fn(&[u8]);

/// Every target and its name, which is that of its folder in the corpus too.
pub const TARGETS: [(&str, Target); 7] = [
    ("config", config),
    ("connection", connection),
    ("documents", documents),
    ("frames", frames),
    ("parameters", parameters),
    ("stream", stream),
    ("subjects", subjects),
];

/// Lengths of pieces that follow from one byte of the input: often short, sometimes long.
struct Cuts(u32);

impl Cuts {
    fn new(seed: u8) -> Cuts {
        Cuts(u32::from(seed).wrapping_mul(0x9E37_79B9) | 1)
    }

    /// At least one byte.
    fn next(&mut self) -> usize {
        // Xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        let length = match self.0 & 3 {
            0 => 1,
            1 => (self.0 >> 8) % 4,
            2 => (self.0 >> 8) % 40,
            _ => (self.0 >> 8) % 400,
        };
        length as usize + 1
    }
}
