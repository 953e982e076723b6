"""Write the fixtures of the contract tests, with the package that is installed.

Run ``python -m tests.detectron2_contract.make_fixtures`` once under Detectron2 and once under the
slim package. What serves as the expected result is written under Detectron2 only.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone

from . import DATA, IS_SLIM
from .toy import Toy, fill_deterministically


def main() -> None:
    DATA.mkdir(exist_ok=True)
    flavour = "slim" if IS_SLIM else "real"
    toy = Toy()
    toy.train(5)
    state = {"optimizer": toy.optimizer, "scheduler": toy.scheduler}
    with tempfile.TemporaryDirectory() as folder:
        DetectionCheckpointer(toy.model, folder, **state).save("toy", iteration=4)
        shutil.copy(Path(folder) / "toy.pth", DATA / f"checkpoint_{flavour}.pth")
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("mine",)
    cfg.OUTPUT_DIR = "./väri"
    (DATA / f"config_{flavour}.yaml").write_text(cfg.dump(allow_unicode=True), encoding="utf-8")
    if IS_SLIM:
        return
    (DATA / "defaults.yaml").write_text(get_cfg().dump(), encoding="utf-8")
    cfg = get_cfg()
    backbone = build_backbone(cfg).eval()
    image = fill_deterministically(backbone)
    with torch.no_grad():
        res4 = backbone(image)["res4"]
    np.savez_compressed(DATA / "res4_real.npz", every_16th_channel=res4[:, ::16].numpy())
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    names = sorted(build_backbone(cfg).state_dict())
    (DATA / "resnet50_names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
