# Prints the expected values of tests/it/*.rs from two independent implementations, the Python packages blake3 1.0
# and cbor2 6.3. Must never import anything of this project. Run: python vectors.py
import blake3
import cbor2

PRIME = 2**64 - 2**32 + 1
NONCE, CLIENT_SEED = bytes(range(32)), bytes(range(32, 64))
MODEL, TEMPLATE = bytes([0x11] * 32), bytes([0x22] * 32)
PROMPT = [1, 23, 24, 300, 70000]
GREEDY = ["maxwell.settings", 1, 0, 0, 1000000, 0, 1000, 256, True]
SETTINGS = ["maxwell.settings", 1, 700, 40, 950000, 50000, 1100, 64, True]


def derive(context, data, length=32):
    return blake3.blake3(data, derive_key_context=context).digest(length=length)


def little(data):
    return f"{int.from_bytes(data, 'little'):#x}"


seed = derive("maxwell 2026-11 sampling seed v1", NONCE + CLIENT_SEED)
print("seed", seed.hex())
for position in (0, 1, 2**64 - 1):
    data = b"maxwell draw" + position.to_bytes(8, "little")
    print("draw", position, little(blake3.blake3(data, key=seed).digest()[:8]))
print("greedy settings", cbor2.dumps(GREEDY, canonical=True).hex())
point = ["maxwell.fingerprint-point", 1, MODEL, NONCE, PROMPT, SETTINGS]
stream = derive("maxwell 2026-11 fingerprint point v1", cbor2.dumps(point, canonical=True), 16)
print("point", little(stream[:8]), little(stream[8:]))
claim = ["maxwell.claim", 1, "maxwell-ie5-1", MODEL, TEMPLATE, PROMPT, SETTINGS, CLIENT_SEED, NONCE, seed]
claim += [[17, 2**32 - 1], ["out_of_range", 6], b"hi \xff", [[5, PRIME - 1], [2**32, 0]]]
encoded = b"MXCLAIM1" + cbor2.dumps(claim, canonical=True)
print("claim", encoded.hex())
print("digest", derive("maxwell 2026-11 claim digest v1", encoded).hex())
