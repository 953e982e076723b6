"""Keys of Detectron2 that have no effect here are refused when set."""

import pytest
from detectron2.config import get_cfg

from wecromcl_d2.cli import train
from wecromcl_d2.config import UNUSED_KEYS, check_unused_keys
from wecromcl_d2.tasks import load_config

CONFIGS = ("configs/quick/anchors.yaml", "configs/quick/srsts_a.yaml")
SET = {
    "DATALOADER.SAMPLER_TRAIN": ("RepeatFactorTrainingSampler", "DATALOADER.SAMPLING"),
    "DATALOADER.REPEAT_THRESHOLD": ("0.1", "DATASETS.PROPORTIONS"),
    "DATALOADER.ASPECT_RATIO_GROUPING": ("False", "any sizes share a batch"),
    "TEST.AUG.ENABLED": ("True", "INPUT.MIN_SIZE_TEST"),
    "TEST.PRECISE_BN.ENABLED": ("True", "running statistics"),
}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("key", SET)
def test_a_key_without_effect_is_refused_with_what_to_use_instead(config, key):
    value, instead = SET[key]
    with pytest.raises(ValueError, match=rf"{key} has no effect here.*{instead}"):
        load_config(config, [key, value])


def test_the_command_says_so(tmp_path, capsys):
    opts = ["OUTPUT_DIR", str(tmp_path), "TEST.AUG.ENABLED", "True"]
    assert train.main(["--config-file", CONFIGS[0], *opts]) == 2
    assert "TEST.AUG.ENABLED has no effect here" in capsys.readouterr().err


def test_detectron2s_own_values_are_accepted():
    check_unused_keys(get_cfg())
    assert {*SET} == {*UNUSED_KEYS}
