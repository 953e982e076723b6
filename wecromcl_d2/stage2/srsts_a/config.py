"""Configuration keys of SRSTS-A."""

from detectron2.config import CfgNode


def add_srsts_a_config(cfg: CfgNode) -> None:
    """Extend `cfg` in place with the keys of SRSTS-A; the defaults are those of the R-50 model.

    Its fused map is made by MODEL.BIFPN and MODEL.IMAGE_ENCODER (without deformable layers), its
    alphabet is that of MODEL.TEXT_ENCODER.CHARSET, as in stage 1.
    """
    cfg.MODEL.SRSTS_A = CfgNode()
    keys = cfg.MODEL.SRSTS_A
    # Normalisation of the heads, a name that `detectron2.layers.get_norm` knows.
    keys.NORM = "BN"
    # Hidden channels of the head that gives the confidence map.
    keys.ANCHOR_CHANNELS = 32
    # Sampling points K per word; a word may have as many characters, less one for each two equal
    # neighbours.
    keys.NUM_POINTS = 32
    # Channels of the sampler's 3x3 convolutions.
    keys.SAMPLER_CHANNELS = [192, 128, 64]
    # Half the length, in cells, of the horizontal line of points that an untrained sampler gives.
    keys.INITIAL_REACH = 8.0
    # "dense": the sampler runs over the whole map; "patch": only around the anchors found, which
    # gives the same numbers in less time where words are few. For inference.
    keys.SAMPLER_EVAL = "patch"
    # Channels of the recogniser's 3x3 convolutions.
    keys.TOWER_CHANNELS = [128, 128, 192, 192]
    # What relates the K samples of a word to each other: "self_attn", "bilstm" or "none".
    keys.SEQUENCE = "self_attn"
    keys.SEQUENCE_LAYERS = 2
    keys.SEQUENCE_HEADS = 6

    keys.LOSS = CfgNode()
    # Loss of the confidence map: "focal" or "dice".
    keys.LOSS.CONFIDENCE = "focal"
    # Anchors per word and per image that are read in training.
    keys.LOSS.ANCHORS_PER_WORD = 4
    keys.LOSS.ANCHORS_PER_IMAGE = 256
    # Standard deviation, in cells, of the noise on the sampling points in training.
    keys.LOSS.JITTER = 0.5
    # Share of the training before a word's own reading says how far the word reaches.
    keys.LOSS.EXTENT_WARMUP = 0.2
    # Weights of the losses; those of the sampling points fall to half during the training.
    keys.LOSS.CONFIDENCE_WEIGHT = 1.0
    keys.LOSS.READING_WEIGHT = 1.0
    keys.LOSS.CONSISTENCY_WEIGHT = 0.1
    keys.LOSS.SMOOTHNESS_WEIGHT = 0.05
    keys.LOSS.ORDER_WEIGHT = 0.05
    keys.LOSS.SPREAD_WEIGHT = 0.05

    keys.TEST = CfgNode()
    # Least confidence of an anchor, and most anchors per image.
    keys.TEST.CONFIDENCE = 0.3
    keys.TEST.MAX_ANCHORS = 300
    # Least score of a word that is returned: the root of confidence times reading.
    keys.TEST.SCORE = 0.05
    # Where a word's point lies: "anchor", or "line", the middle of its sampling points, which no
    # loss holds on the word.
    keys.TEST.POINT = "anchor"
