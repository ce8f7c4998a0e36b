//! The equation of an ed25519 signature, for Node: a fifth of the time that OpenSSL takes. Loaded by sandbox/verification.ts.
//!
//! It is the second half of what chain/crypto.ts calls strict. The first, which bytes are looked at at all, is decided there
//! (chain/codec/strict.ts), in one place for OpenSSL, the browser and this. The equation is the one without the cofactor, as OpenSSL has it:
//! k = SHA-512(R ‖ A ‖ message) mod L, and the encoding of S·B − k·A is, byte for byte, R. So R is never decoded, and what has a part of
//! small order in A or R is judged by the same comparison. Everything here is public: nothing need take the same time for all inputs.
use curve25519_dalek::{
    edwards::{CompressedEdwardsY, EdwardsPoint},
    scalar::Scalar,
};
use napi::{Env, Task, bindgen_prelude::*};
use napi_derive::napi;
use sha2::{Digest, Sha512};

const SIGNATURE_BYTES: usize = 64;
const KEY_BYTES: usize = 32;
/// Before each message in a batch: signature, key, and how long the message is, little-endian.
const HEAD_BYTES: usize = SIGNATURE_BYTES + KEY_BYTES + 4;

/// Whether the signature satisfies the equation, of `prefix` and `message` one after the other. False for a wrong length, an S that is not
/// below the group's order, and a key that is no point.
#[napi]
pub fn holds(prefix: &[u8], message: &[u8], signature: &[u8], key: &[u8]) -> bool {
    equation(&[prefix, message], signature, key).unwrap_or(false)
}

/// The same of many, on a thread of libuv's pool: each is signature, key, length and message. One byte for each: 1 when it holds. What is
/// cut off in the middle ends the answer.
#[napi]
pub fn hold_many(batch: Uint8Array) -> AsyncTask<Batch> {
    // A copy: JavaScript may write to the same memory meanwhile.
    AsyncTask::new(Batch(batch.to_vec()))
}

pub struct Batch(Vec<u8>);

impl Task for Batch {
    type Output = Vec<u8>;
    type JsValue = Uint8Array;
    fn compute(&mut self) -> Result<Vec<u8>> {
        let mut verdicts = Vec::new();
        let mut rest = self.0.as_slice();
        while let Some((head, behind)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let (signature, head) = head.split_at(SIGNATURE_BYTES);
            let (key, length) = head.split_at(KEY_BYTES);
            let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
            let Some((message, behind)) = behind.split_at_checked(length) else { break };
            verdicts.push(u8::from(equation(&[message], signature, key).unwrap_or(false)));
            rest = behind;
        }
        Ok(verdicts)
    }
    fn resolve(&mut self, _: Env, verdicts: Vec<u8>) -> Result<Uint8Array> {
        Ok(verdicts.into())
    }
}

fn equation(message: &[&[u8]], signature: &[u8], key: &[u8]) -> Option<bool> {
    let signature: &[u8; SIGNATURE_BYTES] = signature.try_into().ok()?;
    let (r, s) = signature.split_first_chunk::<32>()?;
    let a = CompressedEdwardsY(key.try_into().ok()?).decompress()?;
    let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s.try_into().ok()?))?;
    let mut hash = Sha512::new_with_prefix(r);
    hash.update(key);
    for part in message {
        hash.update(part);
    }
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    Some(EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-a, &s).compress().as_bytes() == r)
}
