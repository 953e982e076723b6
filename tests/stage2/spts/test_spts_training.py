"""The quick recipes run from their images to their metrics."""

import os

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from wecromcl_d2.data import register_labels
from wecromcl_d2.data.synthetic import SceneRecipe, build_cache
from wecromcl_d2.tasks import load_config, trainer_class

NAME = "spts_test_scenes"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    recipe = SceneRecipe(
        size=(48, 96), num_words=(1, 2), font_heights=(14, 18), vocabulary_size=3, difficulty=0
    )
    register_labels(NAME, build_cache(recipe, 6, root / "set", workers=1, progress=False))
    yield root
    DatasetCatalog.pop(NAME)
    MetadataCatalog.pop(NAME)


@pytest.mark.trains
@pytest.mark.parametrize("name", ["spts", "npts", "iad_prd"])
def test_a_quick_recipe_trains_and_evaluates(name, scenes):
    opts = {
        "DATASETS.TRAIN": (NAME,),
        "DATASETS.TEST": (NAME,),
        "INPUT.POINT_SOURCE": "polygons",
        "SOLVER.IMS_PER_BATCH": 3,
        "SOLVER.MAX_ITER": 3,
        "SOLVER.WARMUP_ITERS": 1,
        "TEST.EVAL_PERIOD": 3,
        "OUTPUT_DIR": str(scenes / name),
    }
    cfg = load_config(f"configs/quick/{name}.yaml", [x for item in opts.items() for x in item])
    os.makedirs(cfg.OUTPUT_DIR)
    trainer = trainer_class(cfg)(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    latest = trainer.storage.latest()
    assert latest["total_loss"][0] > 0
    assert {"words/sweep_hmean", "spotting/sweep_hmean"} <= set(latest)
    assert os.path.isfile(os.path.join(cfg.OUTPUT_DIR, "model_best.pth"))
