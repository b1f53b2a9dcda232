"""The texts that the oracles encode: many scripts, odd white space, control tokens, and seeded mixtures."""

import random

SCRIPTS = [
    "Hello, world!", "Ünïcödé straße", "Привет, как дела?", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم",
    "नमस्ते दुनिया", "สวัสดีชาวโลก", "你好，世界！", "こんにちは世界", "안녕하세요 세계", "გამარჯობა", "Բարեւ", "ሰላም",
    "வணக்கம்", "🙂🙃", "👨\u200d👩\u200d👧\u200d👦 family", "🏳\ufe0f\u200d🌈", "🇪🇺🇯🇵", "e\u0301 é n\u0303",
    "Z\u0351\u036b\u0343a\u0315\u031b", "ﬁ ligature", "Ⅳ ½ ² ١٢٣ १२३ 一二三", "x² + y³ = 10⁵",
    "I'm you're they've she'd we'll it's DON'T I'M 'S '\u017f", "\u200b\u200c\u200d\ufeff", "\ud7ff\ue000\uffff",
    "\U0001f600\U000e0001\U0010ffff", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "ǅ ǆ ŉ ª º", "a\u2581b \u2581", "\x01\x04\x06\x13\x1f\x7f\x9f",
]
SPACES = [
    " ", "  ", "   ", "\t", "\t\t", "\n", "\n\n", "\r\n", "\r\n\r\n", " \n ", "\u00a0", "\u3000", "\u2003",
    "\u2028", "\u0085", "\x0b", "\x0c", "\x1c", "\x00", " \t\n\r ", " " * 17,
]
CODE = [
    "def f(x):\n    return x+1\n", "for (int i=0;i<10;++i) {\n\tprintf(\"%d\\n\", i);\n}",
    "let v: Vec<u8> = b\"abc\".to_vec();", "SELECT * FROM t WHERE a >= 10 AND b != 'x';",
    "<body class=\"a\">&nbsp;</body>", "{\"key\": [1, 2.5, -3e10, null]}",
    "0x1F 1_000_000 3.14159 00012345678901234567890", "a==b&&c||!d ->>= <=> ... ;;; ### $$$ ^^^ ~~~ ```",
    " https://example.org/path?q=1&r=%20#frag", "C:\\Users\\x\\n",
]
ENGLISH = [
    "The quick brown fox jumps over the lazy dog.", "In 1998, 3 of 7 people said \"no\".",
    "She'll be back at 10:30 p.m.; don't wait!", "(round) [square] {curly} — dashes – and…",
    "A sentence   with  odd   spacing .  ", "ALL CAPS camelCase snake_case kebab-case", "unmergeable words",
]
SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_", "im_end|>", "<", "|>", "<tool>", "<tool>>", "\t\t\t",
    "<|im_end|><|im_end|>", "<|im_start|>user\nHi<|im_end|>\n", "a <|im_end|> b", "<unk>", "<s>", "</s>",
]


def texts(count, seed):
    """`count` texts, the same for the same seed."""
    rng = random.Random(seed)
    plain = SCRIPTS + CODE + ENGLISH
    found = ["", "a"] + plain + SPACES + SPECIAL
    atoms = plain + SPACES * 2 + SPECIAL * 2 + list("abcXYZ0189.,!?'\"-_/\\@#é漢字")
    while len(found) < count * 9 // 10:
        found.append("".join(rng.choice(atoms) for _ in range(rng.randint(1, 4))))
    while len(found) < count:
        points = [rng.randrange(rng.choice([0x250, 0x3000, 0x20000])) for _ in range(rng.randint(1, 12))]
        found.append("".join(chr(point) for point in points if not 0xD800 <= point < 0xE000))
    return found
