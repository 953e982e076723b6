"""The published model, number by number.

A reference file holds what the authors' model computes under a weight fill that anyone can repeat.
Every seed, word, size and key comes from the file; WECROMCL_PARITY_FILE names another one of the
same layout.
"""

import hashlib
import math
import os
import zlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from wecromcl_d2 import add_wecromcl_config
from wecromcl_d2.stage1 import wecromcl
from wecromcl_d2.stage1.checkpoint_names import (
    convert_weights,
    official_names,
    to_official,
    to_official_layout,
)

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(os.environ.get("WECROMCL_PARITY_FILE", ROOT / "tests/data/stage1_parity.npz"))

# Tolerances: about ten times what float32 and another convolution backend change.
STAGE = 2e-5  # of the largest absolute value of the stage
FEATURE = 5e-5  # absolute; features reach 3 to 5
MAP = 2e-4  # of each cell
LOGIT = 5e-5
LOSS = 1e-5
POINT = 1e-6  # pixels
# Rounding moves values across the kinks of ReLU, max pooling and bilinear cells, whose slopes jump.
EVAL_GRADIENT = 0.02
TRAIN_GRADIENT = 0.05
# Of the sum of absolute values: a sum of means is a small rest of large terms.
BN_SUM = 1e-6
# Norms below this share of the largest are dominated by such jumps.
GRADIENT_FLOOR = 1e-4
# Zero in theory, or cut off by a ReLU, so that only rounding is left.
UNSTABLE_GRADIENTS = {"attn_pool.k_proj.bias", "repeated_bifpn.0.w_4_5"}

pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason=f"no reference file {FILE}; WECROMCL_PARITY_FILE names another place"
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def reference():
    with np.load(FILE, allow_pickle=False) as file:
        assert int(file["format_version"]) == 1
        return {key: file[key] for key in file.files}


@pytest.fixture(scope="module")
def official_weights(reference):
    """The deterministic fill, under the release's names, in the order of the file."""
    shapes = {
        name: value.shape for name, value in to_official(build().state_dict()).weights.items()
    }
    seed = int(reference["weight_seed"])
    return {str(name): fill(str(name), shapes[str(name)], seed) for name in reference["param_keys"]}


@pytest.fixture(scope="module")
def filled(official_weights):
    conversion = convert_weights(official_weights, "official")
    assert (conversion.unused, conversion.missing) == ([], [])
    assert set(conversion.idle) == {"backbone.fc.weight", "backbone.fc.bias"}
    model = build()
    model.load_state_dict(conversion.weights)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


@pytest.fixture
def model(filled):
    """The filled model in evaluation mode; whatever a test does to it is undone."""
    kept = {name: value.clone() for name, value in filled.named_buffers()}
    filled.zero_grad()
    yield filled.eval()
    for name, value in filled.named_buffers():
        value.copy_(kept[name])


