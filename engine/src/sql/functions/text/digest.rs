//! MD5 (RFC 1321) and SHA-2 (FIPS 180-4), for SQL's functions of these names; nothing here is for secrets.

use crate::types::bytes::write_hex;

/// The message padded to whole blocks: 0x80, zeros, and its length in bits.
fn padded(data: &[u8], block: usize, length: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    out.push(0x80);
    while !(out.len() + length.len()).is_multiple_of(block) {
        out.push(0);
    }
    out.extend_from_slice(length);
    out
}

pub(super) fn md5_hex(data: &[u8]) -> String {
    let mut out = Vec::with_capacity(32);
    write_hex(&md5(data), &mut out);
    String::from_utf8(out).unwrap_or_else(|_| unreachable!("hex digits are text"))
}

fn md5(data: &[u8]) -> [u8; 16] {
    const SHIFT: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let table: Vec<u32> = (1..=64).map(|i| (f64::from(i).sin().abs() * 4_294_967_296.0) as u32).collect();
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded(data, 64, &(data.len() as u64 * 8).to_le_bytes()).chunks_exact(64) {
        let word = |i: usize| u32::from_le_bytes([block[i * 4], block[i * 4 + 1], block[i * 4 + 2], block[i * 4 + 3]]);
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64 {
            let (f, g) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            let sum = a.wrapping_add(f).wrapping_add(table[i]).wrapping_add(word(g));
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFT[i / 16][i % 4]));
        }
        for (s, v) in state.iter_mut().zip([a, b, c, d]) {
            *s = s.wrapping_add(v);
        }
    }
    let mut out = [0; 16];
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    out
}

/// First 64 bits of the fractional part of the cube roots of the first 80 primes: SHA-512's constants. SHA-256's are
/// the upper halves of the first 64.
const K: [u64; 80] = [
    0x428a2f98d728ae22,
    0x7137449123ef65cd,
    0xb5c0fbcfec4d3b2f,
    0xe9b5dba58189dbbc,
    0x3956c25bf348b538,
    0x59f111f1b605d019,
    0x923f82a4af194f9b,
    0xab1c5ed5da6d8118,
    0xd807aa98a3030242,
    0x12835b0145706fbe,
    0x243185be4ee4b28c,
    0x550c7dc3d5ffb4e2,
    0x72be5d74f27b896f,
    0x80deb1fe3b1696b1,
    0x9bdc06a725c71235,
    0xc19bf174cf692694,
    0xe49b69c19ef14ad2,
    0xefbe4786384f25e3,
    0x0fc19dc68b8cd5b5,
    0x240ca1cc77ac9c65,
    0x2de92c6f592b0275,
    0x4a7484aa6ea6e483,
    0x5cb0a9dcbd41fbd4,
    0x76f988da831153b5,
    0x983e5152ee66dfab,
    0xa831c66d2db43210,
    0xb00327c898fb213f,
    0xbf597fc7beef0ee4,
    0xc6e00bf33da88fc2,
    0xd5a79147930aa725,
    0x06ca6351e003826f,
    0x142929670a0e6e70,
    0x27b70a8546d22ffc,
    0x2e1b21385c26c926,
    0x4d2c6dfc5ac42aed,
    0x53380d139d95b3df,
    0x650a73548baf63de,
    0x766a0abb3c77b2a8,
    0x81c2c92e47edaee6,
    0x92722c851482353b,
    0xa2bfe8a14cf10364,
    0xa81a664bbc423001,
    0xc24b8b70d0f89791,
    0xc76c51a30654be30,
    0xd192e819d6ef5218,
    0xd69906245565a910,
    0xf40e35855771202a,
    0x106aa07032bbd1b8,
    0x19a4c116b8d2d0c8,
    0x1e376c085141ab53,
    0x2748774cdf8eeb99,
    0x34b0bcb5e19b48a8,
    0x391c0cb3c5c95a63,
    0x4ed8aa4ae3418acb,
    0x5b9cca4f7763e373,
    0x682e6ff3d6b2b8a3,
    0x748f82ee5defb2fc,
    0x78a5636f43172f60,
    0x84c87814a1f0ab72,
    0x8cc702081a6439ec,
    0x90befffa23631e28,
    0xa4506cebde82bde9,
    0xbef9a3f7b2c67915,
    0xc67178f2e372532b,
    0xca273eceea26619c,
    0xd186b8c721c0c207,
    0xeada7dd6cde0eb1e,
    0xf57d4f7fee6ed178,
    0x06f067aa72176fba,
    0x0a637dc5a2c898a6,
    0x113f9804bef90dae,
    0x1b710b35131c471b,
    0x28db77f523047d84,
    0x32caab7b40c72493,
    0x3c9ebe0a15c9bebc,
    0x431d67c49c100d4c,
    0x4cc5d4becb3e42b6,
    0x597f299cfc657e2a,
    0x5fcb6fab3ad6faec,
    0x6c44198c4a475817,
];

