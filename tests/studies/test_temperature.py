"""The temperature that is not learned."""

import math

from detectron2.modeling import build_model

import projects.studies  # noqa: F401  (registers the parts)
from wecromcl_d2.tasks import load_config


def test_the_temperature_stays_what_the_config_says():
    opts = [
        "MODEL.META_ARCHITECTURE",
        "FixedTemperatureWeCromCL",
        "MODEL.WECROMCL.TEMPERATURE",
        "0.2",
    ]
    model = build_model(load_config("configs/quick/anchors.yaml", opts))
    assert math.isclose(math.exp(-model.logit_scale.item()), 0.2, rel_tol=1e-6)
    assert not model.logit_scale.requires_grad
    assert sum(not p.requires_grad for p in model.parameters()) == 2  # and the bias of the keys
