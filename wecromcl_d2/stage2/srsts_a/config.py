"""Configuration keys of SRSTS-A."""

from detectron2.config import CfgNode


def add_srsts_a_config(cfg: CfgNode) -> None:
    """Extend `cfg` in place with the keys of SRSTS-A; the defaults are those of the R-50 model.

    MODEL.BIFPN and MODEL.IMAGE_ENCODER (without deformable layers) define its fused map, and
    MODEL.TEXT_ENCODER.CHARSET its charset, as in stage 1.
    """
    cfg.MODEL.SRSTS_A = CfgNode()
    keys = cfg.MODEL.SRSTS_A
    # Normalisation layers of the heads, a name that `detectron2.layers.get_norm` knows.
    keys.NORM = "BN"
    # Hidden channels of the head that predicts the confidence map.
    keys.ANCHOR_CHANNELS = 32
    # Sampling points K per word. CTC can read a word of up to K characters; two equal characters
    # in a row need one more point.
    keys.NUM_POINTS = 32
    # Output channels of the sampler's 3x3 convolutions, one entry per convolution.
    keys.SAMPLER_CHANNELS = [192, 128, 64]
    # Where the sampler runs at inference. "dense": on the whole map. "patch": only around the
    # predicted anchors; same results, faster if an image has few words.
    keys.SAMPLER_EVAL = "patch"
    # Output channels of the recogniser's 3x3 convolutions, one entry per convolution.
    keys.TOWER_CHANNELS = [128, 128, 192, 192]
    # Sequence model over the K samples of a word: "self_attn", "bilstm" or "none".
    keys.SEQUENCE = "self_attn"
    keys.SEQUENCE_LAYERS = 2
    # Attention heads, for "self_attn".
    keys.SEQUENCE_HEADS = 6

    keys.LOSS = CfgNode()
    # Loss of the confidence map: "focal" or "dice".
    keys.LOSS.CONFIDENCE = "focal"
    # Positive cells sampled per word in each training step.
    keys.LOSS.ANCHORS_PER_WORD = 4
    # Standard deviation, in cells, of the Gaussian noise on the sampling points in training.
    keys.LOSS.JITTER = 0.5
    # Share of the training, from 0 to 1, after which cells along a word's predicted line no longer
    # count as background.
    keys.LOSS.EXTENT_WARMUP = 0.2

    keys.TEST = CfgNode()
    # Lowest confidence of an anchor, and most anchors per image.
    keys.TEST.CONFIDENCE = 0.3
    keys.TEST.MAX_ANCHORS = 300
    # Lowest score of a returned word: the square root of confidence times recognition score.
    keys.TEST.SCORE = 0.05
    # Image pyramid: factors of the network input's sides at which words are read, those of all
    # scales then going through one suppression. One factor of 1: no pyramid.
    keys.TEST.PYRAMID = [1.0]
    # Point of a word. "anchor": center of its anchor's cell. "line": midpoint of its sampling
    # points; less reliable, since no loss keeps them on the word.
    keys.TEST.POINT = "anchor"
