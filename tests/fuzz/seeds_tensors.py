"""Seeds of quantized checkpoints: the golden ones, and each with one thing wrong or otherwise said, so that what a reader checks is reached
without a fuzzer having to keep a safetensors header consistent. Each function yields (name, content)."""
import copy
import itertools
import json
import math
import struct


def parts(data):
    """The header and the data of a safetensors file."""
    length = struct.unpack_from("<Q", data)[0]
    return json.loads(data[8:8 + length]), data[8 + length:]


def file_of(tensors, metadata=None):
    """tensors: name -> (dtype, shape, bytes)."""
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def tensors_of(data):
    header, body = parts(data)
    return {name: (t["dtype"], t["shape"], body[slice(*t["data_offsets"])]) for name, t in header.items() if name != "__metadata__"}


def told_otherwise(config, path=()):
    """The configuration with one value below quantization_config changed, by what was changed."""
    node = config["quantization_config"]
    for key in path:
        node = node[key]
    for key, value in (node.items() if isinstance(node, dict) else enumerate(node)):
        if isinstance(value, (dict, list)) and value:
            yield from told_otherwise(config, (*path, key))
        others = [None, -1, "other"] if not isinstance(value, bool) else [not value, "other"]
        for other in others:
            changed = copy.deepcopy(config)
            at = changed["quantization_config"]
            for step in path:
                at = at[step]
            if other is None and isinstance(at, dict):
                del at[key]
            else:
                at[key] = other
            yield "-".join(map(str, (*path, key, other))), changed


def resized(dtype, shape, content):
    """The tensor in other forms, all of them files that hang together."""
    width = len(content) // max(1, math.prod(shape))
    if len(shape) == 2 and shape[0] > 1 and shape[1] > 1:
        row = shape[1] * width
        yield "fewer-rows", (dtype, [shape[0] - 1, shape[1]], content[row:])
        yield "turned", (dtype, shape[::-1], content)
        yield "flat", (dtype, [shape[0] * shape[1]], content)
        yield "more-rows", (dtype, [shape[0] * 2, shape[1]], content * 2)
    elif shape:
        yield "deeper", (dtype, [1, *shape], content)
        yield "twice", (dtype, [2 * shape[0], *shape[1:]], content * 2)
    same = {4: ("F32", "I32"), 2: ("F16", "I16"), 1: ("U8", "F8_E4M3"), 8: ("I64", "F64")}.get(width, ())
    yield from ((f"as-{other}", (other, shape, content)) for other in same if other != dtype)
    yield "ones", (dtype, shape, b"\xff" * len(content))
    yield "empty", (dtype, [0, *shape[1:]], b"")


