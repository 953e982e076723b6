"""A spotter that cannot learn eight pictures by heart learns nothing."""

import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from wecromcl_d2.data.datasets import read_labels
from wecromcl_d2.data.synthetic import SceneRecipe, build_cache
from wecromcl_d2.geometry import polygon_center
from wecromcl_d2.stage2.mapper import PointMapper
from wecromcl_d2.stage2.trainer import SpottingTrainer
from wecromcl_d2.tasks import load_config

STEPS = 220
CONFIG = "configs/quick/srsts_a.yaml"


def test_eight_pictures_are_read_word_for_word(tmp_path):
    recipe = SceneRecipe(size=(64, 96), num_words=(1, 2), difficulty=0.25)
    records = read_labels(build_cache(recipe, 8, tmp_path, workers=1, progress=False))
    for record in records:
        record["points"] = [polygon_center(p).tolist() for p in record["polygons"]]
    opts = ["SOLVER.MAX_ITER", str(STEPS), "SOLVER.WARMUP_ITERS", "20"]
    cfg = load_config(CONFIG, [*opts, "SOLVER.CURRICULUM.DATASETS", "[]"])
    torch.manual_seed(0)
    model = build_model(cfg).train()
    optimizer = SpottingTrainer.build_optimizer(cfg, model)
    schedule = SpottingTrainer.build_lr_scheduler(cfg, optimizer)
    batch = [PointMapper(cfg, True)(record) for record in records]
    with EventStorage() as storage:
        for _ in range(STEPS):
            loss = sum(model(batch).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            storage.step()
    model.eval()
    for record in records:
        words = model([PointMapper(cfg, False)(record)])[0]["instances"]
        words = words[words.scores > 0.5]
        read = sorted(words.pred_texts)
        assert read == sorted(text.casefold() for text in record["texts"])
        for text, point in zip(words.pred_texts, words.pred_points.tolist(), strict=True):
            own = [
                p
                for t, p in zip(record["texts"], record["points"], strict=True)
                if t.casefold() == text
            ]
            assert min(abs(x - point[0]) + abs(y - point[1]) for x, y in own) < 8