macro_rules! sha2 {
    ($name:ident, $word:ty, $rounds:literal, $k:expr, $s0:expr, $s1:expr, $e0:expr, $e1:expr, $length:ty) => {
        fn $name(mut state: [$word; 8], data: &[u8]) -> Vec<u8> {
            const SIZE: usize = size_of::<$word>();
            let rotate = |x: $word, [a, b, c]: [u32; 3]| x.rotate_right(a) ^ x.rotate_right(b) ^ x.rotate_right(c);
            let mix = |x: $word, [a, b, c]: [u32; 3]| x.rotate_right(a) ^ x.rotate_right(b) ^ (x >> c);
            for block in padded(data, SIZE * 16, &(data.len() as $length * 8).to_be_bytes()).chunks_exact(SIZE * 16) {
                let mut w: Vec<$word> = block
                    .chunks_exact(SIZE)
                    .map(|bytes| bytes.iter().fold(0, |word: $word, b| (word << 8) | <$word>::from(*b)))
                    .collect();
                for i in 16..$rounds {
                    let next = w[i - 16]
                        .wrapping_add(mix(w[i - 15], $e0))
                        .wrapping_add(w[i - 7])
                        .wrapping_add(mix(w[i - 2], $e1));
                    w.push(next);
                }
                let mut v = state;
                for i in 0..$rounds {
                    let k: fn(u64) -> $word = $k;
                    let t1 = v[7]
                        .wrapping_add(rotate(v[4], $s1))
                        .wrapping_add((v[4] & v[5]) ^ (!v[4] & v[6]))
                        .wrapping_add(k(K[i]))
                        .wrapping_add(w[i]);
                    let t2 = rotate(v[0], $s0).wrapping_add((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
                    v = [t1.wrapping_add(t2), v[0], v[1], v[2], v[3].wrapping_add(t1), v[4], v[5], v[6]];
                }
                for (s, v) in state.iter_mut().zip(v) {
                    *s = s.wrapping_add(v);
                }
            }
            state.iter().flat_map(|word| word.to_be_bytes()).collect()
        }
    };
}

sha2!(sha2_32, u32, 64, |k| (k >> 32) as u32, [2, 13, 22], [6, 11, 25], [7, 18, 3], [17, 19, 10], u64);
sha2!(sha2_64, u64, 80, |k| k, [28, 34, 39], [14, 18, 41], [1, 8, 7], [19, 61, 6], u128);

pub(super) fn sha224(data: &[u8]) -> Vec<u8> {
    let start = [0xc1059ed8, 0x367cd507, 0x3070dd17, 0xf70e5939, 0xffc00b31, 0x68581511, 0x64f98fa7, 0xbefa4fa4];
    sha2_32(start, data)[..28].to_vec()
}

pub(super) fn sha256(data: &[u8]) -> Vec<u8> {
    let start = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
    sha2_32(start, data)
}

pub(super) fn sha384(data: &[u8]) -> Vec<u8> {
    let start = [
        0xcbbb9d5dc1059ed8,
        0x629a292a367cd507,
        0x9159015a3070dd17,
        0x152fecd8f70e5939,
        0x67332667ffc00b31,
        0x8eb44a8768581511,
        0xdb0c2e0d64f98fa7,
        0x47b5481dbefa4fa4,
    ];
    sha2_64(start, data)[..48].to_vec()
}

pub(super) fn sha512(data: &[u8]) -> Vec<u8> {
    let start = [
        0x6a09e667f3bcc908,
        0xbb67ae8584caa73b,
        0x3c6ef372fe94f82b,
        0xa54ff53a5f1d36f1,
        0x510e527fade682d1,
        0x9b05688c2b3e6c1f,
        0x1f83d9abfb41bd6b,
        0x5be0cd19137e2179,
    ];
    sha2_64(start, data)
}

/// hash_bytes of PostgreSQL (hashfn.c): Jenkins' lookup3 hash of little-endian words.
pub(super) fn hash(data: &[u8]) -> i32 {
    let start = 0x9e37_79b9_u32.wrapping_add(data.len() as u32).wrapping_add(3_923_095);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut blocks = data.chunks_exact(12);
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
    for block in &mut blocks {
        a = a.wrapping_add(word(&block[..4]));
        b = b.wrapping_add(word(&block[4..8]));
        c = c.wrapping_add(word(&block[8..]));
        (a, b, c) = mix(a, b, c);
    }
    let rest = blocks.remainder();
    let part = |from: usize, to: usize| word(rest.get(from..to.min(rest.len())).unwrap_or_default());
    a = a.wrapping_add(part(0, 4));
    b = b.wrapping_add(part(4, 8));
    // The lowest byte of c is the length's.
    c = c.wrapping_add(part(8, 11) << 8);
    last_mix(a, b, c) as i32
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    for (turn, bits) in [4, 6, 8, 16, 19, 4].into_iter().enumerate() {
        let (x, y, z) = match turn % 3 {
            0 => (&mut a, &mut c, b),
            1 => (&mut b, &mut a, c),
            _ => (&mut c, &mut b, a),
        };
        *x = x.wrapping_sub(*y) ^ y.rotate_left(bits);
        *y = y.wrapping_add(z);
    }
    (a, b, c)
}

fn last_mix(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    for (turn, bits) in [14, 11, 25, 16, 4, 14, 24].into_iter().enumerate() {
        let (x, y) = match turn % 3 {
            0 => (&mut c, b),
            1 => (&mut a, c),
            _ => (&mut b, a),
        };
        *x = (*x ^ y).wrapping_sub(y.rotate_left(bits));
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_postgresqls() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let long = "x".repeat(200);
        assert_eq!(md5_hex(b"abc"), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(md5_hex(long.as_bytes()), "30a83621ce5422fbdfdd539777458c78");
        assert_eq!(hex(sha224(b"abc")), "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7");
        assert_eq!(hex(sha256(long.as_bytes())), "aa20c23e3201834050679e1d88941b9a6fed0557c9a705cb2c315e2e63fd486d");
        assert_eq!(md5_hex(&sha384(long.as_bytes())), "ba681e85da18eccde1928a15bd24f17e");
        assert_eq!(md5_hex(&sha512(long.as_bytes())), "441d07e5283ed6592a1d9b5013c32d5a");
    }
}
