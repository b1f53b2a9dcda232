//! Keys and signatures against the vectors of RFC 8032 section 7.1. Must not take an expectation from the wrapper.

use super::*;

struct Vector {
    seed: &'static str,
    public: &'static str,
    message: &'static str,
    signature: &'static str,
}

/// RFC 8032 section 7.1, tests 1 to 3.
const VECTORS: [Vector; 3] = [
    Vector {
        seed: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        public: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        message: "",
        signature: "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    },
    Vector {
        seed: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        public: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        message: "72",
        signature: "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    },
    Vector {
        seed: "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        public: "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        message: "af82",
        signature: "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    },
];

fn bytes<const N: usize>(digits: &str) -> [u8; N] {
    hex::decode(digits).unwrap().try_into().unwrap()
}

#[test]
fn rfc_8032_vectors() {
    for vector in VECTORS {
        let key = SigningKey::from_seed(bytes(vector.seed));
        let public = VerifyingKey::from_bytes(&bytes(vector.public)).unwrap();
        let message = hex::decode(vector.message).unwrap();
        let signature = Signature::from_bytes(bytes(vector.signature));
        assert_eq!(key.verifying_key(), public);
        assert_eq!(key.sign(&message), signature);
        assert_eq!(public.verify(&message, &signature), Ok(()));
        assert_eq!(public.verify(&[&message[..], &[0]].concat(), &signature), Err(Error::Signature));
    }
}

#[test]
fn every_changed_bit_of_a_signature_is_refused() {
    let public = VerifyingKey::from_bytes(&bytes(VECTORS[2].public)).unwrap();
    let message = hex::decode(VECTORS[2].message).unwrap();
    let honest: [u8; SIGNATURE_BYTES] = bytes(VECTORS[2].signature);
    for bit in 0..SIGNATURE_BYTES * 8 {
        let mut changed = honest;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(public.verify(&message, &Signature::from_bytes(changed)), Err(Error::Signature), "{bit}");
    }
}

#[test]
fn a_signature_has_no_second_form() {
    // Vector 1 with the group's order added to its scalar: the equation holds, RFC 8032 section 5.1.7 refuses it.
    let r = &VECTORS[0].signature[..64];
    let s_plus_order = "4c8c7872aa064e049dbb3013fbf29380d25bf5f0595bbe24655141438e7a101b";
    let second = Signature::from_bytes(bytes(&format!("{r}{s_plus_order}")));
    let public = VerifyingKey::from_bytes(&bytes(VECTORS[0].public)).unwrap();
    assert_eq!(public.verify(b"", &second), Err(Error::Signature));
}

/// The bytes are a point for the library below, and refused here.
#[track_caller]
fn check_point_refused(digits: &str) {
    let bytes = bytes(digits);
    assert!(ed25519_dalek::VerifyingKey::from_bytes(&bytes).is_ok(), "{digits} is no point at all");
    assert_eq!(VerifyingKey::from_bytes(&bytes), Err(Error::VerifyingKeyPoint));
}

#[test]
fn weak_and_ambiguous_points_are_no_keys() {
    // Orders 1, 2 and 8.
    check_point_refused("0100000000000000000000000000000000000000000000000000000000000000");
    check_point_refused("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
    check_point_refused("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
    // y = p + 1, which is 1 again, and x = minus zero.
    check_point_refused("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
    check_point_refused("0100000000000000000000000000000000000000000000000000000000000080");
    // The key of vector 1 plus a point of order 2, and of order 8: the holder of one would appear as two.
    check_point_refused("16a567fe7d4ef5482ab4012c369bf8c5f11e8d0c2559dcda50fde59708f8aee5");
    check_point_refused("9158312a9a8d6e3b34c891d6d61444f8b8211c5117ebad15bdb0bd68b07e0245");
    // Not on the curve.
    let none = bytes("0200000000000000000000000000000000000000000000000000000000000000");
    assert_eq!(VerifyingKey::from_bytes(&none), Err(Error::VerifyingKeyPoint));
}

#[test]
fn written_keys_are_read_again() {
    let key = SigningKey::from_seed([7; 32]);
    let secret = key.to_secret_text();
    assert!(secret.starts_with("mxsk1") && secret.len() == KEY_TEXT_BYTES, "{secret}");
    assert_eq!(secret.parse::<SigningKey>().unwrap().verifying_key(), key.verifying_key());
    let public = key.verifying_key().to_string();
    assert!(public.starts_with("mxpk1") && public.len() == KEY_TEXT_BYTES, "{public}");
    assert_eq!(public.parse(), Ok(key.verifying_key()));
}

#[test]
fn a_secret_is_not_printed() {
    let key = SigningKey::from_seed([7; 32]);
    let shown = format!("{key:?}");
    assert!(!shown.contains(&hex::encode([7; 32])) && !shown.contains("mxsk1"), "{shown}");
    assert!(shown.contains("mxpk1"), "{shown}");
}

#[test]
fn a_written_key_with_any_character_changed_is_refused() {
    let public = SigningKey::from_seed([7; 32]).verifying_key().to_string();
    for at in 0..public.len() {
        for other in ["0", "1", "8", "f", "F", "g", "m", " "] {
            if &public[at..=at] == other {
                continue;
            }
            let changed = format!("{}{other}{}", &public[..at], &public[at + 1..]);
            assert!(changed.parse::<VerifyingKey>().is_err(), "{changed}");
        }
    }
}

#[test]
fn written_keys_that_are_refused_say_why() {
    let secret = SigningKey::from_seed([7; 32]).to_secret_text();
    let public = SigningKey::from_seed([7; 32]).verifying_key().to_string();
    let (kind, prefix) = ("a verifying key", "mxpk1");
    let check =
        |text: &str, expected: Error| assert_eq!(text.parse::<VerifyingKey>(), Err(expected), "{text}");
    check("", Error::KeyPrefix { kind, prefix });
    check(&secret, Error::KeyPrefix { kind, prefix });
    check(&public[..76], Error::KeyLength { kind, length: 76, expected: 77 });
    check(&format!("{public}\n"), Error::KeyLength { kind, length: 78, expected: 77 });
    check(&public.replace("mxpk1", "mxpk1é").chars().take(76).collect::<String>(), Error::KeyDigit { kind });
    check(&format!("mxpk1{}", public[5..].to_uppercase()), Error::KeyDigit { kind });
    let last = if public.ends_with('0') { "1" } else { "0" };
    check(&format!("{}{last}", &public[..76]), Error::KeyChecksum { kind });
}

#[test]
fn key_ids_are_derived_in_their_domain() {
    let public = VerifyingKey::from_bytes(&bytes(VECTORS[0].public)).unwrap();
    let mut hasher = blake3::Hasher::new_derive_key("maxwell 2026-11 verifying key id v1");
    hasher.update(&hex::decode(VECTORS[0].public).unwrap());
    assert_eq!(public.id().as_bytes(), hasher.finalize().as_bytes());
}
