"""What llama.cpp makes of texts with a given vocabulary: writes a GGUF file around it and asks its server.

Needs: gguf, numpy, requests, xllamacpp.
"""

import os
import tempfile

import gguf
import numpy
import requests
import xllamacpp

WIDTH = 32


def write(path, spec):
    """A model of one tiny layer of zeros, with the vocabulary of `spec`."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(spec["model"])
    writer.add_token_list(spec["tokens"])
    writer.add_token_types(spec["types"])
    if spec["model"] == "gpt2":
        writer.add_tokenizer_pre(spec["pre"])
        writer.add_token_merges(spec["merges"])
    else:
        writer.add_token_scores(spec["scores"])
        writer.add_unk_token_id(spec["unknown"])
        writer.add_add_space_prefix(spec["add_space_prefix"])
    writer.add_bos_token_id(spec["bos"])
    writer.add_eos_token_id(spec["eos"])
    writer.add_add_bos_token(spec["add_bos"])
    writer.add_add_eos_token(False)
    count = len(spec["tokens"])
    shapes = {"token_embd": (count, WIDTH), "output_norm": (WIDTH,), "output": (count, WIDTH)}
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        shapes["blk.0." + name] = (WIDTH, WIDTH)
    for name in ("attn_norm", "ffn_norm"):
        shapes["blk.0." + name] = (WIDTH,)
    for name, shape in shapes.items():
        writer.add_tensor(name + ".weight", numpy.zeros(shape, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def encode(spec, requests_of_texts):
    """The ids of each (text, whether control tokens are parsed)."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.gguf")
        write(path, spec)
        parameters = xllamacpp.CommonParams()
        parameters.model.path = path
        parameters.n_ctx = 64
        parameters.cpuparams.n_threads = 1
        server = xllamacpp.Server(parameters)
        found = []
        for text, parse in requests_of_texts:
            body = {"content": text, "parse_special": parse, "add_special": True}
            answer = requests.post(server.listening_address + "/tokenize", json=body, timeout=60)
            answer.raise_for_status()
            found.append(answer.json()["tokens"])
        return found