def fp8():
    codes = bytes(range(256)) * 4
    tensors = {"model.layers.0.mlp.up_proj.weight": ("F8_E4M3", [32, 32], codes), "model.layers.0.mlp.up_proj.weight_scale_inv": ("F32", [2, 2], struct.pack("<4f", 1, 2, 3, 4)),
               "model.norm.weight": ("BF16", [32], bytes(64))}
    config = {"model_type": "llama", "hidden_size": 32, "quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 16], "activation_scheme": "dynamic", "fmt": "e4m3"}}
    return config, file_of(tensors)


def quantized(folder):
    """folder: tests/golden/checkpoints."""
    found = {path.parent.name: (json.loads(path.read_text()), (path.parent / "model.safetensors").read_bytes())
             for path in sorted(folder.glob("*/config.json")) if (path.parent / "model.safetensors").exists()}
    found["fp8"] = fp8()
    for layout, base in (("auto_round:auto_gptq", "gptq_v1_4bit_g32_sym"), ("auto_round", "gptq_v2_4bit_sym"), ("auto_round:auto_awq", "awq_gemm_g32"), ("auto_round:other", "gptq_v1_4bit_g32_sym")):
        config, data = copy.deepcopy(found[base])
        config["quantization_config"] |= {"quant_method": "auto-round", "packing_format": layout, "data_type": "int"}
        found["autoround-" + layout.replace(":", "-")] = config, data
    put = lambda c, d: json.dumps(c, separators=(",", ":")).encode() + b"\n" + d
    yield from ((name, put(config, data)) for name, config, data in by_hand(found))
    for name, (config, data) in found.items():
        yield name, put(config, data)
        small = len(data) < 12000
        for what, changed in told_otherwise(config):
            yield f"{name}-{what}", put(changed, data)
        tensors = tensors_of(data)
        for which, tensor in tensors.items():
            without = {other: each for other, each in tensors.items() if other != which}
            yield f"{name}-without-{which}", put(config, file_of(without))
            for how, form in resized(*tensor) if small else ():
                yield f"{name}-{which}-{how}", put(config, file_of({**without, which: form}))


def by_hand(found):
    """What no golden checkpoint holds: schemes of several kinds, orders of columns, states of bitsandbytes. Yields (name, configuration, file)."""
    up = "model.layers.0.mlp.gate_proj"

    def compressed(name, tensors, *schemes, **more):
        groups = {f"group_{i}": scheme if "weights" in scheme else {"targets": ["Linear"], "weights": scheme} for i, scheme in enumerate(schemes)}
        return name, {"model_type": "llama", "hidden_size": 64, "quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups, **more}}, file_of(tensors)

    scale = lambda columns, rows=32: (f"{up}.weight_scale", ("F16", [rows, columns], b"\x00\x3c" * (rows * columns)))
    shape = (f"{up}.weight_shape", ("I64", [2], struct.pack("<2q", 32, 64)))
    packed = lambda words: (f"{up}.weight_packed", ("I32", [32, words], bytes(range(256)) * (words // 2)))
    four, eight, fp8 = {"num_bits": 4, "group_size": 16}, {"num_bits": 8, "type": "int"}, {"num_bits": 8, "type": "float"}
    index = lambda values: (f"{up}.weight_g_idx", ("I32", [64], struct.pack("<64i", *values)))
    yield compressed("ct-order", dict([packed(8), shape, scale(4), index([i % 4 for i in range(64)])]), four)
    yield compressed("ct-order-unset", dict([packed(8), shape, scale(4), index([-1] * 64)]), four)
    yield compressed("ct-order-beyond", dict([packed(8), shape, scale(4), index([9] * 64)]), four)
    yield compressed("ct-order-odd", dict([packed(8), shape, scale(4), index([0] * 10 + [1] * 22 + [2] * 20 + [3] * 12)]), four)
    yield compressed("ct-narrow-shape", dict([packed(8), (f"{up}.weight_shape", ("I32", [2], struct.pack("<2i", 32, 64))), scale(4)]), four)
    yield compressed("ct-padded", dict([packed(8), (f"{up}.weight_shape", ("I64", [2], struct.pack("<2q", 32, 80))), scale(5)]), {"num_bits": 3, "group_size": 16})
    yield compressed("ct-one-scale", dict([packed(8), shape, (f"{up}.weight_scale", ("F32", [1], struct.pack("<f", 2)))]), {"num_bits": 4})
    yield compressed("ct-flat-scale", dict([packed(8), shape, (f"{up}.weight_scale", ("BF16", [32], bytes(64)))]), {"num_bits": 4})
    yield compressed("ct-alike", dict([packed(8), shape, scale(4)]), four, {**four, "strategy": "group"})
    named = lambda scheme, *targets: {"targets": [*targets], "weights": scheme}
    yield compressed("ct-two", dict([packed(8), shape, scale(4)]), four, {"num_bits": 8, "group_size": 32})
    yield compressed("ct-two-named", dict([packed(8), shape, scale(4)]), named(four, up), named(eight, "x"))
    yield compressed("ct-two-unclear", dict([packed(8), shape, scale(4)]), four, {"num_bits": 4, "group_size": -1}, {"num_bits": 4, "group_size": 16, "block_structure": [16, 16]})
    yield compressed("ct-two-kinds", dict([packed(8), shape, scale(4)]), fp8, four)
    plain = lambda kind, value=1: (f"{up}.weight", (kind, [32, 64], bytes([value]) * 2048))
    zeros = lambda value, columns=1: (f"{up}.weight_zero_point", ("I8", [32, columns], bytes([value & 255]) * (32 * columns)))
    yield compressed("ct-int", dict([plain("I8"), scale(1), zeros(3)]), eight)
    yield compressed("ct-int4", dict([plain("I8"), scale(4), zeros(3, 4)]), four)
    yield compressed("ct-int4-zero-beyond", dict([plain("I8"), scale(4), zeros(-9, 4)]), four)
    yield compressed("ct-int4-beyond", dict([plain("I8", 77), scale(4)]), four)
    yield compressed("ct-int-order", dict([plain("I8"), scale(4), index([i % 4 for i in range(64)])]), four)
    yield compressed("ct-fp8-blocks", dict([plain("F8_E4M3"), (f"{up}.weight_scale", ("F32", [2, 4], struct.pack("<8f", *range(1, 9))))]), {**fp8, "block_structure": [16, 16]})
    yield compressed("ct-fp8-blocks-odd", dict([plain("F8_E4M3"), (f"{up}.weight_scale", ("F32", [3, 4], bytes(48)))]), {**fp8, "block_structure": [16, 16]})
    yield compressed("ct-fp8-tensor", dict([plain("F8_E4M3"), (f"{up}.weight_scale", ("F32", [], struct.pack("<f", 2)))]), fp8)
    for i, more in enumerate(({"format": "marlin-24"}, {"sparsity_config": {"format": "sparse-24-bitmask"}}, {"kv_cache_scheme": {"num_bits": 8}}, {"ignore": 3}, {"format": 3})):
        yield compressed(f"ct-more{i}", dict([packed(8), shape, scale(4)]), four, **more)
    for i, scheme in enumerate(({"num_bits": 8, "type": "x"}, {"num_bits": 4, "type": "float"}, {"num_bits": 0}, {"num_bits": "a"}, {"group_size": "a"}, {"weights": 3}, {"num_bits": 4, "group_size": 16, "actorder": "weight", "dynamic": True})):
        yield compressed(f"ct-scheme{i}", dict([packed(8), shape, scale(4)]), scheme)

    config, data = found["gptq_v1_4bit_g32_act_order"]
    tensors = tensors_of(data)
    name = next(each for each in tensors if each.endswith("g_idx"))
    columns = tensors[name][1][0]
    for how, values in {"odd": [i * 3 // columns if i % 7 else 2 for i in range(columns)], "beyond": [99] * columns, "negative": [-1] * columns, "turned": [2 - i * 3 // columns for i in range(columns)]}.items():
        yield f"gptq-order-{how}", config, file_of({**tensors, name: ("I32", [columns], struct.pack(f"<{columns}i", *values))})
    base = config["quantization_config"]
    for i, more in enumerate(({"is_marlin_format": True}, {"dynamic": {"-:.*up.*": {}, "+:.*": {"bits": 8}}}, {"dynamic": 3}, {"group_size": 48}, {"checkpoint_format": "marlin"}, {"checkpoint_format": "gptq_v2"}, {"checkpoint_format": "gptq_p"}, {"sym": True}, {"bits": 5})):
        yield f"gptq-more{i}", {**config, "quantization_config": {**base, **more}}, data

    config, data = found["bnb_nf4_b64_nested"]
    tensors = tensors_of(data)
    name = next(each for each in tensors if "quant_state" in each)
    state = json.loads(tensors[name][2])
    text = lambda value: ("U8", [len(value)], value)
    for key in state:
        for other in (None, -1, "x", [1, 2], 1 << 40):
            changed = {**state, key: other}
            if other is None:
                del changed[key]
            yield f"bnb-{key}-{other}", config, file_of({**tensors, name: text(json.dumps(changed).encode())})
    yield "bnb-no-state", config, file_of({**tensors, name: text(b"{")})
    yield "bnb-other-state", config, file_of({(key.replace("nf4", "int5") if key == name else key): tensor for key, tensor in tensors.items()})
    for end in ("nested_absmax", "nested_quant_map", "quant_map", "absmax"):
        which = next(each for each in tensors if each.endswith("weight." + end))
        for how, form in resized(*tensors[which]):
            yield f"bnb-{end}-{how}", config, file_of({**tensors, which: form})

    config, data = found["hqq_3bit_g32"]
    tensors = tensors_of(data)
    prefix = next(iter(tensors)).rsplit(".", 1)[0]
    for which in ("quant_scale", "scale_q", "quant_zero", "zero_q", "meta_scale"):
        yield f"hqq-{which}", config, file_of({**tensors, f"{prefix}.{which}": ("U8", [1], b"\1")})
    for each, (kind, form, content) in tensors.items():
        if len(content) <= 64:
            for value in (0, 1, 7, 255):
                yield f"hqq-{each}-{value}", config, file_of({**tensors, each: (kind, form, bytes([value]) + content[1:])})


def recoded(folder):
    """Small checkpoints of every kind, each to be written in every dialect: the first byte chooses it (fuzz_recode.cpp)."""
    for i, path in enumerate(sorted(folder.glob("*/config.json"))):
        weights = path.parent / "model.safetensors"
        if not weights.exists() or weights.stat().st_size > 16000:
            continue
        for choice in (*range(1, 14, 2), 2 * (i % 7)):  # whatever it costs, and where nothing is lost
            yield f"{path.parent.name}-{choice}", bytes([choice]) + json.dumps(json.loads(path.read_text()), separators=(",", ":")).encode() + b"\n" + weights.read_bytes()


def containers():
    """safetensors files: every type, and headers that do not hold together."""
    types = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "F4": 1, "F6_E2M3": 1, "C64": 8}
    for dtype, width in types.items():
        yield f"type-{dtype}", file_of({"a": (dtype, [2, 2], bytes(range(4 * width)))})
    whole = lambda text, data=b"": struct.pack("<Q", len(text)) + text + data
    entry = lambda **more: json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | more}).encode()
    yield "more-data", whole(entry(), bytes(12))
    yield "less-data", whole(entry(), bytes(4))
    yield "backwards", whole(entry(data_offsets=[8, 0]), bytes(8))
    yield "hole", whole(entry(data_offsets=[4, 12]), bytes(12))
    yield "wrong-size", whole(entry(shape=[3]), bytes(8))
    yield "overflow", whole(entry(shape=[2**40, 2**40]), bytes(8))
    yield "negative", whole(entry(shape=[-1]), bytes(8))
    yield "no-list", whole(entry(shape=3), bytes(8))
    yield "ranks", whole(entry(shape=[1] * 40), bytes(8))
    yield "no-offsets", whole(b'{"a":{"dtype":"F32","shape":[2]}}', bytes(8))
    yield "no-type", whole(entry(dtype=3), bytes(8))
    yield "key", whole(entry(more=1), bytes(8))
    yield "twice", whole(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', bytes(1))
    yield "overlap", whole(b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}', bytes(3))
    yield "metadata", whole(b'{"__metadata__":{"a":1}}')
    yield "metadata-list", whole(b'{"__metadata__":[]}')
    yield "list", whole(b"[]")
    yield "no-object", whole(b'{"a":3}')
    yield "beyond", struct.pack("<Q", 1 << 40) + b"{}"
    yield "short", b"\1\0\0"
    yield "scalar", file_of({"a": ("F32", [], bytes(4))})
    yield "nothing", file_of({"a": ("F32", [0, 7], b"")})
    yield "name", file_of({"a\n\x1b[31m": ("F32", [1], bytes(4)), "": ("U8", [1], b"\0")})


def natives(folder):
    """Native files, each with one of its descriptors said otherwise."""
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        header, body = parts(data)
        metadata = header.get("__metadata__", {})
        kinds = {}  # a few descriptors of each kind are enough
        for key in metadata:
            kinds.setdefault((key.split(":")[0], key.rsplit(".", 1)[-1]), key)
        for key in itertools.islice(kinds.values(), 12):
            value = metadata[key]
            try:
                described = json.loads(value)
            except ValueError:
                described = None
            others = [("text", "x"), ("brace", "{"), ("number", "99")]
            if isinstance(described, dict):
                for inner in described:
                    for other in (None, -1, "other"):
                        changed = {**described, inner: other}
                        if other is None:
                            del changed[inner]
                        others.append((f"{inner}-{other}", json.dumps(changed)))
            for what, other in others:
                yield f"{path.stem}-{key}-{what}", with_metadata(header, {**metadata, key: other}, body)
            yield f"{path.stem}-{key}-gone", with_metadata(header, {k: v for k, v in metadata.items() if k != key}, body)
        tensors = tensors_of(data)
        for which, tensor in itertools.islice(((n, t) for n, t in tensors.items() if len(t[2]) <= 2048), 4):
            without = {other: each for other, each in tensors.items() if other != which}
            yield f"{path.stem}-without-{which}", file_of(without, metadata)
            for how, form in resized(*tensor):
                yield f"{path.stem}-{which}-{how}", file_of({**without, which: form}, metadata)


def with_metadata(header, metadata, body):
    text = json.dumps({**header, "__metadata__": metadata}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body