def build():
    cfg = get_cfg()
    add_wecromcl_config(cfg)
    cfg.merge_from_file(str(ROOT / "configs/stage1/official.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    return build_model(cfg).eval()


def raw_bits(name, seed, count):
    key = zlib.crc32(name.encode()) + (seed << 32)
    return np.random.Philox(key=key).random_raw(count)


def fill(name, shape, seed):
    """Uniform numbers of a scale that keeps activations alive, without any transcendental."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.int64)
    bits = raw_bits(name, seed, max(1, math.prod(shape)))
    x = ((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53 - 0.5) * 12.0**0.5
    shift, scale = offset_and_scale(name, tuple(shape))
    return torch.from_numpy((shift + scale * x).astype(np.float32).reshape(shape))


def offset_and_scale(name, shape):
    last = name.rsplit(".", 1)[-1]
    rules = [
        (name.endswith("running_mean"), 0, 0.1),
        (name.endswith("running_var"), 1, 0.2),
        (name == "logit_scale", 2.5, 0.1),
        (last.startswith("w_"), 0.6, 0.5),
        (name.endswith("sampling_offsets.bias"), 0, 2),
        (name.endswith("level_embed"), 0, 0.5),
        (name == "token_embedding.weight", 0, 2),
        (name == "positional_embedding", 0, 0.3),
        (name.endswith("bn3.weight"), 0.3, 0.05),
        (name in ("attn_pool.q_proj.weight", "attn_pool.k_proj.weight"), 0, 1.6 / 512**0.5),
        (name.endswith("in_proj_weight"), 0, 2.0 / 512**0.5),
        (len(shape) == 1 and last == "weight", 1, 0.1),
        (len(shape) == 1, 0, 0.1),
        (len(shape) == 4, 0, (2 / max(1, math.prod(shape[1:]))) ** 0.5),
        (name == "text_projection", 0, shape[0] ** -0.5 if shape else 0),
        (len(shape) == 2, 0, shape[-1] ** -0.5 if shape else 0),
    ]
    return next((shift, scale) for fits, shift, scale in rules if fits)


def make_image(seed, height, width):
    """A reference image, uint8 (3, H, W): coarse squares of noise with fine noise on top."""
    rows, columns = -(-height // 16), -(-width // 16)
    coarse_count = rows * columns * 3
    bits = raw_bits("image", int(seed), coarse_count + height * width * 3)
    noise = (bits >> np.uint64(56)).astype(np.int64)
    coarse = noise[:coarse_count].reshape(rows, columns, 3).repeat(16, 0).repeat(16, 1)
    fine = noise[coarse_count:].reshape(height, width, 3)
    pixels = ((3 * coarse[:height, :width] + fine) // 4).astype(np.uint8)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def make_images(seeds, sizes):
    return [
        make_image(seed, int(height), int(width))
        for seed, (height, width) in zip(seeds, sizes, strict=True)
    ]


def assert_close(actual, expected, *, atol=0.0, rtol=0.0, what=""):
    error = np.abs(np.asarray(actual, dtype=np.float64) - expected)
    excess = error - (atol + rtol * np.abs(expected))
    assert np.max(excess) <= 0, f"{what}: off by {error.max():.3g}"


def test_the_weight_fill_is_the_documented_one(reference, official_weights):
    digest = hashlib.sha256()
    for i, (name, value) in enumerate(official_weights.items()):
        array = value.numpy()
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
        assert array.sum(dtype=np.float64) == pytest.approx(reference["param_sum"][i], rel=1e-9)
        total = np.abs(array).sum(dtype=np.float64)
        assert total == pytest.approx(reference["param_abs_sum"][i], rel=1e-9)
    assert digest.hexdigest() == str(reference["weights_sha256"])


def test_weights_survive_the_way_back(filled, official_weights):
    back = to_official(filled.state_dict())
    assert (back.unused, back.missing) == ([], [])
    assert back.weights.keys() == official_weights.keys()
    for name in official_names():
        assert torch.equal(back.weights[name], official_weights[name]), name


def test_the_images_are_the_documented_ones(reference):
    images = make_images(reference["image_seeds"], reference["image_sizes"])
    digests = [
        hashlib.sha256(x.permute(1, 2, 0).contiguous().numpy().tobytes()).hexdigest()
        for x in images
    ]
    assert digests == reference["image_u8_sha256"].tolist()


def test_texts(reference, model):
    words = reference["words"].tolist()
    labels = model.charset.encode(words, model.max_length)
    assert torch.equal(labels, torch.from_numpy(reference["labels"]))
    with torch.no_grad():
        distinct, index = model.encode_texts(words)
    assert_close(distinct[index], reference["text_features"], atol=FEATURE)


def record_stages(model, image):
    """Every intermediate result that the reference file names."""
    stages = {}
    encoder = model.image_encoder.encoder
    strides = [head.stride for head in model.image_encoder.heads]

    def keep(names):
        def hook(module, inputs, output):
            if isinstance(output, dict):
                output = [output[name] for name in sorted(output)]
            values = output if isinstance(output, list) else [output]
            stages.update(zip(names, values, strict=True))

        return hook

    wanted = {model.backbone.bottom_up: [f"backbone.c{i}" for i in range(2, 6)]}
    for repeat, layer in enumerate(model.backbone.layers):
        wanted[layer] = [f"bifpn{repeat}.p{i}" for i in range(2, 6)]
    for i, stride in enumerate(strides):
        wanted[model.image_encoder.heads[i]] = [f"heads.s{stride}"]
        wanted[encoder.input_projs[i]] = [f"encoder.input_proj.s{stride}"]
    for i, layer in enumerate(encoder.layers):
        wanted[layer] = [f"encoder.layer{i}"]
    calls = {}
    handles = [module.register_forward_hook(keep(names)) for module, names in wanted.items()]
    for layer in encoder.layers:
        handles.append(layer.register_forward_pre_hook(lambda *call: calls.update([call])))
    with torch.no_grad():
        feature, _ = model.encode_images(model.preprocess_images([{"image": image}]))
        image512 = torch.einsum("dc,nchw->ndhw", model.activation.channel_proj.weight, feature)
    for handle in handles:
        handle.remove()
    last = f"encoder.layer{len(encoder.layers) - 1}"
    # The model takes the last layer's tokens of the last map alone; the file has all of them.
    with torch.no_grad():
        tokens = encoder.layers[-1](calls[encoder.layers[-1]][0], *calls[encoder.layers[0]][1:])
    torch.testing.assert_close(tokens[:, -feature[0, 0].numel() :], stages[last])
    stages[last] = tokens
    height, width = stages[f"heads.s{strides[0]}"].shape[-2:]
    first = tokens[:, : height * width].transpose(1, 2).unflatten(2, (height, width))
    stages |= {"encoder.out.s4": first, "encoder.out.s8": feature, "image512": image512}
    return stages


@pytest.mark.parametrize("index", [0, 1])
def test_image_stages(reference, model, index):
    image = make_images(reference["image_seeds"], reference["image_sizes"])[index]
    stages = record_stages(model, image)
    names = reference[f"img{index}_stage_names"].tolist()
    assert set(names) == set(stages)
    for i, name in enumerate(names):
        value = stages[name].contiguous().numpy()
        assert str(list(value.shape)) == reference[f"img{index}_stage_shapes"][i]
        flat = value.ravel()
        samples = reference[f"img{index}_stage_samples"][i]
        places = np.arange(len(samples)) * (flat.size - 1) // (len(samples) - 1)
        atol = STAGE * np.abs(flat).max()
        assert_close(flat[places], samples, atol=atol, what=name)
        flat = flat.astype(np.float64)
        stats = [flat.mean(), flat.std(), flat.min(), flat.max(), np.abs(flat).mean()]
        assert_close(stats, reference[f"img{index}_stage_stats"][i], atol=atol, what=name)
    subset = stages["encoder.out.s8"][0, :, ::4, ::4]
    expected = reference[f"img{index}_feat8_sub"]
    assert_close(subset, expected, atol=STAGE * float(stages["encoder.out.s8"].abs().max()))


@pytest.mark.parametrize("index", [0, 1])
def test_maps_and_pooled_features(reference, model, index):
    image = make_images(reference["image_seeds"], reference["image_sizes"])[index]
    with torch.no_grad():
        feature, valid = model.encode_images(model.preprocess_images([{"image": image}]))
        distinct, rows = model.encode_texts(reference["words"].tolist())
        maps = model.activation(model.activation.project_queries(distinct[rows]), feature, valid)
        pooled = model.activation.pool(maps, feature)
    assert_close(maps[0], reference[f"img{index}_attn"], rtol=MAP)
    assert_close(pooled[0], reference[f"img{index}_pooled"], atol=FEATURE)


@pytest.mark.parametrize("index", [0, 1])
def test_anchors(reference, model, index):
    image = make_images(reference["image_seeds"], reference["image_sizes"])[index]
    width, height = reference["image_orig_wh"][index].tolist()
    texts = reference["infer_words"].tolist()
    entry = {"image": image, "texts": texts, "height": height, "width": width}
    instances = model([entry])[0]["instances"]
    # The release groups repeats; ours keep the given order.
    found = defaultdict(list)
    for i, text in enumerate(instances.pred_texts):
        found[text].append(i)
    order = [found[str(text)].pop(0) for text in reference[f"img{index}_infer_text"]]
    assert sorted(order) == list(range(len(texts)))
    points, scores = instances.pred_points[order], instances.scores[order]
    assert_close(points, reference[f"img{index}_infer_points"], atol=POINT)
    assert_close(scores, reference[f"img{index}_infer_scores"], rtol=MAP)


def contrast(model, reference, case, monkeypatch):
    """Losses, scaled logits and pooled features of a batch, in the mode the parts are in."""
    images = make_images(reference[f"{case}_image_seeds"], reference[f"{case}_image_sizes"])
    queries = reference[f"{case}_selected"].tolist()
    false = reference[f"{case}_false"].tolist()
    every_false = [text for own in false for text in own]
    for texts, key in [(queries, "selected"), (every_false, "false")]:
        labels = torch.from_numpy(reference[f"{case}_{key}_labels"])
        assert torch.equal(model.charset.encode(texts, model.max_length), labels)
    batch = [
        {"image": image, "queries": [query], "negatives": own}
        for image, query, own in zip(images, queries, false, strict=True)
    ]
    padded = model.preprocess_images(batch).tensor
    assert list(padded.shape) == reference[f"{case}_batch_shape"].tolist()
    seen = {}

    def cosine_similarity(pooled, *others):
        result = cosine(pooled, *others)
        seen.update(pooled=pooled.detach(), logits=result.detach() * model.logit_scale.exp())
        return result

    cosine = wecromcl.cosine_similarity
    monkeypatch.setattr(wecromcl, "cosine_similarity", cosine_similarity)
    # The loss is asked for, while normalisation and dropout stay as they are.
    model.training = True
    losses = model(batch)
    return losses, seen["logits"].detach(), seen["pooled"]


def check_gradients(model, reference, case, tolerance):
    parameters = dict(model.named_parameters())
    names = official_names()
    keys = reference[f"{case}_grad_keys"].tolist()
    expected = dict(zip(keys, reference[f"{case}_grad_norms"], strict=True))
    assert {names[name] for name in expected} == set(parameters)
    floor = GRADIENT_FLOOR * max(expected.values())
    for name, norm in expected.items():
        if norm > floor and name not in UNSTABLE_GRADIENTS:
            actual = float(parameters[names[name]].grad.double().norm())
            assert actual == pytest.approx(norm, rel=tolerance), name


def check_gradient_samples(model, reference, case):
    """Single entries, which tell a transposed matrix from the right one."""
    parameters = dict(model.named_parameters())
    names = official_names()
    keys = reference[f"{case}_grad_keys"].tolist()
    norms, samples = reference[f"{case}_grad_norms"], reference[f"{case}_grad_samples"]
    floor = GRADIENT_FLOOR * norms.max()
    for name, norm, expected in zip(keys, norms, samples, strict=True):
        if norm > floor and name not in UNSTABLE_GRADIENTS:
            gradient = to_official_layout(name, parameters[names[name]].grad)
            flat = gradient.contiguous().flatten()
            places = np.arange(len(expected)) * (flat.numel() - 1) // (len(expected) - 1)
            atol = EVAL_GRADIENT * np.abs(expected).max()
            assert_close(flat[places], expected, atol=atol, what=name)


@pytest.mark.parametrize("case", ["lossA", "lossB"])
def test_losses_and_gradients(reference, model, monkeypatch, case):
    losses, logits, pooled = contrast(model, reference, case, monkeypatch)
    i2t, t2i = 2 * losses["loss_i2t"], 2 * losses["loss_t2i"]
    for loss, key in [(i2t, "i2t"), (t2i, "t2i"), ((i2t + t2i) / 2, "loss")]:
        assert_close(loss.detach(), reference[f"{case}_{key}"], atol=LOSS, what=key)
    assert_close(logits, reference[f"{case}_logits"], atol=LOGIT)
    assert_close(pooled, reference[f"{case}_pooled"], atol=FEATURE)
    if f"{case}_grad_keys" in reference:
        sum(losses.values()).backward()
        check_gradients(model, reference, case, EVAL_GRADIENT)
        check_gradient_samples(model, reference, case)


def test_training_mode(reference, model, monkeypatch):
    losses, logits, _ = contrast(model.train(), reference, "lossA", monkeypatch)
    loss = sum(losses.values())
    loss.backward()
    assert_close(logits, reference["trainA_logits"], atol=LOGIT)
    assert_close(loss.detach(), reference["trainA_loss"], atol=LOSS)
    check_gradients(model, reference, "trainA", TRAIN_GRADIENT)
    state = to_official(model.state_dict()).weights
    for name, expected in zip(reference["trainA_bn_keys"], reference["trainA_bn_sum"], strict=True):
        value = state[str(name)].double()
        assert_close(value.sum(), expected, atol=BN_SUM * float(value.abs().sum()), what=name)
