"""What runs on a GPU gives what the CPU gives: `pytest -m gpu` on a machine that has one."""

import copy

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances

from wecromcl_d2.data.synthetic import SceneRecipe, build_cache
from wecromcl_d2.layers.deformable_attention import sample_by_grid, sample_with_embedding_bag
from wecromcl_d2.stage1.trainer import AnchorTrainer
from wecromcl_d2.tasks import load_config

DEVICE = "cuda"
ANCHORS = "configs/quick/anchors.yaml"
SPOTTERS = ["configs/quick/srsts_a.yaml", "configs/quick/spts.yaml"]
# Greatest differences from the CPU in float32, relative to the largest value.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 1e-2}
STEPS = 60

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    """Products in float32 and not in TF32, whose 10 bits are fewer than 1e-4 needs."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def assert_close(found, wanted, dtype):
    found, wanted = found.detach().float().cpu(), wanted.detach().float()
    assert (found - wanted).abs().max() <= TOLERANCE[dtype] * wanted.abs().max().clamp(min=1)


def both(config, *opts):
    """The same random model on CPU and GPU."""
    torch.manual_seed(0)
    cfg = load_config(config, ["MODEL.DEVICE", "cpu", *map(str, opts)])
    model = build_model(cfg)
    return model, copy.deepcopy(model).to(DEVICE)


def images(count):
    generator = torch.Generator().manual_seed(0)
    size = (count, 3, 64, 96)
    return list(torch.randint(0, 256, size, generator=generator, dtype=torch.uint8))


def training_batch():
    return [
        {"image": image, "queries": [f"word{i}"], "negatives": ["other", f"false{i}"]}
        for i, image in enumerate(images(4))
    ]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_features_of_images_and_texts(dtype):
    cpu, gpu = both(ANCHORS)
    cpu.eval(), gpu.eval()
    with torch.no_grad():
        pixels = cpu.preprocess_images([{"image": image} for image in images(2)])
        wanted = cpu.encode_images(pixels)[0], cpu.encode_texts(["hill", "street"])[0]
        with torch.autocast(DEVICE, dtype, enabled=dtype != torch.float32):
            found = (
                gpu.encode_images(pixels.to(DEVICE))[0],
                gpu.encode_texts(["hill", "street"])[0],
            )
    for one, other in zip(found, wanted, strict=True):
        assert_close(one, other, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_losses_and_gradients_of_stage_1(dtype):
    cpu, gpu = both(ANCHORS, "MODEL.IMAGE_ENCODER.DROPOUT", 0.0)
    losses = []
    for model, kind in ((cpu, "cpu"), (gpu, DEVICE)):
        model.train()
        with torch.autocast(kind, dtype, enabled=kind == DEVICE and dtype != torch.float32):
            own = model(training_batch())
        sum(own.values()).backward()
        losses.append(own)
    for name, loss in losses[0].items():
        assert_close(losses[1][name], loss, dtype)
    if dtype == torch.float32:
        for wanted, found in zip(cpu.parameters(), gpu.parameters(), strict=True):
            if wanted.grad is not None:
                assert_close(found.grad, wanted.grad, dtype)


def test_anchors_are_at_the_same_places():
    cpu, gpu = both(ANCHORS)
    inputs = [{"image": image, "texts": ["hill", "street"]} for image in images(3)]
    for wanted, found in zip(cpu.eval()(inputs), gpu.eval()(inputs), strict=True):
        assert_close(found["instances"].pred_maps, wanted["instances"].pred_maps, torch.float32)
        assert_close(found["instances"].similarity, wanted["instances"].similarity, torch.float32)


@pytest.mark.parametrize("config", SPOTTERS)
def test_spotters_read_alike(config):
    cpu, gpu = both(config)
    inputs = [{"image": image, "height": 64, "width": 96} for image in images(2)]
    with torch.no_grad():
        for wanted, found in zip(cpu.eval()(inputs), gpu.eval()(inputs), strict=True):
            one, other = wanted["instances"], found["instances"]
            assert isinstance(other, Instances) and len(one) == len(other)
            assert list(one.pred_texts) == list(other.pred_texts)
            if len(one):
                assert_close(other.scores, one.scores, torch.float32)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_sampling_is_that_of_the_cpu(dtype):
    generator = torch.Generator().manual_seed(0)
    sizes = ((8, 12), (4, 6))
    value = torch.randn(2, 120, 4, 8, generator=generator)
    positions = torch.rand(2, 50, 4, 2, 3, 2, generator=generator) * 14 - 1
    weights = torch.rand(2, 50, 4, 2, 3, generator=generator)
    wanted = sample_with_embedding_bag(value, sizes, positions, weights)
    inputs = (x.to(DEVICE) for x in (positions, weights))
    found = sample_by_grid(value.to(DEVICE, dtype), sizes, *inputs)
    assert_close(found, wanted, dtype)


@pytest.mark.trains
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("seed", [0, 1])
def test_two_seeds_train(tmp_path, seed, precision):
    """The loss of scenes with one word each falls below half of that of a guess."""
    recipe = SceneRecipe(family="words", size=(32, 64))
    build_cache(recipe, 64, tmp_path / "words", workers=1, progress=False)
    opts = {
        "MODEL.DEVICE": DEVICE,
        "DATASETS.TRAIN": (str(tmp_path / "words/labels.jsonl"),),
        "DATASETS.TEST": (),
        "SOLVER.CURRICULUM.DATASETS": [],
        "SOLVER.CURRICULUM.ITERS": [],
        "SOLVER.CURRICULUM.IMS_PER_BATCH": [],
        "SOLVER.IMS_PER_BATCH": 8,
        "SOLVER.MAX_ITER": STEPS,
        "SOLVER.CHECKPOINT_PERIOD": STEPS,
        "SOLVER.WARMUP_ITERS": 5,
        "SOLVER.AMP.ENABLED": precision == "bfloat16",
        "SOLVER.AMP.PRECISION": "bfloat16",
        "DATALOADER.SAMPLING.NUM_NEGATIVES": 8,
        "DATALOADER.NUM_WORKERS": 0,
        "TEST.EVAL_PERIOD": 0,
        "VIS_PERIOD": 0,
        "SEED": seed,
        "OUTPUT_DIR": str(tmp_path / "output"),
    }
    trainer = AnchorTrainer(load_config(ANCHORS, [str(x) for item in opts.items() for x in item]))
    trainer.resume_or_load(resume=False)
    losses = []
    run_step = trainer.run_step

    def step():
        run_step()
        latest = trainer.storage.latest()
        losses.append(sum(latest[name][0] for name in ("loss_i2t", "loss_t2i")))

    trainer.run_step = step
    trainer.train()
    # At random: half of log(8 + 8) and half of log 8.
    guess = (np.log(16) + np.log(8)) / 2
    assert np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < 0.5 * guess
