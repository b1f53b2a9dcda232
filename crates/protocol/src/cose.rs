//! COSE_Sign1 in one byte form (RFC 9052 section 4.2): protected header alg = EdDSA (-8) and kid = the signer's key id, no
//! unprotected header, external data empty. Must never give a payload out that the given key has not signed, nor take a
//! second form of a message, even where COSE would allow it.

use coset::{CoseSign1, CoseSign1Builder, Header, HeaderBuilder, TaggedCborSerializable, iana};

use crate::id::KeyId;
use crate::keys::{SIGNATURE_BYTES, Signature, SigningKey, VerifyingKey};

/// Why bytes are not what the key's owner signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoseReason {
    /// Not a COSE_Sign1 message.
    #[error("not a tagged COSE_Sign1 message with a payload ({message})")]
    NotCose {
        /// What the parser said.
        message: String,
    },
    /// Another signature algorithm.
    #[error("the algorithm is not EdDSA (-8)")]
    Algorithm,
    /// Signed under another key.
    #[error("it is signed with the key with id {found}, not with the given key, whose id is {expected}")]
    OtherKey {
        /// The kid in hexadecimal digits.
        found: String,
        /// The given key's id.
        expected: KeyId,
    },
    /// Another byte form of the same message, or bytes or header fields that do not belong there.
    #[error("not in the canonical form: something was added or written otherwise")]
    NotCanonical,
    /// A changed byte, or a signature of somebody else.
    #[error("the signature is not the key's on these bytes: they were changed or made up")]
    Signature,
}

/// Signs a payload and gives the whole message.
pub(crate) fn sign(payload: Vec<u8>, key: &SigningKey) -> Result<Vec<u8>, CoseReason> {
    let unsigned = message(payload, key.verifying_key().id());
    let signature = key.sign(&unsigned.tbs_data(&[]));
    to_bytes(CoseSign1 { signature: signature.as_bytes().to_vec(), ..unsigned })
}

/// The payload of a message that this key's owner has signed. The caller has bounded its length.
pub(crate) fn open(bytes: &[u8], key: &VerifyingKey) -> Result<Vec<u8>, CoseReason> {
    let foreign = CoseSign1::from_tagged_slice(bytes)
        .map_err(|error| CoseReason::NotCose { message: error.to_string() })?;
    let id = key.id();
    check_header(&foreign.protected.header, &message(Vec::new(), id).protected.header, id)?;
    let no_payload = || CoseReason::NotCose { message: "the payload is null".to_owned() };
    let payload = foreign.payload.ok_or_else(no_payload)?;
    // From here on only what this build writes itself is used: payload and signature go into a fresh message,
    // whose bytes must be the given ones. So nothing can hide in what the parser overlooked.
    let signature: [u8; SIGNATURE_BYTES] =
        foreign.signature.as_slice().try_into().map_err(|_| CoseReason::Signature)?;
    let own = CoseSign1 { signature: signature.to_vec(), ..message(payload.clone(), id) };
    let signed = own.tbs_data(&[]);
    if to_bytes(own)? != bytes {
        return Err(CoseReason::NotCanonical);
    }
    key.verify(&signed, &Signature::from_bytes(signature)).map_err(|_| CoseReason::Signature)?;
    Ok(payload)
}

/// The one message with this payload and key id, not signed yet.
pub(crate) fn message(payload: Vec<u8>, key: KeyId) -> CoseSign1 {
    let header =
        HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).key_id(key.as_bytes().to_vec()).build();
    CoseSign1Builder::new().protected(header).payload(payload).build()
}

/// Names what is wrong; that nothing more is in the header follows from the comparison of the bytes.
fn check_header(found: &Header, expected: &Header, id: KeyId) -> Result<(), CoseReason> {
    if found.alg != expected.alg {
        return Err(CoseReason::Algorithm);
    }
    if found.key_id != expected.key_id {
        return Err(CoseReason::OtherKey { found: hex::encode(&found.key_id), expected: id });
    }
    Ok(())
}

fn to_bytes(message: CoseSign1) -> Result<Vec<u8>, CoseReason> {
    // Nothing in such a message can fail to be written; if it did, it would not be the canonical form.
    message.to_tagged_vec().map_err(|_| CoseReason::NotCanonical)
}
