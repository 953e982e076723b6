"""Mapping between the published weight names of SPTS and SPTSv2 and ours."""

from collections.abc import Mapping

from torch import Tensor

from ...stage1.checkpoint_names import WEIGHT_AND_BIAS, Conversion, resnet_names, same_names

SOURCES = ("spts", "sptsv2")
# BatchNorm counters, which a frozen norm may lack, and an index table that we compute ourselves.
OPTIONAL = ("num_batches_tracked", "relative_position_index")
LAYERS = 6

# The published code stores q, k and v as one matrix: the third of its rows that each one takes.
_FUSED = {"q": 0, "k": 1, "v": 2}


def official_names(source: str) -> dict[str, str]:
    """Published name of every weight -> ours; "name#i" is the i-th third of a weight's rows.

    Args:
        source: "spts" or "sptsv2".

    Raises:
        KeyError: for another source.
    """
    encoder = {"spts": _global_encoder, "sptsv2": _window_encoder}[source]
    names = {f"backbone.0.body.{k}": f"backbone.{v}" for k, v in resnet_names().items()}
    embedding = "transformer.embedding"
    names[f"{embedding}.word_embeddings.weight"] = "decoder.token_embedding.weight"
    names[f"{embedding}.position_embeddings.weight"] = "decoder.position_embedding.weight"
    names |= same_names(f"{embedding}.LayerNorm", "decoder.embedding_norm")
    names |= same_names("input_proj", "input_proj")
    for layer in range(LAYERS):
        theirs, ours = f"transformer.decoder.layers.{layer}", f"decoder.layers.{layer}"
        names |= _attention(f"{theirs}.self_attn", f"{ours}.self_attention")
        names |= _attention(f"{theirs}.multihead_attn", f"{ours}.cross_attention")
        names |= _blocks(theirs, ours, ("norm1", "norm2", "norm3"))
    names |= same_names("transformer.decoder.norm", "decoder.norm")
    for index, ours in enumerate(("classifier.0", "classifier.2", "logits")):
        names |= same_names(f"vocab_embed.layers.{index}", f"decoder.{ours}")
    return names | encoder()


def convert(weights: Mapping[str, Tensor], source: str) -> Conversion:
    """Rename published weights to ours.

    Args:
        weights: tensors by name; a prefix `module.` that all names share is removed.
        source: "spts" or "sptsv2".
    """
    names = official_names(source)
    if all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
    result = Conversion()
    used = set()
    for theirs, ours in names.items():
        name, _, third = theirs.partition("#")
        used.add(name)
        if name in weights:
            value = weights[name]
            result.weights[ours] = value.chunk(3)[int(third)].clone() if third else value
        elif not name.endswith(OPTIONAL):
            result.missing.append(theirs)
    for name in weights:
        if name not in used:
            (result.idle if name.endswith(OPTIONAL) else result.unused).append(name)
    return result


def _global_encoder() -> dict[str, str]:
    names = same_names("transformer.encoder.norm", "encoder.norm")
    for layer in range(LAYERS):
        theirs, ours = f"transformer.encoder.layers.{layer}", f"encoder.layers.{layer}"
        names |= _attention(f"{theirs}.self_attn", f"{ours}.attention")
        names |= _blocks(theirs, ours, ("norm1", "norm2"))
    return names


def _window_encoder() -> dict[str, str]:
    names = {}
    for layer in range(LAYERS):
        theirs, ours = f"transformer.layers.0.blocks.{layer}", f"encoder.layers.{layer}"
        for part, third in _FUSED.items():
            for end in WEIGHT_AND_BIAS:
                names[f"{theirs}.attn.qkv.{end}#{third}"] = f"{ours}.attention.{part}.{end}"
        names[f"{theirs}.attn.relative_position_bias_table"] = f"{ours}.bias"
        for part, module in {
            "attn.proj": "attention.out",
            "mlp.fc1": "feedforward.inner",
            "mlp.fc2": "feedforward.outer",
            "norm1": "norm1",
            "norm2": "norm2",
        }.items():
            names |= same_names(f"{theirs}.{part}", f"{ours}.{module}")
    return names


def _attention(theirs: str, ours: str) -> dict[str, str]:
    names = same_names(f"{theirs}.out_proj", f"{ours}.out")
    for part, third in _FUSED.items():
        for end in WEIGHT_AND_BIAS:
            names[f"{theirs}.in_proj_{end}#{third}"] = f"{ours}.{part}.{end}"
    return names


def _blocks(theirs: str, ours: str, norms: tuple[str, ...]) -> dict[str, str]:
    names = same_names(f"{theirs}.linear1", f"{ours}.feedforward.inner")
    names |= same_names(f"{theirs}.linear2", f"{ours}.feedforward.outer")
    for norm in norms:
        names |= same_names(f"{theirs}.{norm}", f"{ours}.{norm}")
    return names
