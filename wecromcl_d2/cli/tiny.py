"""Keys that make a full config small enough for some seconds on one CPU core."""

_TINY: dict[str, object] = {
    "MODEL.DEVICE": "cpu",
    "MODEL.RESNETS.BLOCK": "basic",
    "MODEL.RESNETS.NUM_BLOCKS": [1, 1, 1, 1],
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 8,
    "INPUT.MIN_SIZE_TRAIN": (128,),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",
    "INPUT.MAX_SIZE_TRAIN": 192,
    "INPUT.MIN_SIZE_TEST": 128,
    "INPUT.MAX_SIZE_TEST": 192,
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.MAX_ITER": 20,
    "SOLVER.WARMUP_ITERS": 2,
    "TEST.EVAL_PERIOD": 0,
}
_TINY_PYRAMID: dict[str, object] = {
    "MODEL.BIFPN.OUT_CHANNELS": 16,
    "MODEL.BIFPN.REPEATS": 1,
    "MODEL.IMAGE_ENCODER.HEAD_CHANNELS": 32,
}
TINY: dict[str, dict[str, object]] = {
    "stage1": {
        **_TINY,
        **_TINY_PYRAMID,
        "MODEL.IMAGE_ENCODER.LAYERS": 1,
        "MODEL.IMAGE_ENCODER.FEEDFORWARD": 32,
        "MODEL.TEXT_ENCODER.WIDTH": 32,
        "MODEL.TEXT_ENCODER.LAYERS": 1,
        "MODEL.TEXT_ENCODER.HEADS": 2,
        "MODEL.WECROMCL.EMBED_DIM": 32,
        "DATALOADER.SAMPLING.NUM_NEGATIVES": 2,
    },
    "srsts_a": {
        **_TINY,
        **_TINY_PYRAMID,
        "MODEL.SRSTS_A.SAMPLER_CHANNELS": [16],
        "MODEL.SRSTS_A.TOWER_CHANNELS": [24],
        "MODEL.SRSTS_A.SEQUENCE_LAYERS": 1,
        "MODEL.SRSTS_A.TEST.MAX_ANCHORS": 20,
        "INPUT.CROP.SIZE": [96, 96],
    },
    "spts": {
        **_TINY,
        "MODEL.RESNETS.WIDTH_PER_GROUP": 8,
        "MODEL.SPTS.WIDTH": 32,
        "MODEL.SPTS.HEADS": 2,
        "MODEL.SPTS.FEEDFORWARD": 32,
        "MODEL.SPTS.ENCODER_LAYERS": 1,
        "MODEL.SPTS.DECODER_LAYERS": 1,
        "MODEL.SPTS.MAX_WORDS": 4,
    },
}
